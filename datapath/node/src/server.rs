//! Servers: processes that say on a pipe when they are ready.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, pipe2};

use crate::process::{self, ChildSetup, SpawnError, Spawned};

/// How long a process that gave up may take to be gone.
const DEATH: Duration = Duration::from_secs(10);
/// How much of a log an error shows.
const TAIL_LINES: usize = 10;

/// Why a server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its log or its pipe cannot be used.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried, such as `open`.
        what: &'static str,
        /// The log.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It started, and did not get ready.
    #[error("start the {what}: {how}{}", log_tail(tail))]
    NotReady {
        /// `agent` or `server`.
        what: &'static str,
        /// What happened instead.
        how: String,
        /// The end of its log.
        tail: String,
    },
}

fn log_tail(tail: &str) -> String {
    if tail.is_empty() {
        String::new()
    } else {
        format!("; the end of its log:\n{tail}")
    }
}

/// A server that is on its way to be ready.
#[derive(Debug)]
pub struct Starting {
    what: &'static str,
    log: PathBuf,
    ready: OwnedFd,
    process: Spawned,
}

impl Starting {
    /// Starts `command`, which gets `--ready-fd` as its last argument, with its
    /// output appended to `log`.
    ///
    /// # Errors
    /// [`ServerError::File`] or [`ServerError::Spawn`].
    pub fn start(
        what: &'static str,
        mut command: Command,
        setup: ChildSetup,
        log: PathBuf,
    ) -> Result<Self, ServerError> {
        let fault = |what, source| ServerError::File {
            what,
            path: log.clone(),
            source,
        };
        let pipe = pipe2(OFlag::O_CLOEXEC);
        let (ready, writer) = pipe.map_err(|errno| fault("make a pipe beside", errno.into()))?;
        command
            .arg("--ready-fd")
            .arg(writer.as_raw_fd().to_string());
        let (out, err) = open_log(&log).map_err(|source| fault("open", source))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let process = process::spawn(command, setup.new_session().pass_fd(writer))?;
        Ok(Self {
            what,
            log,
            ready,
            process,
        })
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it is ready now; itself while it is not.
    ///
    /// # Errors
    /// [`ServerError::NotReady`] when it ended, or will never be.
    pub fn look(self) -> Result<Option<Self>, ServerError> {
        match readable(self.ready.as_fd(), Instant::now()) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Ok(Some(self)),
        }
        let mut byte = [0];
        let ready = self.ready.try_clone().map(File::from);
        match ready.and_then(|mut it| it.read(&mut byte)) {
            Ok(1) => Ok(None),
            _ => Err(self.ended()),
        }
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// [`ServerError::NotReady`] when it ended, or was not ready after `patience`.
    pub fn wait(self, patience: Duration) -> Result<(), ServerError> {
        match readable(self.ready.as_fd(), Instant::now() + patience) {
            Ok(false) => return Err(self.late(patience)),
            Ok(true) => {}
            Err(errno) => {
                return Err(ServerError::File {
                    what: "wait beside",
                    path: self.log,
                    source: errno.into(),
                });
            }
        }
        match self.look()? {
            None => Ok(()),
            Some(late) => Err(late.late(patience)),
        }
    }

    /// It was waited for long enough.
    #[must_use]
    pub fn late(self, patience: Duration) -> ServerError {
        self.not_ready(format!("it was not ready after {} s", patience.as_secs()))
    }

    /// It closed the pipe and wrote nothing: it is gone, or will be in a moment.
    fn ended(mut self) -> ServerError {
        let gone = self.process.pidfd.wait(Instant::now() + DEATH);
        let status = gone
            .ok()
            .and_then(|_| self.process.child.try_wait().ok())
            .flatten();
        let how = match status.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => format!("it ended with exit code {code}"),
            Some((None, Some(signal))) => format!("it was ended by signal {signal}"),
            _ => "it closed its readiness pipe without a word".to_owned(),
        };
        self.not_ready(how)
    }

    fn not_ready(self, how: String) -> ServerError {
        ServerError::NotReady {
            what: self.what,
            how,
            tail: tail(&self.log),
        }
    }
}

/// Readable when the server is ready, or has ended.
impl AsFd for Starting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

fn readable(fd: BorrowedFd<'_>, deadline: Instant) -> nix::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(fd, PollFlags::POLLIN)];
        match poll(&mut watched, timeout) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}

fn open_log(log: &Path) -> io::Result<(File, File)> {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).mode(0o600).open(log)?;
    Ok((file.try_clone()?, file))
}

/// The last lines of a log; empty when there is none.
#[must_use]
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
