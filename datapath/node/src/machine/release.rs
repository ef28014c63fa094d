//! A machine becomes what it was. Everything is tried, whatever fails before it,
//! and what stays is named.

use std::fs;
use std::path::Path;
use std::time::Instant;

use ipnet::Ipv4Net;
use lab_model::node_state::Workload;
use lab_model::plan::{Action, ObservedNode, SEGMENT_INTERFACE};
use nix::mount::{MntFlags, umount2};

use super::api::Owner;
use super::before::{Before, Claimed};
use super::kept::Kept;
use super::perform::write_hosts;
use super::places::{HOME, RUN, cgroup_of_all};
use super::servers::DEATH;
use super::{MachineError, base, files, systemd};
use crate::netlink::{Netlink, NetlinkError, Request, Route, protocol};
use crate::node_cache::LocalNetwork;
use crate::node_mounts::NODE_NETNS_FOLDER;
use crate::node_network::{Interfaces, Snapshot};
use crate::{agent, datapath, iptables, namespace, sysctl};

/// Removes everything of labctl from this machine: of the lab of `owner`, or,
/// without one, whosever it is. On a machine that has nothing, does nothing.
///
/// # Errors
/// [`MachineError::NotYours`], or [`MachineError::Remains`]; what is needed to try
/// again stays then.
pub fn release(owner: Option<&Owner>) -> Result<(), MachineError> {
    if !Path::new(HOME).exists() {
        return Ok(());
    }
    let _turn = files::turn()?;
    let claimed = Claimed::read();
    if let (Some(owner), Ok(Some(claimed))) = (owner, &claimed)
        && !claimed.admits(owner)
    {
        return Err(MachineError::NotYours(claimed.owner.clone().into()));
    }
    // A record that cannot be read is as good as none.
    let before = claimed.ok().flatten().map(|claimed| claimed.before);
    let kept = Kept::read().unwrap_or_default();
    let mut release = Release {
        before,
        kept,
        remains: Vec::new(),
    };
    release.everything();
    if !release.remains.is_empty() {
        return Err(MachineError::Remains(release.remains));
    }
    files::remove(Path::new(RUN))?;
    files::remove(Path::new(HOME))
}

/// Takes away the interfaces and rules of the DNS caches that ran here.
fn cache_networks(folder: &Path) -> Result<(), MachineError> {
    let applied = agent::applied(folder).map_err(MachineError::file("read", folder))?;
    for pod in applied.iter().flat_map(|state| &state.host_pods) {
        if let Workload::NodeCache(cache) = &pod.workload {
            LocalNetwork::of(cache).remove()?;
        }
    }
    Ok(())
}

struct Release {
    /// What was there; none when that is not on record.
    before: Option<Before>,
    kept: Kept,
    remains: Vec<String>,
}

impl Release {
    fn everything(&mut self) {
        self.units();
        self.attempt("processes", processes);
        self.attempt("programs and maps", || {
            Ok(datapath::remove(Path::new(super::places::BPFFS))?)
        });
        self.attempt("rules of iptables", || Ok(iptables::remove()?));
        self.attempt("what DNS caches made", || cache_networks(Path::new(HOME)));
        self.attempt("network namespaces of pods", pod_namespaces);
        self.network();
        self.settings();
        self.mounts();
        self.attempt("names in /etc/hosts", || write_hosts(&[].into()));
    }

    fn attempt(&mut self, what: &str, work: impl FnOnce() -> Result<(), MachineError>) {
        if let Err(error) = work() {
            self.remains.push(format!("{what}: {error}"));
        }
    }

    fn units(&mut self) {
        if !systemd::runs() {
            return;
        }
        for unit in [&systemd::AGENT, &systemd::SERVE, &systemd::BOOT] {
            self.attempt("a system unit", || systemd::uninstall(unit));
        }
    }

    fn network(&mut self) {
        let network = match Snapshot::take() {
            Ok(network) => network,
            Err(error) => return self.remains.push(format!("the network: {error}")),
        };
        let mut node = ObservedNode::default();
        network.describe(&mut node);
        let mut actions = removals(&node, &self.kept, self.before.as_ref());
        if let Some(before) = &self.before {
            actions.extend(restorations(&node, before));
        }
        for action in &actions {
            // One at a time: what one leaves is no reason to leave the next.
            let done = Netlink::open()
                .and_then(Interfaces::existing)
                .and_then(|mut it| it.change(&[(0, action)]).map_err(|(_, error)| error));
            if let Err(error) = done {
                self.remains.push(error.to_string());
            }
        }
        self.attempt("routes to other nodes' pods", || Ok(peer_routes(&network)?));
        if self.before.as_ref().is_some_and(|before| !before.was_up) {
            self.attempt("the lab's interface", || Ok(set_down()?));
        }
    }

    fn settings(&mut self) {
        let Some(before) = self.before.take() else {
            return;
        };
        for (name, value) in &before.settings {
            // An interface that went took its settings along.
            if sysctl::get(name).is_ok() {
                self.attempt("a kernel setting", || Ok(sysctl::set(name, value)?));
            }
        }
        let name = before.host_name.clone();
        self.attempt("the host name", || base::set_host_name(&name));
        self.before = Some(before);
    }

    fn mounts(&mut self) {
        let mounts = self.before.iter().flat_map(|it| it.mounts.clone());
        for path in mounts.collect::<Vec<_>>() {
            self.attempt("a mount", || unmount(&path));
        }
    }
}

/// What labctl, its agent and the lab's actions made.
fn removals(node: &ObservedNode, kept: &Kept, before: Option<&Before>) -> Vec<Action> {
    let mut actions = Vec::new();
    let nowhere = String::new;
    for route in &node.static_routes {
        let was = before.is_some_and(|it| it.static_routes.contains(route));
        if kept.routes.contains(route) && !was {
            let (node, route) = (nowhere(), route.clone());
            actions.push(Action::DeleteRoute { node, route });
        }
    }
    for (name, interface) in &node.interfaces {
        // The kernel's module for dummies came with the lab's, and made this one.
        let with_the_module =
            name == "dummy0" && before.is_some_and(|it| !it.addresses.contains_key(name));
        let is_labs = kept.dummies.get(name) == Some(&interface.mac);
        if is_agents(name) || is_labs || with_the_module {
            let (node, interface) = (nowhere(), name.clone());
            actions.push(Action::DeleteInterface { node, interface });
            continue;
        }
        let was = before.and_then(|it| it.addresses.get(name));
        let is = kept.addresses.get(name);
        let ours = |address: &&Ipv4Net| {
            !was.is_some_and(|it| it.contains(*address))
                && is.is_some_and(|it| it.contains(*address))
        };
        for address in interface.addresses.iter().filter(ours) {
            actions.push(Action::DeleteAddress {
                node: nowhere(),
                interface: name.clone(),
                address: *address,
            });
        }
    }
    actions
}

/// What was there and is not.
fn restorations(node: &ObservedNode, before: &Before) -> Vec<Action> {
    let nowhere = String::new;
    let mut actions = Vec::new();
    for (name, interface) in &node.interfaces {
        let was = before.addresses.get(name).into_iter().flatten();
        for address in was.filter(|it| !interface.addresses.contains(it)) {
            actions.push(Action::AddAddress {
                node: nowhere(),
                interface: name.clone(),
                address: *address,
            });
        }
    }
    for route in before.static_routes.difference(&node.static_routes) {
        actions.push(Action::ReplaceRoute {
            node: nowhere(),
            route: route.clone(),
            was: None,
        });
    }
    actions
}

/// Interfaces that the node agent makes: those of Cilium, and of pods.
fn is_agents(name: &str) -> bool {
    let pods = name.strip_prefix("lxc").is_some_and(|digits| {
        digits.len() == 12 && digits.bytes().all(|it| it.is_ascii_hexdigit())
    });
    // Nobody else's may begin like that: lab files cannot have them.
    let own = ["cilium_host", "cilium_net", "cilium_vxlan", "cilium_geneve"];
    pods || own.contains(&name)
}

/// Ends everything that labctl started.
fn processes() -> Result<(), MachineError> {
    let all = cgroup_of_all()?;
    all.kill()?;
    all.wait_empty(Instant::now() + DEATH)?;
    Ok(all.remove()?)
}

fn pod_namespaces() -> Result<(), MachineError> {
    let folder = Path::new(NODE_NETNS_FOLDER);
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("cni-") {
            namespace::delete(&entry.path())?;
        }
    }
    Ok(())
}

/// Direct node routes, which the agent marks as the kernel's, as Cilium does. The
/// kernel's own have no gateway.
fn peer_routes(network: &Snapshot) -> Result<(), NetlinkError> {
    let peer = |route: &&Route| route.protocol == protocol::KERNEL && route.gateway.is_some();
    let mut netlink = Netlink::open()?;
    for route in network.routes.iter().filter(peer) {
        match netlink.execute(&Request::DeleteRoute(route.clone())) {
            // It went with an interface.
            Err(error) if error.is_missing() => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

fn set_down() -> Result<(), NetlinkError> {
    let change = crate::netlink::LinkChange {
        up: Some(false),
        ..Default::default()
    };
    Netlink::open()?.execute(&Request::SetLink {
        name: SEGMENT_INTERFACE.to_owned(),
        change,
    })
}

fn unmount(path: &Path) -> Result<(), MachineError> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(MachineError::file("unmount", path)(errno.into())),
    }
    // The folder for names of namespaces was made for the mount; those of a
    // file system of the kernel's are not ours, and cannot be removed.
    if path == Path::new(NODE_NETNS_FOLDER) {
        let _ = fs::remove_dir(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_agents;

    #[test]
    fn what_the_agent_made_is_told_from_what_was_there() {
        for name in [
            "cilium_host",
            "cilium_net",
            "cilium_vxlan",
            "cilium_geneve",
            "lxc0000000000a0",
        ] {
            assert!(is_agents(name), "{name}");
        }
        for name in ["eth1", "vxlan0", "lxcbr0", "lxc0000000000g0"] {
            assert!(!is_agents(name), "{name}");
        }
    }
}
