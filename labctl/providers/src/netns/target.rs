//! Commands in the namespaces of nodes and pods.

use std::ffi::OsStr;
use std::process::Command;

use lab_node::cgroup::Cgroup;
use lab_node::process::{ChildSetup, PidFd};

use super::node;
use super::places::{Kind, Places};
use super::{Netns, agents};
use crate::error::ProviderError;
use crate::target::{self, Target};

impl Netns {
    /// All nodes and pods of the lab.
    ///
    /// # Errors
    /// [`ProviderError::NoLab`], or when the lab's state cannot be read.
    pub fn targets(&self, lab: &str) -> Result<Vec<Target>, ProviderError> {
        let places = self.places(lab)?;
        if !places.exist() {
            return Err(ProviderError::NoLab {
                lab: lab.to_owned(),
                known: self.labs()?,
            });
        }
        let mut targets = Vec::new();
        for node in places.node_names()? {
            targets.push(Target::Node { name: node.clone() });
            let state = agents::applied(&places, &node)?;
            targets.extend(state.iter().flat_map(|state| target::pods(&node, state)));
        }
        Ok(targets)
    }

    /// The node or pod that `name` is about: a node's name, a pod's name,
    /// `namespace/name`, the beginning of a pod's name up to a hyphen when that
    /// is one pod's only, or `deploy/name` for any pod of a Deployment, as
    /// kubectl has it.
    ///
    /// # Errors
    /// [`ProviderError::NoTarget`] or [`ProviderError::Ambiguous`], both with
    /// what there is.
    pub fn find(&self, lab: &str, name: &str) -> Result<Target, ProviderError> {
        target::choose(self.targets(lab)?, lab, name)
    }

    /// `argv` as a command in `target`: in its cgroup and its namespaces. Standard
    /// streams are the caller's to set; the terminal stays what it is.
    ///
    /// # Errors
    /// [`ProviderError::NotRunning`] when there is nothing to enter.
    pub fn command(
        &self,
        lab: &str,
        target: &Target,
        argv: &[impl AsRef<OsStr>],
    ) -> Result<Command, ProviderError> {
        let places = self.places(lab)?;
        let [program, arguments @ ..] = argv else {
            let why = "no command is given".to_owned();
            return Err(ProviderError::NotRunning {
                target: target.to_string(),
                why,
            });
        };
        let mut command = Command::new(program);
        command.args(arguments);
        let (cgroup, process) = match target {
            Target::Node { name } => {
                describe_node(&mut command, lab, name);
                let pause = node::pause(&places, name)?;
                (places.cgroup_of(name, Kind::Exec), pause)
            }
            Target::Pod {
                node,
                namespace,
                name,
            } => {
                command
                    .env("HOSTNAME", name)
                    .env("LABCTL_POD", format!("{namespace}/{name}"));
                pod_process(&places, node, namespace, name)?
            }
        };
        let (process, kinds) = node::entry(process);
        ChildSetup::new()
            .cgroup(&cgroup)?
            .enter(process, kinds)
            .install(&mut command);
        Ok(command)
    }
}

/// What a process on a node finds in its environment.
pub(super) fn describe_node(command: &mut Command, lab: &str, node: &str) {
    const SYSTEM: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    command
        .env("PATH", format!("/run/labctl/bin:{SYSTEM}"))
        .env("HOSTNAME", node)
        .env("LABCTL_LAB", lab)
        .env("LABCTL_NODE", node)
        .env("LABCTL_NODE_DIR", "/run/labctl");
}

fn pod_process(
    places: &Places,
    node: &str,
    namespace: &str,
    name: &str,
) -> Result<(Cgroup, PidFd), ProviderError> {
    let cgroup = places
        .cgroup_of(node, Kind::Pods)
        .child(format!("{namespace}_{name}"));
    let pids = cgroup.pids()?;
    let process = pids.first().and_then(|pid| PidFd::open(*pid).ok());
    let process = process.ok_or_else(|| ProviderError::NotRunning {
        target: format!("{namespace}/{name}"),
        why: format!("it has no process; `labctl logs {node}` may say why"),
    })?;
    Ok((cgroup, process))
}
