//! [`Session`] for callers that are threads.
//!
//! The connection is served by tokio's threads; the caller owns the runtime and gives its
//! handle. Nothing here may be called from within that runtime: it would block itself.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use tokio::io::{AsyncWriteExt as _, copy, copy_bidirectional};
use tokio::runtime::Handle;

use crate::exec::{Command, Exec, ExecStdin, Output};
use crate::exit::Signal;
use crate::pump::Incoming;
use crate::{Destination, Exit, Progress, Session, Source, SshError, terminal};

/// A node over SSH, for threads. Clones are the same node and share its connection.
#[derive(Debug, Clone)]
pub struct Connection {
    session: Session,
    runtime: Handle,
}

impl Connection {
    /// [`Session::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect(
        runtime: &Handle,
        destination: Destination,
        deadline: Instant,
    ) -> Result<Self, SshError> {
        let session = runtime.block_on(Session::connect(destination, deadline))?;
        Ok(Self::new(runtime, session))
    }

    /// [`Session::connect_when_up`].
    ///
    /// # Errors
    /// As there.
    pub fn connect_when_up(
        runtime: &Handle,
        destination: Destination,
        deadline: Instant,
    ) -> Result<Self, SshError> {
        let session = runtime.block_on(Session::connect_when_up(destination, deadline))?;
        Ok(Self::new(runtime, session))
    }

    /// A session for threads; its runtime must have threads of its own.
    pub fn new(runtime: &Handle, session: Session) -> Self {
        Self {
            session,
            runtime: runtime.clone(),
        }
    }

    /// The session behind it.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// [`Session::reconnect`].
    ///
    /// # Errors
    /// As there.
    pub fn reconnect(&self, deadline: Instant) -> Result<(), SshError> {
        self.runtime.block_on(self.session.reconnect(deadline))
    }

    /// [`Session::close`].
    pub fn close(&self) {
        self.runtime.block_on(self.session.close());
    }

    /// Starts a program; as root when the destination has `sudo`.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn process<S: AsRef<str>>(&self, argv: &[S]) -> Result<RemoteProcess, SshError> {
        self.start(Command::new(argv.iter().map(AsRef::as_ref)))
    }

    /// Starts a command.
    ///
    /// # Errors
    /// As [`Session::start`], and [`SshError::Local`] when there are no sockets left here.
    pub fn start(&self, command: Command) -> Result<RemoteProcess, SshError> {
        let exec = self.runtime.block_on(self.session.start(command))?;
        RemoteProcess::new(&self.runtime, exec).map_err(no_socket)
    }

    /// Runs a program without input to its end.
    ///
    /// # Errors
    /// As [`Session::output`].
    pub fn output<S: AsRef<str>>(&self, argv: &[S]) -> Result<Output, SshError> {
        self.runtime.block_on(self.session.output(argv))
    }

    /// [`terminal::run`]: a command with this process's standard streams.
    ///
    /// # Errors
    /// As there.
    pub fn terminal(&self, command: Command) -> Result<Exit, SshError> {
        self.runtime.block_on(terminal::run(&self.session, command))
    }

    /// [`Session::upload`].
    ///
    /// # Errors
    /// As there.
    pub fn upload(
        &self,
        source: Source<'_>,
        remote: &str,
        mode: u32,
        progress: Option<Progress<'_>>,
    ) -> Result<(), SshError> {
        let upload = self.session.upload(source, remote, mode, progress);
        self.runtime.block_on(upload)
    }

    /// [`Session::download`].
    ///
    /// # Errors
    /// As there.
    pub fn download(
        &self,
        remote: &str,
        local: &Path,
        progress: Option<Progress<'_>>,
    ) -> Result<(), SshError> {
        let download = self.session.download(remote, local, progress);
        self.runtime.block_on(download)
    }

    /// [`Session::copy_to`].
    ///
    /// # Errors
    /// As there.
    pub fn copy_to(
        &self,
        local: &Path,
        remote: &str,
        progress: Option<Progress<'_>>,
    ) -> Result<(), SshError> {
        let copy = self.session.copy_to(local, remote, progress);
        self.runtime.block_on(copy)
    }

    /// [`Session::copy_from`].
    ///
    /// # Errors
    /// As there.
    pub fn copy_from(
        &self,
        remote: &str,
        local: &Path,
        progress: Option<Progress<'_>>,
    ) -> Result<(), SshError> {
        let copy = self.session.copy_from(remote, local, progress);
        self.runtime.block_on(copy)
    }

    /// [`Session::forward_unix`], as a socket of this process.
    ///
    /// # Errors
    /// As there, and [`SshError::Local`] when there are no sockets left here.
    pub fn forward_unix(&self, path: &str) -> Result<UnixStream, SshError> {
        let stream = self.runtime.block_on(self.session.forward_unix(path))?;
        self.bridged(stream)
    }

    /// [`Session::forward_tcp`], as a socket of this process.
    ///
    /// # Errors
    /// As there, and [`SshError::Local`] when there are no sockets left here.
    pub fn forward_tcp(&self, host: &str, port: u16) -> Result<UnixStream, SshError> {
        let stream = self
            .runtime
            .block_on(self.session.forward_tcp(host, port))?;
        self.bridged(stream)
    }

    fn bridged(&self, mut stream: crate::Stream) -> Result<UnixStream, SshError> {
        let (theirs, mut ours) = pair(&self.runtime).map_err(no_socket)?;
        self.runtime.spawn(async move {
            // Either end closing closes the other; that is how both hear of an error.
            let _ = copy_bidirectional(&mut ours, &mut stream).await;
        });
        Ok(theirs)
    }
}

/// A program on a node, with sockets for its streams, so that threads can read and poll them.
/// Dropping it ends it as [`Exec`] is ended.
#[derive(Debug)]
pub struct RemoteProcess {
    /// Its input; drop it to end the input.
    pub stdin: Option<UnixStream>,
    /// What it writes. It ends also when the connection is lost; [`RemoteProcess::wait`] tells.
    pub stdout: Option<UnixStream>,
    /// What it writes on stderr.
    pub stderr: Option<UnixStream>,
    exec: Exec,
    runtime: Handle,
}

impl Drop for RemoteProcess {
    fn drop(&mut self) {
        // A command that still runs is ended from within the runtime.
        let _entered = self.runtime.enter();
        self.exec.abandon();
    }
}

impl RemoteProcess {
    fn new(runtime: &Handle, mut exec: Exec) -> io::Result<Self> {
        let stdin = exec.stdin.take().map(|stdin| feed(runtime, stdin));
        let stdout = exec.stdout.take().map(|stdout| drain(runtime, stdout));
        let stderr = exec.stderr.take().map(|stderr| drain(runtime, stderr));
        Ok(Self {
            stdin: stdin.transpose()?,
            stdout: stdout.transpose()?,
            stderr: stderr.transpose()?,
            exec,
            runtime: runtime.clone(),
        })
    }

    /// Ends its input and waits for its end.
    ///
    /// # Errors
    /// [`SshError::Disconnected`] when the connection ends before it.
    pub fn wait(&mut self) -> Result<Exit, SshError> {
        self.stdin = None;
        self.runtime.block_on(self.exec.wait())
    }

    /// Ends its input and waits for its end, at most until `deadline`; `None` when it still runs.
    ///
    /// # Errors
    /// As [`RemoteProcess::wait`].
    pub fn wait_until(&mut self, deadline: Instant) -> Result<Option<Exit>, SshError> {
        self.stdin = None;
        let waited = async {
            let end = tokio::time::timeout_at(deadline.into(), self.exec.wait());
            end.await.ok().transpose()
        };
        self.runtime.block_on(waited)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// As [`RemoteProcess::wait`].
    pub fn try_wait(&mut self) -> Result<Option<Exit>, SshError> {
        self.exec.try_wait()
    }

    /// [`Exec::signal`].
    ///
    /// # Errors
    /// As there.
    pub fn signal(&self, signal: Signal) -> Result<(), SshError> {
        self.runtime.block_on(self.exec.signal(signal))
    }
}

fn feed(runtime: &Handle, mut stdin: ExecStdin) -> io::Result<UnixStream> {
    let (theirs, mut ours) = pair(runtime)?;
    runtime.spawn(async move {
        // A command that reads no more makes the copy fail, and so the writer's next write.
        let _ = copy(&mut ours, &mut stdin).await;
    });
    Ok(theirs)
}

fn drain(runtime: &Handle, mut stream: Incoming) -> io::Result<UnixStream> {
    let (theirs, mut ours) = pair(runtime)?;
    runtime.spawn(async move {
        // Fails when the reader has gone, or the connection, of which `wait` tells.
        let _ = copy(&mut stream, &mut ours).await;
        let _ = ours.shutdown().await;
    });
    Ok(theirs)
}

/// A blocking socket for the caller and its other end for tokio.
fn pair(runtime: &Handle) -> io::Result<(UnixStream, tokio::net::UnixStream)> {
    let (theirs, ours) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let _entered = runtime.enter();
    Ok((theirs, tokio::net::UnixStream::from_std(ours)?))
}

fn no_socket(source: io::Error) -> SshError {
    SshError::Local {
        action: "make a socket for a remote command",
        source,
    }
}
