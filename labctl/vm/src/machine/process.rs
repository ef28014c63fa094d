//! Processes found by their arguments and held by descriptor: numbers are reused.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long a process may take to end after SIGTERM, and after SIGKILL.
const END: Duration = Duration::from_secs(5);

/// A process, for as long as this is held.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

impl Process {
    /// A child that nobody has waited for yet, so that its number is its own.
    pub(crate) fn of_child(child: &std::process::Child) -> io::Result<Self> {
        let pid = child.id();
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            pid,
            pidfd: pidfd_open(number, PidfdFlags::empty())?,
        })
    }

    /// The process of that number, if its arguments are what `is_it` says they must be.
    pub(crate) fn open(pid: u32, is_it: impl Fn(&[OsString]) -> bool) -> io::Result<Option<Self>> {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            pidfd => pidfd?,
        };
        // Read after opening: what has these arguments now is what the descriptor holds, or
        // that has ended and signals to it reach nobody.
        let process = Self { pid, pidfd };
        Ok((is_it(&arguments(pid)) && !process.has_ended()?).then_some(process))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        self.wait(Instant::now())
    }

    /// Waits for its end; false at the deadline.
    pub(crate) fn wait(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match poll(
                &mut [PollFd::new(&self.pidfd, PollFlags::IN)],
                Some(&timespec(left)),
            ) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Ends it: SIGTERM, after which QEMU closes its disk, and SIGKILL if that is not heard.
    pub(crate) fn end(&self) -> io::Result<()> {
        for signal in [Signal::TERM, Signal::KILL] {
            match pidfd_send_signal(&self.pidfd, signal) {
                Err(Errno::SRCH) => return Ok(()),
                sent => sent?,
            }
            if self.wait(Instant::now() + END)? {
                return Ok(());
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec {
        tv_sec: 3600,
        tv_nsec: 0,
    })
}

/// A process's arguments; none for one that is gone, is a zombie, or is the kernel's.
fn arguments(pid: u32) -> Vec<OsString> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .split(|&byte| byte == 0)
        .map(|part| OsStr::from_bytes(part).to_owned())
        .collect()
}

/// What a process is, by its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A machine's QEMU: name and folder.
    Machine(String, PathBuf),
    /// The switch of a segment, by its folder.
    Switch(PathBuf),
}

/// The value of the argument after `option`.
fn value<'a>(arguments: &'a [OsString], option: &str) -> Option<&'a OsStr> {
    let at = arguments.iter().position(|argument| argument == option)?;
    arguments.get(at + 1).map(OsString::as_os_str)
}

/// What a process with these arguments is, if it is one of ours.
pub(crate) fn role(arguments: &[OsString]) -> Option<Role> {
    if let Some(pid_file) = value(arguments, "-pidfile") {
        let name = value(arguments, "-name")?
            .to_str()?
            .strip_prefix("guest=labctl:")?;
        let (_, name) = name.split_once(':')?;
        let folder = Path::new(pid_file).parent()?;
        return Some(Role::Machine(name.replace(",,", ","), folder.to_owned()));
    }
    let folder = PathBuf::from(value(arguments, "segment")?);
    folder.is_absolute().then_some(Role::Switch(folder))
}

/// All processes of this user whose role is `wanted`.
pub(crate) fn find(wanted: impl Fn(&Role) -> bool) -> io::Result<Vec<(Role, Process)>> {
    let own = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // It may have ended meanwhile.
        if entry.metadata().is_ok_and(|metadata| metadata.uid() != own) {
            continue;
        }
        let is_it = |arguments: &[OsString]| role(arguments).is_some_and(|role| wanted(&role));
        let Some(role) = role(&arguments(pid)).filter(&wanted) else {
            continue;
        };
        if let Some(process) = Process::open(pid, is_it)? {
            found.push((role, process));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role_of(arguments: &[&str]) -> Option<Role> {
        role(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_machine_is_known_by_name_and_folder() {
        let machine = [
            "qemu",
            "-name",
            "guest=labctl:study:k8s-w1",
            "-pidfile",
            "/labs/s/w1/qemu.pid",
        ];
        let expected = Role::Machine("k8s-w1".to_owned(), "/labs/s/w1".into());
        assert_eq!(role_of(&machine), Some(expected));
        assert_eq!(
            role_of(&["qemu", "-name", "guest=win11", "-pidfile", "/run/q.pid"]),
            None
        );
        assert_eq!(
            role_of(&["labctl", "app", "segment", "/labs/s/segment"]),
            Some(Role::Switch("/labs/s/segment".into()))
        );
        assert_eq!(role_of(&["grep", "segment", "notes.txt"]), None);
        assert_eq!(role_of(&[]), None);
    }
}
