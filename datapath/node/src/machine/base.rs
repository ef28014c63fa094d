//! What a claimed machine has beside its network, after each boot anew.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::places::{BPFFS, HOME, Kind, RUN, home};
use super::{Machine, MachineError, files};
use crate::cgroup::{self, CgroupError};
use crate::netlink::{LinkChange, Netlink, Request};
use crate::node_mounts::NODE_NETNS_FOLDER;
use crate::{namespace, sysctl};

/// Where cgroup2 is mounted by an init that has not done so.
const CGROUP2: &str = "/sys/fs/cgroup";
/// What this program is also called, on nodes.
const NAMES: [&str; 3] = ["cilium", "cilium-dbg", "hubble"];

impl Machine {
    /// Makes what is missing; on a machine that has all of it, changes nothing.
    pub(super) fn settle(&self) -> Result<(), MachineError> {
        let owner = &self.claimed.owner;
        mount_bpffs()?;
        link_run()?;
        for name in NAMES.iter().filter(|_| owner.role.runs_pods()) {
            link(Path::new("labctl"), &home("bin").join(name))?;
        }
        for kind in Kind::ALL {
            self.places.cgroup(kind).create()?;
        }
        // A mount of its own, so that a pod can let go of all in it.
        namespace::prepare_folder(Path::new(NODE_NETNS_FOLDER))?;
        set_host_name(&owner.node)?;
        // Packets of one flow come and go by different interfaces.
        for name in reverse_path_filters()? {
            sysctl::set(&name, "0")?;
        }
        let up = Request::SetLink {
            name: "lo".to_owned(),
            change: LinkChange::up(),
        };
        Ok(Netlink::open()?.execute(&up)?)
    }
}

/// What is not mounted here, and is mounted by labctl.
pub(super) fn missing_mounts() -> Result<Vec<PathBuf>, MachineError> {
    let mut missing = Vec::new();
    if matches!(cgroup::mount_point(), Err(CgroupError::NotMounted)) {
        missing.push(CGROUP2.into());
    }
    if !has_bpffs() {
        missing.push(BPFFS.into());
    }
    let netns = Path::new(NODE_NETNS_FOLDER);
    if !namespace::is_mount_point(netns).unwrap_or(false) {
        missing.push(netns.to_owned());
    }
    Ok(missing)
}

pub(super) fn mount_cgroup2() -> Result<(), MachineError> {
    match cgroup::mount_point() {
        Err(CgroupError::NotMounted) => mount_at("cgroup2", Path::new(CGROUP2)),
        found => Ok(found.map(drop)?),
    }
}

fn has_bpffs() -> bool {
    statfs(BPFFS).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

pub(super) fn mount_bpffs() -> Result<(), MachineError> {
    if has_bpffs() {
        return Ok(());
    }
    mount_at("bpf", Path::new(BPFFS))
}

fn mount_at(kind: &str, path: &Path) -> Result<(), MachineError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(kind), path, Some(kind), flags, None::<&str>)
        .map_err(|errno| MachineError::file("mount", path)(errno.into()))
}

/// Refuses a folder in the place of the link: it holds labs in namespaces.
pub(super) fn check_run() -> Result<(), MachineError> {
    let run = Path::new(RUN);
    match fs::symlink_metadata(run) {
        Ok(found) if !found.is_symlink() => Err(MachineError::Occupied(run.to_owned())),
        _ => Ok(()),
    }
}

fn link_run() -> Result<(), MachineError> {
    check_run()?;
    link(Path::new(HOME), Path::new(RUN))
}

/// A symbolic link that leads to `target`, whatever it led to.
fn link(target: &Path, path: &Path) -> Result<(), MachineError> {
    if fs::read_link(path).is_ok_and(|present| present == target) {
        return Ok(());
    }
    files::remove(path)?;
    symlink(target, path).map_err(MachineError::file("link", path))
}

/// The present host name.
pub(super) fn host_name() -> Result<String, MachineError> {
    let name = nix::unistd::gethostname();
    let name = name.map_err(|errno| MachineError::HostName {
        name: "the machine has".to_owned(),
        source: errno.into(),
    })?;
    Ok(name.to_string_lossy().into_owned())
}

/// Sets the host name until the next boot: `/etc/hostname` stays what it is.
pub(super) fn set_host_name(name: &str) -> Result<(), MachineError> {
    if host_name()? == name {
        return Ok(());
    }
    nix::unistd::sethostname(name).map_err(|errno| MachineError::HostName {
        name: name.to_owned(),
        source: errno.into(),
    })
}

/// `rp_filter` of each interface and of those to come. The agent sets them, too.
pub(super) fn reverse_path_filters() -> Result<Vec<String>, MachineError> {
    let folder = Path::new("/proc/sys/net/ipv4/conf");
    let entries = fs::read_dir(folder).map_err(MachineError::file("list", folder))?;
    let names: io::Result<Vec<String>> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect();
    let setting = |name: &String| {
        let name = name.replace('.', "/");
        format!("net.ipv4.conf.{name}.rp_filter")
    };
    let names = names.map_err(MachineError::file("list", folder))?;
    Ok(names.iter().map(setting).collect())
}
