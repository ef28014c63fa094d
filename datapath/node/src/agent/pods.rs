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
use super::sandbox::Sandbox;
use super::workload::{DEATH, Record, Workload};
use super::{AgentError, dns_files, files, log, network, pod, workload};
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

/// A pod, which has a workload once started.
struct Running {
    pod: Sandbox,
    /// Its network namespace, and rtnetlink in it, unless it is on the node's.
    network: Option<(OwnedFd, Netlink)>,
    workload: Workload,
}

impl Running {
    fn netns(&self) -> Option<&OwnedFd> {
        self.network.as_ref().map(|(netns, _)| netns)
    }
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
        let running = self.running.get(&pod.key())?;
        running.netns().map(OwnedFd::as_fd)
    }

    /// The network namespaces of the pods that have their own.
    pub(super) fn all_netns(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let running = self.running.values();
        running.filter_map(|running| running.netns().map(OwnedFd::as_fd))
    }

    /// Cookies of the pods' network namespaces, by `namespace/name`.
    pub(super) fn netns_cookies(&self) -> Result<BTreeMap<String, u64>, AgentError> {
        let own = self.running.iter();
        let own = own.filter_map(|(key, it)| Some((key, &it.network.as_ref()?.1)));
        let cookies = own.map(|(key, netlink)| {
            let cookie = netns_cookie::of_socket(netlink).map_err(AgentError::Cookie)?;
            Ok((key.clone(), cookie))
        });
        cookies.collect()
    }

    /// rtnetlink inside the pod.
    pub(super) fn netlink(&mut self, pod: &Pod) -> Option<&mut Netlink> {
        let running = self.running.get_mut(&pod.key())?;
        running.network.as_mut().map(|(_, netlink)| netlink)
    }

    /// Ends the pods that `state` does not have, or has otherwise.
    pub(super) fn remove_stale(
        &mut self,
        state: &NodeState,
        netlink: &mut Netlink,
    ) -> Result<(), AgentError> {
        let wanted: BTreeMap<_, _> = Sandbox::all(state)
            .map(|pod| (pod.folder_name(), pod))
            .collect();
        let mut stale = Vec::new();
        for name in self.names_on_disk()? {
            let there = self.known(&name)?;
            let keep = match (wanted.get(&name), &there) {
                (Some(wanted), Some(there)) => !there.is_another(wanted),
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
    fn known(&self, name: &str) -> Result<Option<Sandbox>, AgentError> {
        let running = self
            .running
            .values()
            .find(|it| it.pod.folder_name() == name);
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
    fn end(&self, stale: &[(String, Option<Sandbox>)]) -> Result<(), AgentError> {
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
        there: Option<&Sandbox>,
        netlink: &mut Netlink,
    ) -> Result<(), AgentError> {
        self.places.cgroup.child(name).remove()?;
        if let Some(pod) = there {
            if let Some(mut running) = self.running.remove(&pod.key()) {
                running.workload.reap();
            }
            if let Some(pod) = pod.own() {
                // A namespace takes its interfaces along only some time after it
                // ends, and the name may be needed at once.
                network::delete_link(netlink, &pod.interface)?;
                namespace::delete(&pod::netns_path(&self.places.netns, pod))?;
            }
            pod.leave_network();
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

    /// The cgroup of a pod with a network of its own.
    pub(super) fn cgroup_of(&self, pod: &Pod) -> Cgroup {
        let name = pod::folder_name(&pod.namespace, &pod.name);
        self.places.cgroup.child(name)
    }

    /// Makes what a pod needs before it can have an interface: its folder with
    /// the files of its `/etc`, its cgroup, its namespace. A pod that an earlier
    /// agent started is taken over, with its workload.
    pub(super) fn prepare(&mut self, state: &NodeState) -> Result<(), AgentError> {
        files::make_folder(&self.places.folder)?;
        fs::create_dir_all(&self.places.netns)
            .map_err(AgentError::file("make", &self.places.netns))?;
        for pod in Sandbox::all(state) {
            let folder = self.places.folder.join(pod.folder_name());
            files::make_folder(&folder)?;
            if let Some(pod) = pod.own() {
                files::make_folder(&folder.join("etc"))?;
                self.templates
                    .write_etc(&folder.join("etc"), pod, &state.dns)?;
            }
            dns_files::write(&folder, &pod, state)?;
            self.places.cgroup.child(pod.folder_name()).create()?;
            let lost = pod.own().is_some_and(|pod| self.lost_namespace(pod));
            match self.running.get_mut(&pod.key()) {
                Some(running) if !lost => running.pod = pod,
                _ => {
                    let running = self.adopt_or_make(pod, &folder)?;
                    self.running.insert(running.pod.key(), running);
                }
            }
        }
        Ok(())
    }

    /// Whether the pod's namespace is no longer mounted where it should be.
    fn lost_namespace(&self, pod: &Pod) -> bool {
        !namespace::is_netns(&pod::netns_path(&self.places.netns, pod))
    }

    fn adopt_or_make(&self, pod: Sandbox, folder: &Path) -> Result<Running, AgentError> {
        let cgroup = self.places.cgroup.child(pod.folder_name());
        let Some(own) = pod.own() else {
            let workload = Workload::adopt(folder, &cgroup, None)?;
            return Ok(Running {
                pod,
                network: None,
                workload,
            });
        };
        let path = pod::netns_path(&self.places.netns, own);
        let (netns, netlink, workload) = if namespace::is_netns(&path) {
            let netns = namespace::open(&path)?;
            let netlink = Netlink::open_in(&netns)?;
            let workload = Workload::adopt(folder, &cgroup, Some(&netns))?;
            (netns, netlink, workload)
        } else {
            // Whatever still runs is in a namespace that nothing leads to.
            workload::end_all(&cgroup)?;
            namespace::delete(&path)?;
            let (netns, netlink) = namespace::create_with(&path, Netlink::open)?;
            (netns, netlink?, Workload::default())
        };
        Ok(Running {
            pod,
            network: Some((netns, netlink)),
            workload,
        })
    }

    /// Starts the workloads that do not run, and waits until servers accept
    /// connections. One that does not is told of in [`Pods::status`].
    pub(super) fn start(&mut self, state: &NodeState) -> Result<(), AgentError> {
        for pod in Sandbox::all(state) {
            let Some(running) = self.running.get_mut(&pod.key()) else {
                continue;
            };
            let netns = running.network.as_ref().map(|(netns, _)| netns);
            if !running.workload.runs() {
                workload::start(&self.places, &running.pod, netns, &mut running.workload)?;
            } else if pod.workload().serves_dns() && running.workload.is_of_another_version() {
                workload::start_successor(
                    &self.places,
                    &running.pod,
                    netns,
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
            if running.workload.hand_over(key, now) {
                let folder = self.places.folder.join(running.pod.folder_name());
                if let Err(error) = workload::note(&folder, &running.pod, &running.workload) {
                    log::warn(format_args!("failed to {error}"));
                }
            }
            running.workload.look(key, now);
            if running.workload.rests(now) {
                // Nobody would answer at the addresses that are the cache's.
                running.pod.leave_network();
            }
            if running.workload.is_due(now) {
                let netns = running.network.as_ref().map(|(netns, _)| netns);
                let pod = &running.pod;
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
        let pods = Sandbox::all(state);
        pods.map(|pod| self.pod_status(&pod, state)).collect()
    }

    fn pod_status(&self, pod: &Sandbox, state: &NodeState) -> PodStatus {
        let workload = self
            .running
            .get(&pod.key())
            .map(|running| &running.workload);
        PodStatus {
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            address: pod.own().map_or(state.node.address, |pod| pod.address),
            ready: workload.is_some_and(Workload::is_ready),
            restarts: workload.map_or(0, Workload::restarts),
            pid: workload.and_then(Workload::pid),
            started: workload.and_then(Workload::started),
            message: workload.and_then(|workload| workload.message().map(str::to_owned)),
        }
    }

    /// Starts the workload anew: a DNS server hands its sockets over to the next one,
    /// others end first.
    pub(super) fn restart(&mut self, key: &str) -> Result<(), AgentError> {
        let Some(running) = self.running.get_mut(key) else {
            return Err(AgentError::NoPod(key.to_owned()));
        };
        let netns = running.network.as_ref().map(|(netns, _)| netns);
        let (pod, workload) = (&running.pod, &mut running.workload);
        if pod.workload().serves_dns() && workload.is_ready() {
            workload::start_successor(&self.places, pod, netns, workload)
        } else {
            workload::start(&self.places, pod, netns, workload)
        }
    }

    /// The pods that have a workload which does not do what it is for.
    pub(super) fn unready(&self) -> BTreeSet<String> {
        let unready = self
            .running
            .iter()
            .filter(|(_, it)| !it.workload.is_ready());
        unready.map(|(key, _)| key.clone()).collect()
    }

    /// What pods of `state` lack, apart from interfaces and routes.
    pub(super) fn differences(&self, state: &NodeState) -> Vec<String> {
        let mut differences = Vec::new();
        for pod in Sandbox::all(state) {
            if pod.own().is_some_and(|pod| self.lost_namespace(pod)) {
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
