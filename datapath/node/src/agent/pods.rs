//! The pods of a node: what the kubelet and its container runtime do.
//!
//! A pod is a folder (`pods/<namespace>_<pod>`), a cgroup of the same name, a
//! network namespace mounted where the runtime would mount it, and a workload.
//! None of it ends with the agent; `pod.json` in the folder tells the next one
//! what it is looking at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab_model::node_state::{NodeState, Pod};

use super::pod_files::Templates;
use super::workload::{DEATH, Record, Workload};
use super::{AgentError, files, log, network, pod, workload};
use crate::api::PodStatus;
use crate::cgroup::Cgroup;
use crate::namespace;
use crate::netlink::Netlink;
use crate::services::netns_cookie;

/// How long servers may take until they accept connections.
const READY: Duration = Duration::from_secs(10);

/// Where pods are kept.
#[derive(Debug)]
pub(super) struct Places {
    /// The pods' folders.
    pub(super) folder: PathBuf,
    /// Mounts of the pods' network namespaces.
    pub(super) netns: PathBuf,
    /// Parent of the pods' cgroups.
    pub(super) cgroup: Cgroup,
    /// The program that runs workloads.
    pub(super) labctl: PathBuf,
}

/// A pod that has a namespace, and a workload once started.
struct Running {
    pod: Pod,
    netns: OwnedFd,
    netlink: Netlink,
    workload: Workload,
}

/// All pods of the node, by `namespace/name`.
pub(super) struct Pods {
    places: Places,
    running: BTreeMap<String, Running>,
    templates: Templates,
}

impl Pods {
    pub(super) fn new(places: Places) -> Self {
        Self {
            places,
            running: BTreeMap::new(),
            templates: Templates::new(),
        }
    }

    /// The pod's network namespace, once [`Pods::prepare`] has run.
    pub(super) fn netns(&self, pod: &Pod) -> Option<BorrowedFd<'_>> {
        self.running
            .get(&pod.key())
            .map(|running| running.netns.as_fd())
    }

    /// Cookies of the pods' network namespaces, by `namespace/name`.
    pub(super) fn netns_cookies(&self) -> Result<BTreeMap<String, u64>, AgentError> {
        let cookies = self.running.iter().map(|(key, running)| {
            let cookie = netns_cookie::of_socket(&running.netlink).map_err(AgentError::Cookie)?;
            Ok((key.clone(), cookie))
        });
        cookies.collect()
    }

    /// rtnetlink inside the pod.
    pub(super) fn netlink(&mut self, pod: &Pod) -> Option<&mut Netlink> {
        self.running
            .get_mut(&pod.key())
            .map(|running| &mut running.netlink)
    }

    /// Ends the pods that `state` does not have, or has otherwise.
    pub(super) fn remove_stale(
        &mut self,
        state: &NodeState,
        netlink: &mut Netlink,
    ) -> Result<(), AgentError> {
        let wanted: BTreeMap<_, _> = state
            .pods
            .iter()
            .map(|pod| (pod::folder_name(pod), pod))
            .collect();
        let mut stale = Vec::new();
        for name in self.names_on_disk()? {
            let there = self.known(&name)?;
            let keep = match (wanted.get(&name), &there) {
                (Some(wanted), Some(there)) => !pod::is_another(there, wanted),
                _ => false,
            };
            if !keep {
                stale.push((name, there));
            }
        }
        self.end(&stale)?;
        for (name, there) in &stale {
            self.clear(name, there.as_ref(), netlink)?;
        }
        self.clear_namespaces(state)
    }

    /// What the pod of that folder is; `None` when it was never finished.
    fn known(&self, name: &str) -> Result<Option<Pod>, AgentError> {
        let running = self
            .running
            .values()
            .find(|it| pod::folder_name(&it.pod) == name);
        match running {
            Some(running) => Ok(Some(running.pod.clone())),
            None => Ok(Record::read(&self.places.folder.join(name))?.map(|record| record.pod)),
        }
    }

    fn names_on_disk(&self) -> Result<BTreeSet<String>, AgentError> {
        let mut names: BTreeSet<String> = list(&self.places.folder)?.into_iter().collect();
        for cgroup in self.places.cgroup.children()? {
            names.extend(
                cgroup
                    .path()
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned()),
            );
        }
        Ok(names)
    }

    /// Kills all at once, then waits for each.
    fn end(&self, stale: &[(String, Option<Pod>)]) -> Result<(), AgentError> {
        for (name, _) in stale {
            self.places.cgroup.child(name).kill()?;
        }
        for (name, _) in stale {
            self.places
                .cgroup
                .child(name)
                .wait_empty(Instant::now() + DEATH)?;
        }
        Ok(())
    }

    /// Removes what a dead pod leaves.
    fn clear(
        &mut self,
        name: &str,
        there: Option<&Pod>,
        netlink: &mut Netlink,
    ) -> Result<(), AgentError> {
        self.places.cgroup.child(name).remove()?;
        if let Some(pod) = there {
            if let Some(mut running) = self.running.remove(&pod.key()) {
                running.workload.reap();
            }
            // A namespace takes its interfaces along only some time after it
            // ends, and the name may be needed at once.
            network::delete_link(netlink, &pod.interface)?;
            namespace::delete(&pod::netns_path(&self.places.netns, pod))?;
            log::info(format_args!("pod {} ended", pod.key()));
        }
        files::remove(&self.places.folder.join(name))
    }

    /// Removes mounted namespaces that belong to no pod of `state`.
    fn clear_namespaces(&self, state: &NodeState) -> Result<(), AgentError> {
        let wanted: BTreeSet<_> = state
            .pods
            .iter()
            .map(|pod| pod::netns_path(&self.places.netns, pod))
            .collect();
        for name in list(&self.places.netns)? {
            let path = self.places.netns.join(&name);
            if name.starts_with("cni-") && !wanted.contains(&path) {
                namespace::delete(&path)?;
            }
        }
        Ok(())
    }

    /// A pod's cgroup.
    pub(super) fn cgroup_of(&self, pod: &Pod) -> Cgroup {
        self.places.cgroup.child(pod::folder_name(pod))
    }

    /// Makes what a pod needs before it can have an interface: its folder with
    /// the files of its `/etc`, its cgroup, its namespace. A pod that an earlier
    /// agent started is taken over, with its workload.
    pub(super) fn prepare(&mut self, state: &NodeState) -> Result<(), AgentError> {
        files::make_folder(&self.places.folder)?;
        fs::create_dir_all(&self.places.netns)
            .map_err(AgentError::file("make", &self.places.netns))?;
        for pod in &state.pods {
            let folder = self.places.folder.join(pod::folder_name(pod));
            files::make_folder(&folder.join("etc"))?;
            self.templates
                .write_etc(&folder.join("etc"), pod, &state.dns)?;
            self.cgroup_of(pod).create()?;
            let lost = self.lost_namespace(pod);
            match self.running.get_mut(&pod.key()) {
                Some(running) if !lost => running.pod.clone_from(pod),
                _ => {
                    let running = self.adopt_or_make(pod, &folder)?;
                    self.running.insert(pod.key(), running);
                }
            }
        }
        Ok(())
    }

    /// Whether the pod's namespace is no longer mounted where it should be.
    fn lost_namespace(&self, pod: &Pod) -> bool {
        !namespace::is_netns(&pod::netns_path(&self.places.netns, pod))
    }

    fn adopt_or_make(&self, pod: &Pod, folder: &Path) -> Result<Running, AgentError> {
        let path = pod::netns_path(&self.places.netns, pod);
        let cgroup = self.places.cgroup.child(pod::folder_name(pod));
        let (netns, netlink, workload) = if namespace::is_netns(&path) {
            let netns = namespace::open(&path)?;
            let netlink = Netlink::open_in(&netns)?;
            let workload = Workload::adopt(folder, &cgroup, &netns)?;
            (netns, netlink, workload)
        } else {
            // Whatever still runs is in a namespace that nothing leads to.
            workload::end_all(&cgroup)?;
            namespace::delete(&path)?;
            let (netns, netlink) = namespace::create_with(&path, Netlink::open)?;
            (netns, netlink?, Workload::default())
        };
        Ok(Running {
            pod: pod.clone(),
            netns,
            netlink,
            workload,
        })
    }

    /// Starts the workloads that do not run, and waits until servers accept
    /// connections. One that does not is told of in [`Pods::status`].
    pub(super) fn start(&mut self, state: &NodeState) -> Result<(), AgentError> {
        for pod in &state.pods {
            let Some(running) = self.running.get_mut(&pod.key()) else {
                continue;
            };
            if !running.workload.runs() {
                workload::start(
                    &self.places,
                    &running.pod,
                    &running.netns,
                    &mut running.workload,
                )?;
            }
        }
        let deadline = Instant::now() + READY;
        for running in self.running.values_mut() {
            running.workload.wait_ready(deadline);
        }
        Ok(())
    }

    /// Starts again what has ended, if it is time, and returns when to look next.
    pub(super) fn tend(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for (key, running) in &mut self.running {
            running.workload.look(key, now);
            if running.workload.is_due(now) {
                let (pod, netns) = (&running.pod, &running.netns);
                match workload::start(&self.places, pod, netns, &mut running.workload) {
                    Ok(()) => log::info(format_args!("pod {key} started again")),
                    Err(error) => {
                        log::warn(format_args!("failed to start pod {key} again: {error}"));
                        running.workload.failed(error.to_string(), now);
                    }
                }
            }
            next = [next, running.workload.due()].into_iter().flatten().min();
        }
        next
    }

    /// Descriptors that become readable when a workload ends or gets ready.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.running
            .values()
            .flat_map(|running| running.workload.watched())
    }

    /// How the pods of `state` are, in its order.
    pub(super) fn status(&self, state: &NodeState) -> Vec<PodStatus> {
        state.pods.iter().map(|pod| self.pod_status(pod)).collect()
    }

    fn pod_status(&self, pod: &Pod) -> PodStatus {
        let workload = self
            .running
            .get(&pod.key())
            .map(|running| &running.workload);
        PodStatus {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            address: pod.address,
            ready: workload.is_some_and(Workload::is_ready),
            restarts: workload.map_or(0, Workload::restarts),
            pid: workload.and_then(Workload::pid),
            started: workload.and_then(Workload::started),
            message: workload.and_then(|workload| workload.message().map(str::to_owned)),
        }
    }

    /// What pods of `state` lack, apart from interfaces and routes.
    pub(super) fn differences(&self, state: &NodeState) -> Vec<String> {
        let mut differences = Vec::new();
        for pod in &state.pods {
            if self.lost_namespace(pod) {
                differences.push(format!("the network namespace of {} is gone", pod.key()));
            } else if !self
                .running
                .get(&pod.key())
                .is_some_and(|it| it.workload.runs())
            {
                differences.push(format!("the workload of {} does not run", pod.key()));
            }
        }
        differences
    }
}

/// The names in a folder; none when it is not there.
fn list(folder: &Path) -> Result<Vec<String>, AgentError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(AgentError::file("list", folder))?,
    };
    let names: Result<Vec<_>, _> = entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect();
    names.map_err(AgentError::file("list", folder))
}
