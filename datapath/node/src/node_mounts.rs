//! The mounts of a node and of a pod, as steps that a child takes in its new
//! mount namespace before it executes anything.
//!
//! Both see the host's root file system. A node has its own `/run`, in which
//! `/run/labctl` is the node's folder, its own `/sys`, bpffs and cgroup2, and
//! its own `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`. A pod has the
//! latter from its own folder, an empty `/run`, and the `/sys` of its network
//! namespace; the node agent's socket is not in sight.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, mkdir};

/// The files of `/etc` that a node and a pod have of their own.
pub const ETC_FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// Where a node keeps its pods' network namespaces.
pub const NODE_NETNS_FOLDER: &str = "/run/netns";

/// Where a pod that serves DNS sees the folder of what it reads.
pub const POD_DNS_FOLDER: &str = "/run/coredns";

/// One change to the calling process's mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountStep(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Mounts made here stay here; what the host unmounts goes here as well.
    Slave,
    /// Takes away a mount and all below it, if there is one.
    Detach(CString),
    WorkingDirectory(CString),
    Directory(CString, Mode),
    File(CString),
    FileSystem {
        kind: CString,
        target: CString,
        flags: MsFlags,
        options: CString,
    },
    Bind {
        source: CString,
        target: CString,
    },
}

impl MountStep {
    /// Takes the step. Async-signal-safe.
    pub(crate) fn take(&self) -> nix::Result<()> {
        match &self.0 {
            Kind::Slave => {
                let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
                mount(None::<&str>, c"/", None::<&str>, flags, None::<&str>)
            }
            Kind::Detach(target) => match umount2(target.as_c_str(), MntFlags::MNT_DETACH) {
                Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
                done => done,
            },
            Kind::WorkingDirectory(path) => chdir(path.as_c_str()),
            Kind::Directory(path, mode) => match mkdir(path.as_c_str(), *mode) {
                Err(Errno::EEXIST) => Ok(()),
                done => done,
            },
            Kind::File(path) => {
                let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                open(path.as_c_str(), flags, Mode::from_bits_truncate(0o644)).map(drop)
            }
            Kind::FileSystem {
                kind,
                target,
                flags,
                options,
            } => mount(
                Some(kind.as_c_str()),
                target.as_c_str(),
                Some(kind.as_c_str()),
                *flags,
                Some(options.as_c_str()),
            ),
            Kind::Bind { source, target } => mount(
                Some(source.as_c_str()),
                target.as_c_str(),
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            ),
        }
    }

    fn directory(path: &Path, mode: u32) -> io::Result<Self> {
        Ok(Self(Kind::Directory(
            c_string(path)?,
            Mode::from_bits_truncate(mode),
        )))
    }

    fn bind(source: &Path, target: &Path) -> io::Result<Self> {
        Ok(Self(Kind::Bind {
            source: c_string(source)?,
            target: c_string(target)?,
        }))
    }

    fn working_directory(path: &Path) -> io::Result<Self> {
        Ok(Self(Kind::WorkingDirectory(c_string(path)?)))
    }

    fn file_system(kind: &str, target: &str, options: &str) -> io::Result<Self> {
        Ok(Self(Kind::FileSystem {
            kind: c_string(Path::new(kind))?,
            target: c_string(Path::new(target))?,
            flags: MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            options: c_string(Path::new(options))?,
        }))
    }
}

impl fmt::Display for MountStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Slave => f.write_str("keep mounts from the host"),
            Kind::Detach(target) => write!(f, "unmount {}", target.to_string_lossy()),
            Kind::WorkingDirectory(path) => write!(f, "change to {}", path.to_string_lossy()),
            Kind::Directory(path, _) => write!(f, "make the folder {}", path.to_string_lossy()),
            Kind::File(path) => write!(f, "make the file {}", path.to_string_lossy()),
            Kind::FileSystem { kind, target, .. } => {
                write!(
                    f,
                    "mount {} at {}",
                    kind.to_string_lossy(),
                    target.to_string_lossy()
                )
            }
            Kind::Bind { source, target } => {
                write!(
                    f,
                    "bind {} to {}",
                    source.to_string_lossy(),
                    target.to_string_lossy()
                )
            }
        }
    }
}

/// The mounts of a node whose folder is `folder`: `folder/etc/…` must hold the
/// [`ETC_FILES`]. `hidden` are mount points of the host, such as the folder of
/// the lab's network namespaces ([`crate::namespace::prepare_folder`]), that the
/// node must not hold on to.
///
/// # Errors
/// When a path holds a zero byte.
pub fn node(folder: &Path, hidden: &[PathBuf]) -> io::Result<Vec<MountStep>> {
    let run = Path::new("/run/labctl");
    let netns = Path::new(NODE_NETNS_FOLDER);
    let mut steps = vec![MountStep(Kind::Slave)];
    for path in hidden {
        steps.push(MountStep(Kind::Detach(c_string(path)?)));
    }
    steps.extend([
        // The new /run hides the folder's path; the working directory does not
        // lose it.
        MountStep::working_directory(folder)?,
        MountStep::file_system("tmpfs", "/run", "mode=755")?,
        MountStep::directory(run, 0o700)?,
        MountStep::bind(Path::new("."), run)?,
        MountStep::working_directory(Path::new("/"))?,
        // A mount point of its own, so that a pod can let go of all in it.
        MountStep::directory(netns, 0o755)?,
        MountStep::bind(netns, netns)?,
        MountStep::file_system("sysfs", "/sys", "")?,
        MountStep::file_system("bpf", "/sys/fs/bpf", "mode=700")?,
        MountStep::file_system("cgroup2", "/sys/fs/cgroup", "")?,
    ]);
    steps.extend(etc_files(&run.join("etc"))?);
    Ok(steps)
}

/// The mounts of a pod, from inside its node: `etc` must hold the [`ETC_FILES`]. The
/// folder `dns` beside it, where there is one, becomes [`POD_DNS_FOLDER`].
///
/// # Errors
/// When a path holds a zero byte.
pub fn pod(etc: &Path, dns: Option<&str>) -> io::Result<Vec<MountStep>> {
    let mut steps = vec![
        MountStep(Kind::Slave),
        MountStep(Kind::Detach(c_string(Path::new(NODE_NETNS_FOLDER))?)),
        MountStep::working_directory(etc)?,
        MountStep::file_system("tmpfs", "/run", "mode=755")?,
        MountStep::file_system("sysfs", "/sys", "")?,
    ];
    if let Some(dns) = dns {
        let target = Path::new(POD_DNS_FOLDER);
        steps.push(MountStep::directory(target, 0o700)?);
        // The new /run hides the folder's path; the working directory does not lose it.
        steps.push(MountStep::bind(&Path::new("..").join(dns), target)?);
    }
    steps.extend(etc_files(Path::new("."))?);
    steps.push(MountStep::working_directory(Path::new("/"))?);
    Ok(steps)
}

/// Binds `source/…` over the [`ETC_FILES`]. A file that the host does not have
/// cannot be covered, and is left out.
fn etc_files(source: &Path) -> io::Result<Vec<MountStep>> {
    let mut steps = Vec::new();
    for name in ETC_FILES {
        let path = Path::new("/etc").join(name);
        let Some(target) = resolve(&path) else {
            continue;
        };
        // With systemd-resolved, /etc/resolv.conf leads into /run, which is
        // empty by now.
        if target.starts_with("/run") {
            for folder in folders_below(Path::new("/run"), &target) {
                steps.push(MountStep::directory(&folder, 0o755)?);
            }
            steps.push(MountStep(Kind::File(c_string(&target)?)));
        } else if !target.exists() {
            continue;
        }
        steps.push(MountStep::bind(&source.join(name), &target)?);
    }
    Ok(steps)
}

/// Where `path` leads, symbolic links at its end followed; unlike
/// `canonicalize`, also when nothing is there. `None` when `path` does not exist
/// at all, or leads in circles.
fn resolve(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        match path.symlink_metadata() {
            Ok(found) if found.is_symlink() => {
                let folder = path.parent()?.to_owned();
                path = without_dots(&folder.join(std::fs::read_link(&path).ok()?));
            }
            Ok(_) => return Some(path),
            Err(_) => return path.starts_with("/run").then_some(path),
        }
    }
    None
}

fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The folders between `top` and the file `path`, outermost first.
fn folders_below(top: &Path, path: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<_> = path
        .ancestors()
        .skip(1)
        .take_while(|folder| *folder != top)
        .map(Path::to_owned)
        .collect();
    folders.reverse();
    folders
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

#[cfg(test)]
mod tests;
