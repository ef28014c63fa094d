//! Nodes: made, and removed with all that runs in them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab_model::lab::Role;
use lab_model::plan::{Hosts, OUTSIDE_DNS};
use lab_node::namespace;
use lab_node::netlink::{LinkChange, Netlink, Request};
use lab_node::node_network::hosts_file;
use lab_node::process::{self, ChildSetup, PidFd};
use lab_node::{node_mounts, sysctl};
use nix::mount::{MntFlags, umount2};
use nix::sched::CloneFlags;

use super::Netns;
use super::namespaces::{FIRST_INTERFACE, FIRST_PORT, Handle};
use super::places::{Kind, Places, mounts_below};
use crate::error::ProviderError;
use crate::lab_folder::remove_folder;
use crate::record;

/// How long killed processes may take to be gone. Killed at once, they are held
/// up only by what the kernel itself waits for.
pub(super) const DEATH: Duration = Duration::from_secs(10);

/// Name of the file, in a node's folder, that says what the node was made as.
const ROLE: &str = "role";

/// Makes a node: folder, cgroups, network namespace, and the process that holds
/// them. The namespace gets its name by [`name`], when the processes of all new
/// nodes have copied the mounts that are there: else every node's copy would have
/// the names of those before it, and each node would cost more than the last.
pub(super) fn create(
    provider: &Netns,
    places: &Places,
    node: &str,
    role: Role,
    hosts: &Hosts,
) -> Result<Handle, ProviderError> {
    write_folder(provider, &places.node(node), node, role, hosts)?;
    for kind in Kind::ALL {
        places.cgroup_of(node, kind).create()?;
    }
    let handle = create_netns(node, role)?;
    start_pause(provider, places, node, &handle)?;
    Ok(handle)
}

/// Mounts a new node's network namespace where the node is looked for: the last
/// step, without which the node counts as broken.
pub(super) fn name(places: &Places, node: &str, handle: &Handle) -> Result<(), ProviderError> {
    Ok(namespace::bind(&handle.netns, &places.netns(node))?)
}

fn create_netns(node: &str, role: Role) -> Result<Handle, ProviderError> {
    let (netns, opened) = namespace::create_unnamed_with(|| {
        settings(role)
            .iter()
            .try_for_each(|(name, value)| sysctl::set(name, value))
            .map_err(|source| ProviderError::Sysctl {
                place: node.to_owned(),
                source,
            })?;
        let mut netlink = Netlink::open().map_err(ProviderError::netlink(node))?;
        let up = Request::SetLink {
            name: "lo".to_owned(),
            change: LinkChange::up(),
        };
        netlink.execute(&up).map_err(ProviderError::netlink(node))?;
        Ok::<_, ProviderError>(netlink)
    })?;
    let next = if role == Role::World {
        FIRST_PORT
    } else {
        FIRST_INTERFACE
    };
    Ok(Handle::fresh(netns, opened?, next))
}

/// Settings of a node's network namespace. A new one has the host's present
/// values for those of IPv4 (`net.core.devconf_inherit_init_net`), and a lab must
/// not depend on the host.
fn settings(role: Role) -> [(&'static str, &'static str); 5] {
    [
        (
            "net.ipv4.ip_forward",
            if role.forwards() { "1" } else { "0" },
        ),
        // Packets of one flow come and go by different interfaces.
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.ipv4.conf.default.rp_filter", "0"),
        // The world answers ARP for 10.0.2.2 on every port.
        ("net.ipv4.conf.all.arp_ignore", "0"),
        ("net.ipv4.conf.default.arp_ignore", "0"),
    ]
}

fn start_pause(
    provider: &Netns,
    places: &Places,
    node: &str,
    handle: &Handle,
) -> Result<(), ProviderError> {
    let fault = |source| ProviderError::Spawn {
        node: node.to_owned(),
        source,
    };
    let folder = places.node(node);
    let mounts = node_mounts::node(&folder, &[places.netns_folder()])
        .map_err(|source| ProviderError::file("mount", &folder, source))?;
    let netns = handle
        .netns
        .try_clone()
        .map_err(|source| ProviderError::file("hold open", &places.netns(node), source))?;
    let setup = ChildSetup::new()
        .cgroup(&places.cgroup_of(node, Kind::Pause))?
        .new_session()
        .enter(netns, CloneFlags::CLONE_NEWNET)
        .unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
        .mounts(mounts)
        .host_name(node)
        .map_err(fault)?;
    let mut command = Command::new(&provider.options.labctl);
    command.args(["app", "pause"]).env_clear().current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    process::spawn(command, setup).map_err(fault)?;
    Ok(())
}

/// Writes the folder that is `/run/labctl` to the node.
fn write_folder(
    provider: &Netns,
    folder: &Path,
    node: &str,
    role: Role,
    hosts: &Hosts,
) -> Result<(), ProviderError> {
    let fault = |source| ProviderError::file("write", folder, source);
    for part in ["etc", "bin"] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder.join(part))
            .map_err(fault)?;
    }
    let etc = folder.join("etc");
    let files = [
        (folder.join(ROLE), format!("{role}\n")),
        (etc.join("hosts"), hosts_file(hosts)),
        (etc.join("hostname"), format!("{node}\n")),
        (
            etc.join("resolv.conf"),
            format!("nameserver {OUTSIDE_DNS}\n"),
        ),
    ];
    for (path, text) in files {
        fs::write(path, text).map_err(fault)?;
    }
    if role.runs_pods() {
        for name in ["cilium", "cilium-dbg", "hubble"] {
            match symlink(&provider.options.labctl, folder.join("bin").join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(fault(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What the node was made as; none when that is not on record.
pub(super) fn role_on_record(places: &Places, node: &str) -> Result<Option<Role>, ProviderError> {
    let text = record::read_if_there(&places.node(node).join(ROLE))?;
    Ok(text.and_then(|text| record::role(&String::from_utf8_lossy(&text))))
}

/// Writes `/etc/hosts` in place: the node has that very file mounted, and would
/// not see another that took its name.
pub(super) fn write_hosts(places: &Places, node: &str, hosts: &Hosts) -> Result<(), ProviderError> {
    let path = places.node(node).join("etc/hosts");
    fs::write(&path, hosts_file(hosts))
        .map_err(|source| ProviderError::file("write", &path, source))
}

/// The pause process, by which others enter the node.
pub(super) fn pause(places: &Places, node: &str) -> Result<PidFd, ProviderError> {
    let pids = places.cgroup_of(node, Kind::Pause).own_pids()?;
    let pause = pids.first().and_then(|pid| PidFd::open(*pid).ok());
    pause.ok_or_else(|| ProviderError::NotRunning {
        target: node.to_owned(),
        why: "its pause process is gone; `labctl up` makes the node anew".to_owned(),
    })
}

/// The descriptor with which a child enters a node, and what it enters.
pub(super) fn entry(pause: PidFd) -> (OwnedFd, CloneFlags) {
    let kinds = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    (pause.into(), kinds)
}

/// Ends everything that runs on `nodes`, and removes them. Returns for each what
/// went wrong; the others are removed all the same.
pub(super) fn delete(places: &Places, nodes: &[&str]) -> Vec<Result<(), ProviderError>> {
    // All are killed before any is waited for.
    let killed: Vec<_> = nodes
        .iter()
        .map(|node| places.node_cgroup(node).kill())
        .collect();
    let deadline = Instant::now() + DEATH;
    let mounts = mounts_below(&places.nodes());
    let mounts: &[PathBuf] = mounts.as_deref().unwrap_or_default();
    let removed = nodes.iter().zip(killed).map(|(node, killed)| {
        killed?;
        let cgroup = places.node_cgroup(node);
        cgroup.wait_empty(deadline)?;
        cgroup.remove()?;
        namespace::delete(&places.netns(node))?;
        let folder = places.node(node);
        unmount(mounts.iter().filter(|point| point.starts_with(&folder)))?;
        remove_folder(&folder)
    });
    removed.collect()
}

/// Lets go of what somebody mounted inside the lab's folders, so that what is
/// removed there is the lab's own.
pub(super) fn unmount<'a>(
    points: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<(), ProviderError> {
    for point in points {
        let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
        umount2(point, flags)
            .map_err(|errno| ProviderError::file("unmount", point, errno.into()))?;
    }
    Ok(())
}
