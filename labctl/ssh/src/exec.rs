//! Commands on a node.

use std::pin::Pin;
use std::sync::Arc;

use russh::client::Msg;
use russh::{ChannelWriteHalf, Sig};
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::destination::Peer;
use crate::exit::{Exit, Signal};
use crate::pump::{Ending, Incoming, Outgoing, Parts};
use crate::quote::command_line;
use crate::{Session, SshError};

/// How much of stderr an error tells: the last so many bytes.
const TAIL: usize = 2048;

/// Tells its process, then becomes the command that follows. SSH's own request to signal a
/// command is of no use here: OpenSSH grants it to no login of root's (9.2, `session.c`), nor
/// may a login signal what it runs through sudo.
const TELLING: [&str; 4] = ["sh", "-c", "echo $$; exec \"$@\"", "sh"];

/// A command's stdin. Dropping it, or shutting it down, is its end of file.
pub type ExecStdin = Outgoing;

/// What to run on a node.
#[derive(Debug, Clone)]
pub struct Command {
    /// `None` is the login shell.
    argv: Option<Vec<String>>,
    pub(crate) pty: Option<Pty>,
    pub(crate) as_login: bool,
}

/// A terminal for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pty {
    /// The terminal's type, as in `TERM`.
    pub term: String,
    /// Width in characters.
    pub columns: u16,
    /// Height in characters.
    pub rows: u16,
}

impl Command {
    /// A program and its arguments.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: Some(argv.into_iter().map(Into::into).collect()),
            pty: None,
            as_login: false,
        }
    }

    /// A login shell; root's when the destination has `sudo`.
    pub fn shell() -> Self {
        Self {
            argv: None,
            pty: None,
            as_login: false,
        }
    }

    /// On a terminal: stdout and stderr come as one, on stdout.
    #[must_use]
    pub fn with_pty(mut self, pty: Pty) -> Self {
        self.pty = Some(pty);
        self
    }

    /// As the user who logged in, also when the destination has `sudo`.
    #[must_use]
    pub fn as_login_user(mut self) -> Self {
        self.as_login = true;
        self
    }

    /// As messages have it.
    pub(crate) fn name(&self) -> String {
        match &self.argv {
            Some(argv) => command_line(argv),
            None => "the login shell".to_owned(),
        }
    }

    /// Whether it tells its process in a first line. On a terminal that would be seen; and
    /// what runs there gets SIGHUP when the channel is closed.
    pub(crate) fn tells_pid(&self) -> bool {
        self.argv.is_some() && self.pty.is_none()
    }

    /// What the server is asked to run; `None` is the login shell.
    pub(crate) fn line(&self, sudo: bool) -> Option<String> {
        let telling: &[&str] = if self.tells_pid() { &TELLING } else { &[] };
        let words = telling.iter().copied();
        let argv = self.argv.as_ref().map(|argv| {
            let words = words.chain(argv.iter().map(String::as_str));
            command_line(&words.collect::<Vec<_>>())
        });
        match (sudo, argv) {
            (false, argv) => argv,
            (true, Some(argv)) => Some(format!("sudo -n -- {argv}")),
            (true, None) => Some("sudo -n -i".to_owned()),
        }
    }
}

/// A command that runs on a node. Dropping it closes its channel and sends it SIGTERM.
#[derive(Debug)]
pub struct Exec {
    /// Its input; take it, and drop it to end the input.
    pub stdin: Option<ExecStdin>,
    /// What it writes.
    pub stdout: Option<Incoming>,
    /// What it writes on stderr; nothing when it has a terminal.
    pub stderr: Option<Incoming>,
    ending: EndingOnce,
    control: Arc<ChannelWriteHalf<Msg>>,
    process: Process,
    _close: DropGuard,
    peer: Peer,
    line: String,
}

#[derive(Debug)]
enum EndingOnce {
    Awaited(oneshot::Receiver<Ending>),
    Known(Ending),
}

impl Exec {
    pub(crate) fn new(session: Session, parts: Parts, command: &Command, sudo: bool) -> Self {
        let peer = session.peer().clone();
        let line = command.name();
        let told = command.tells_pid();
        let process = Process(told.then(|| Told {
            session,
            pid: parts.pid,
            ended: parts.closed,
            as_login: !sudo,
        }));
        Self {
            process,
            stdin: Some(parts.stdin),
            stdout: Some(parts.stdout),
            stderr: Some(parts.stderr),
            ending: EndingOnce::Awaited(parts.ending),
            control: parts.control,
            _close: parts.close,
            peer,
            line,
        }
    }

    /// Waits for its end; may be called again. Does not end its input, and takes nothing off
    /// its output.
    ///
    /// # Errors
    /// [`SshError::Disconnected`] when the connection ends before the command.
    pub async fn wait(&mut self) -> Result<Exit, SshError> {
        if let EndingOnce::Awaited(ending) = &mut self.ending {
            let ending = ending.await.unwrap_or_else(|_| Err(gone()));
            self.known(ending);
        }
        match &self.ending {
            EndingOnce::Known(ending) => self.told(ending),
            EndingOnce::Awaited(_) => self.told(&Err(gone())),
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// As [`Exec::wait`].
    pub fn try_wait(&mut self) -> Result<Option<Exit>, SshError> {
        if let EndingOnce::Awaited(ending) = &mut self.ending {
            match ending.try_recv() {
                Ok(ending) => self.known(ending),
                Err(oneshot::error::TryRecvError::Empty) => return Ok(None),
                Err(oneshot::error::TryRecvError::Closed) => self.known(Err(gone())),
            }
        }
        match &self.ending {
            EndingOnce::Known(ending) => self.told(ending).map(Some),
            EndingOnce::Awaited(_) => Ok(None),
        }
    }

    /// Ends it, if it still runs, as dropping it does.
    pub(crate) fn abandon(&mut self) {
        drop(Process(self.process.0.take()));
    }

    fn known(&mut self, ending: Ending) {
        // What has ended needs no signal any more, and its number may be another's by now.
        self.process.0 = None;
        self.ending = EndingOnce::Known(ending);
    }

    /// Sends it a signal; nothing happens when it has ended.
    ///
    /// # Errors
    /// [`SshError::Disconnected`] when the connection is gone, [`SshError::Remote`] when it
    /// could not be sent.
    pub async fn signal(&self, signal: Signal) -> Result<(), SshError> {
        match &self.process.0 {
            Some(told) => told.clone().signal(signal).await,
            None => {
                let sent = self.control.signal(Sig::Custom(signal.name().to_owned()));
                sent.await.map_err(|_| self.lost(gone()))
            }
        }
    }

    /// Tells its terminal a new size.
    ///
    /// # Errors
    /// [`SshError::Disconnected`] when the connection is gone.
    pub async fn resize(&self, columns: u16, rows: u16) -> Result<(), SshError> {
        let sent = self
            .control
            .window_change(columns.into(), rows.into(), 0, 0);
        sent.await.map_err(|_| self.lost(gone()))
    }

    /// Ends its input, and takes all it writes until it ends.
    ///
    /// # Errors
    /// [`SshError::Disconnected`] when the connection ends before the command.
    pub async fn output(mut self) -> Result<Output, SshError> {
        self.stdin = None;
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        let (stdout, stderr) = tokio::join!(drained(stdout), drained(stderr));
        let exit = self.wait().await?;
        Ok(Output {
            exit,
            stdout,
            stderr,
            peer: self.peer,
            line: self.line,
        })
    }

    fn told(&self, ending: &Ending) -> Result<Exit, SshError> {
        match ending {
            Ok(exit) => Ok(exit.clone()),
            Err(reason) => Err(self.lost(reason.clone())),
        }
    }

    fn lost(&self, reason: String) -> SshError {
        SshError::Disconnected {
            peer: self.peer.clone(),
            during: format!("run `{}`", self.line),
            reason,
        }
    }
}

/// The process of a command that still runs; it is sent SIGTERM when dropped.
#[derive(Debug)]
struct Process(Option<Told>);

#[derive(Debug, Clone)]
struct Told {
    session: Session,
    pid: watch::Receiver<Option<u32>>,
    /// Cancelled when it has ended.
    ended: CancellationToken,
    as_login: bool,
}

impl Told {
    /// Boxed, because sending a signal is itself a command.
    fn signal(
        mut self,
        signal: Signal,
    ) -> Pin<Box<dyn Future<Output = Result<(), SshError>> + Send>> {
        Box::pin(async move {
            let pid = match self.pid.wait_for(Option::is_some).await {
                Ok(pid) => *pid,
                // It ended before it could tell.
                Err(_) => None,
            };
            let Some(pid) = pid else {
                return Ok(());
            };
            let argv = ["kill", "-s", signal.name(), &pid.to_string()].map(str::to_owned);
            let mut kill = Command::new(argv);
            kill.as_login = self.as_login;
            let output = self.session.start(kill).await?.output().await?;
            match output.success() {
                Err(SshError::Remote { stderr, .. }) if stderr.contains("o such process") => Ok(()),
                sent => sent.map(drop),
            }
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without a runtime there is no connection any more either.
        if let (Some(told), Ok(runtime)) = (self.0.take(), Handle::try_current())
            && !told.ended.is_cancelled()
        {
            runtime.spawn(told.signal(Signal::TERM));
        }
    }
}

fn gone() -> String {
    "the connection was closed".to_owned()
}

/// All of a stream. Its end by a lost connection is told by the command's end.
async fn drained(stream: Option<Incoming>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.read_to_end(&mut bytes).await;
    }
    bytes
}

/// What a command wrote, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote on stdout.
    pub stdout: Vec<u8>,
    /// What it wrote on stderr.
    pub stderr: Vec<u8>,
    peer: Peer,
    line: String,
}

impl Output {
    /// Its stdout, when it returned 0.
    ///
    /// # Errors
    /// [`SshError::Remote`] with the end of its stderr when it did not.
    pub fn success(self) -> Result<Vec<u8>, SshError> {
        if self.exit.success() {
            return Ok(self.stdout);
        }
        let tail = &self.stderr[self.stderr.len().saturating_sub(TAIL)..];
        Err(SshError::Remote {
            peer: self.peer,
            command: self.line,
            exit: self.exit,
            stderr: String::from_utf8_lossy(tail).into_owned(),
        })
    }
}
