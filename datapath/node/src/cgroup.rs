//! Control groups (version 2) as labels that processes cannot take off: a lab's
//! processes are found, signalled and awaited through them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::Pid;

/// A failed operation on a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup2 hierarchy is mounted.
    #[error(
        "find cgroup2: no mount of it in /proc/self/mountinfo; mount one with `mount -t cgroup2 none /sys/fs/cgroup`"
    )]
    NotMounted,
    /// A file of the cgroup cannot be used.
    #[error("{what} cgroup {}: {source}", path.display())]
    File {
        /// What was tried, such as `create`.
        what: &'static str,
        /// The cgroup's folder, or the file in it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Processes are still there at the deadline.
    #[error("empty cgroup {}: {} still run: {}", path.display(), processes(pids.len()), list(pids))]
    Populated {
        /// The cgroup's folder.
        path: PathBuf,
        /// Who is left.
        pids: Vec<Pid>,
    },
}

fn processes(count: usize) -> String {
    if count == 1 {
        "1 process".to_owned()
    } else {
        format!("{count} processes")
    }
}

fn list(pids: &[Pid]) -> String {
    pids.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Where cgroup2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified`
/// where version 1 is in use beside it.
///
/// # Errors
/// [`CgroupError::NotMounted`], or when `/proc` cannot be read.
pub fn mount_point() -> Result<PathBuf, CgroupError> {
    let path = PathBuf::from("/proc/self/mountinfo");
    let text = fs::read_to_string(&path).map_err(|source| CgroupError::File {
        what: "read",
        path,
        source,
    })?;
    // A mount that another one covers is listed as well: ask the path itself.
    cgroup2_mounts(&text)
        .find(|path| statfs(path).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC))
        .ok_or(CgroupError::NotMounted)
}

/// Mount points of type cgroup2 in the text of a mountinfo file (proc(5)).
fn cgroup2_mounts(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        after
            .starts_with("cgroup2 ")
            .then(|| PathBuf::from(point.replace("\\040", " ")))
    })
}

/// One control group; it may or may not exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup whose folder is `path`.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The calling process's cgroup.
    ///
    /// # Errors
    /// When cgroup2 is not mounted, or `/proc` cannot be read.
    pub fn of_self() -> Result<Self, CgroupError> {
        let path = PathBuf::from("/proc/self/cgroup");
        let text = fs::read_to_string(&path).map_err(|source| CgroupError::File {
            what: "read",
            path,
            source,
        })?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
        Ok(Self::at(
            mount_point()?.join(own.ok_or(CgroupError::NotMounted)?),
        ))
    }

    /// The cgroup `name` below this one.
    #[must_use]
    pub fn child(&self, name: impl AsRef<Path>) -> Self {
        Self::at(self.path.join(name))
    }

    /// The cgroup above this one; the hierarchy's root has none.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.path.parent().map(Self::at)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Creates the cgroup, and those above it that are missing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create(&self) -> Result<(), CgroupError> {
        fs::create_dir_all(&self.path).map_err(|source| self.fault("create", "", source))
    }

    /// `cgroup.procs`, open for writing: a process that writes `0` to it joins.
    /// Opened before a fork, it lets the child join with one system call.
    ///
    /// # Errors
    /// When the cgroup is not there.
    pub fn open_procs(&self) -> Result<File, CgroupError> {
        let file = "cgroup.procs";
        OpenOptions::new()
            .write(true)
            .open(self.path.join(file))
            .map_err(|source| self.fault("open", file, source))
    }

    /// The folder, open: a process can be born in it (`CLONE_INTO_CGROUP`).
    ///
    /// # Errors
    /// When the cgroup is not there.
    pub fn open(&self) -> Result<File, CgroupError> {
        File::open(&self.path).map_err(|source| self.fault("open", "", source))
    }

    /// The cgroups directly below; none when this one is not there.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn children(&self) -> Result<Vec<Self>, CgroupError> {
        let fault = |source| self.fault("list", "", source);
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(fault)?,
        };
        let mut children = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fault)?;
            if entry.file_type().map_err(fault)?.is_dir() {
                children.push(Self::at(entry.path()));
            }
        }
        children.sort();
        Ok(children)
    }

    /// Its processes and those of all cgroups below.
    ///
    /// # Errors
    /// When a folder or file cannot be read; one that goes away meanwhile is
    /// no fault.
    pub fn pids(&self) -> Result<Vec<Pid>, CgroupError> {
        let mut pids = self.own_pids()?;
        for child in self.children()? {
            pids.extend(child.pids()?);
        }
        Ok(pids)
    }

    /// Its processes, without those of cgroups below.
    ///
    /// # Errors
    /// When the file cannot be read; a cgroup that is not there has none.
    pub fn own_pids(&self) -> Result<Vec<Pid>, CgroupError> {
        let file = "cgroup.procs";
        match fs::read_to_string(self.path.join(file)) {
            Ok(text) => Ok(text
                .lines()
                .filter_map(|pid| pid.parse().ok())
                .map(Pid::from_raw)
                .collect()),
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            Err(source) => Err(self.fault("read", file, source)),
        }
    }

    /// Kills every process in it and below, also those being forked right now
    /// (`cgroup.kill`, Linux 5.14); on older kernels signals each one, and the
    /// caller may have to call again. A cgroup that is not there is no fault.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self) -> Result<(), CgroupError> {
        let file = "cgroup.kill";
        match fs::write(self.path.join(file), "1") {
            Ok(()) => Ok(()),
            Err(error) if is_gone(&error) => self.kill_each(),
            Err(source) => Err(self.fault("write", file, source)),
        }
    }

    fn kill_each(&self) -> Result<(), CgroupError> {
        for pid in self.pids()? {
            match kill(pid, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(self.fault("kill the processes of", "", errno.into())),
            }
        }
        Ok(())
    }

    /// Waits until neither it nor a cgroup below has processes, woken by the
    /// kernel (`cgroup.events`).
    ///
    /// # Errors
    /// [`CgroupError::Populated`] at the deadline.
    pub fn wait_empty(&self, deadline: Instant) -> Result<(), CgroupError> {
        let file = "cgroup.events";
        let mut events = match File::open(self.path.join(file)) {
            Err(error) if is_gone(&error) => return Ok(()),
            events => events.map_err(|source| self.fault("open", file, source))?,
        };
        loop {
            let mut text = String::new();
            match events
                .rewind()
                .and_then(|()| events.read_to_string(&mut text))
            {
                // Removed while it was being read, so empty.
                Err(error) if is_gone(&error) => return Ok(()),
                read => read.map_err(|source| self.fault("read", file, source))?,
            };
            if text.lines().any(|line| line == "populated 0") {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CgroupError::Populated {
                    path: self.path.clone(),
                    pids: self.pids()?,
                });
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
            match poll(&mut watched, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.fault("wait for", file, errno.into())),
            }
        }
    }

    /// Removes it and all cgroups below, deepest first. What is gone already is
    /// no fault.
    ///
    /// # Errors
    /// When one still has processes.
    pub fn remove(&self) -> Result<(), CgroupError> {
        for child in self.children()? {
            child.remove()?;
        }
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.fault("remove", "", error))
            }
            _ => Ok(()),
        }
    }

    fn fault(&self, what: &'static str, file: &str, source: io::Error) -> CgroupError {
        let path = if file.is_empty() {
            self.path.clone()
        } else {
            self.path.join(file)
        };
        CgroupError::File { what, path, source }
    }
}

/// `ENOENT` before opening, `ENODEV` afterwards: the cgroup was removed.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ENODEV as i32)
}

#[cfg(test)]
mod tests;
