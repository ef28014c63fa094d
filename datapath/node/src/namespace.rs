//! Network namespaces, bind-mounted at paths so that they outlive their makers.
//!
//! A network namespace belongs to a thread. Everything here that enters one
//! does so on a thread of its own, which ends with the work: no thread that
//! others share is ever moved.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

/// A failed operation on a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The kernel gave no new namespace.
    #[error("create a network namespace: {}", .0.desc())]
    Create(#[source] Errno),
    /// The namespace cannot be mounted at its path.
    #[error("mount a network namespace at {}: {source}", path.display())]
    Mount {
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The path cannot be opened.
    #[error("open the network namespace {}: {source}", path.display())]
    Open {
        /// Where it was expected.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is at the path is no namespace.
    #[error("open the network namespace {}: there is a file, but no namespace mounted on it", path.display())]
    NotMounted {
        /// Where it was expected.
        path: PathBuf,
    },
    /// The namespace cannot be entered.
    #[error("enter a network namespace: {}", .0.desc())]
    Enter(#[source] Errno),
    /// No thread to enter it on.
    #[error("start a thread for a network namespace: {0}")]
    Thread(#[source] io::Error),
    /// The mount or its file cannot be removed.
    #[error("remove the network namespace {}: {source}", path.display())]
    Delete {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Creates a network namespace, mounts it at `path` (which must not exist), and
/// returns it open.
///
/// # Errors
/// When the namespace cannot be made, or not be mounted there; nothing is left.
pub fn create(path: &Path) -> Result<OwnedFd, NamespaceError> {
    create_with(path, || ()).map(|(netns, ())| netns)
}

/// Like [`create`], and runs `inside` in the new namespace, on the thread that
/// made it: what opens sockets or writes sysctls there needs no second entry.
///
/// # Errors
/// As [`create`].
pub fn create_with<T: Send>(
    path: &Path,
    inside: impl FnOnce() -> T + Send,
) -> Result<(OwnedFd, T), NamespaceError> {
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(NamespaceError::Create)?;
        bind_current(path).map_err(|source| NamespaceError::Mount {
            path: path.into(),
            source,
        })?;
        Ok((open(path)?, inside()))
    })
}

/// Creates a network namespace without a name: it lasts as long as the returned
/// descriptor and what is opened in it. For trials and tests, which then have
/// nothing to clean up.
///
/// # Errors
/// When the kernel gives no new namespace.
pub fn create_unnamed() -> Result<OwnedFd, NamespaceError> {
    create_unnamed_with(|| ()).map(|(netns, ())| netns)
}

/// Like [`create_unnamed`], and runs `inside` as [`create_with`] does. What is
/// started in the namespace before it gets its name by [`bind`] copies no mounts
/// of the others that are being made.
///
/// # Errors
/// As [`create_unnamed`].
pub fn create_unnamed_with<T: Send>(
    inside: impl FnOnce() -> T + Send,
) -> Result<(OwnedFd, T), NamespaceError> {
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(NamespaceError::Create)?;
        Ok((current()?, inside()))
    })
}

/// Mounts the namespace `netns` at `path`, which must not exist.
///
/// # Errors
/// When it cannot be mounted there; nothing is left.
pub fn bind(netns: impl AsFd, path: &Path) -> Result<(), NamespaceError> {
    let source = format!("/proc/self/fd/{}", netns.as_fd().as_raw_fd());
    bind_from(&source, path).map_err(|source| NamespaceError::Mount {
        path: path.into(),
        source,
    })
}

/// Mounts the calling thread's network namespace at `path`.
fn bind_current(path: &Path) -> io::Result<()> {
    bind_from("/proc/thread-self/ns/net", path)
}

fn bind_from(source: &str, path: &Path) -> io::Result<()> {
    File::create_new(path)?;
    mount(
        Some(source),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(|errno| {
        // The file is ours: `create_new` made it a moment ago.
        let _ = std::fs::remove_file(path);
        io::Error::from(errno)
    })
}

/// Opens the namespace mounted at `path`.
///
/// # Errors
/// When nothing is there, or something that is no namespace.
pub fn open(path: &Path) -> Result<OwnedFd, NamespaceError> {
    let file = File::open(path).map_err(|source| NamespaceError::Open {
        path: path.into(),
        source,
    })?;
    if is_netns(path) {
        Ok(file.into())
    } else {
        Err(NamespaceError::NotMounted { path: path.into() })
    }
}

/// Whether a namespace is mounted at `path`; the bare file that a reboot or a
/// half-done creation leaves is none.
#[must_use]
pub fn is_netns(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == NSFS_MAGIC)
}

/// Unmounts the namespace at `path` and removes the file. What is gone already
/// is no fault. The namespace itself ends with its last process and socket.
///
/// # Errors
/// When the mount or the file stays.
pub fn delete(path: &Path) -> Result<(), NamespaceError> {
    let fault = |source| NamespaceError::Delete {
        path: path.into(),
        source,
    };
    loop {
        // Something mounted over a mount hides it: take away all of them.
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(fault(errno.into())),
        }
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault(error)),
        _ => Ok(()),
    }
}

/// Makes `folder` (and those above it) a mount point of its own, so that a child
/// with a mount namespace of its own can let go of every namespace mounted in it
/// at once: a copy of such a mount keeps the namespace alive after [`delete`].
/// See `hidden` of [`crate::node_mounts::node`].
///
/// # Errors
/// When the folder cannot be made or mounted.
pub fn prepare_folder(folder: &Path) -> Result<(), NamespaceError> {
    let fault = |source| NamespaceError::Mount {
        path: folder.into(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(fault)?;
    if is_mount_point(folder).map_err(fault)? {
        return Ok(());
    }
    let none = None::<&str>;
    mount(Some(folder), folder, none, MsFlags::MS_BIND, none)
        .and_then(|()| mount(none, folder, none, MsFlags::MS_PRIVATE, none))
        .map_err(|errno| fault(errno.into()))
}

/// Undoes [`prepare_folder`]: lets go of all namespaces mounted in `folder`, and
/// removes it with the files they were mounted on. What is gone is no fault.
///
/// # Errors
/// When something in it stays.
pub fn remove_folder(folder: &Path) -> Result<(), NamespaceError> {
    let fault = |source| NamespaceError::Delete {
        path: folder.into(),
        source,
    };
    loop {
        match umount2(folder, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(fault(errno.into())),
        }
    }
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(fault)?,
    };
    for entry in entries {
        delete(&entry.map_err(fault)?.path())?;
    }
    std::fs::remove_dir(folder).map_err(fault)
}

/// Whether a file system is mounted at exactly `path`.
///
/// # Errors
/// When the path, or the list of mounts, cannot be read.
pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo")?;
    let path = path.canonicalize()?;
    Ok(mounts
        .lines()
        .any(|line| line.split(' ').nth(4).map(Path::new) == Some(&path)))
}

/// Runs `inside` in the network namespace `netns`, on a thread of its own, and
/// returns what it returned. A panic inside goes on in the caller.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn in_netns<T: Send>(
    netns: impl AsFd,
    inside: impl FnOnce() -> T + Send,
) -> Result<T, NamespaceError> {
    let netns: BorrowedFd<'_> = netns.as_fd();
    on_thread(|| {
        setns(netns, CloneFlags::CLONE_NEWNET).map_err(NamespaceError::Enter)?;
        Ok(inside())
    })
}

/// The calling thread's network namespace.
///
/// # Errors
/// When `/proc` is not there.
pub fn current() -> Result<OwnedFd, NamespaceError> {
    let path = Path::new("/proc/thread-self/ns/net");
    File::open(path)
        .map(OwnedFd::from)
        .map_err(|source| NamespaceError::Open {
            path: path.into(),
            source,
        })
}

fn on_thread<T: Send>(
    work: impl FnOnce() -> Result<T, NamespaceError> + Send,
) -> Result<T, NamespaceError> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(NamespaceError::Thread)?;
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests;
