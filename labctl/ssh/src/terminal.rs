//! The user's own terminal, connected to a command on a node.
//!
//! When both its input and its output are terminals, the command gets one too: the local one is
//! raw meanwhile, so that Ctrl-C and all other keys go there as bytes, and changes of its size
//! follow. Otherwise the streams are passed on as they are.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use rustix::termios::tcgetwinsize;
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::exec::{Command, Exec, Pty};
use crate::exit::Signal;
use crate::pump::Incoming;
use crate::{Exit, Session, SshError};

/// A terminal whose size can't be told is taken for this one.
const COLUMNS_ROWS: (u16, u16) = (80, 24);

/// The local ends of a command's streams.
#[derive(Debug)]
pub struct Local {
    /// What is typed.
    pub input: OwnedFd,
    /// Where output goes.
    pub output: OwnedFd,
    /// Where stderr goes, when the command has no terminal.
    pub error: OwnedFd,
}

impl Local {
    /// This process's standard streams.
    ///
    /// # Errors
    /// [`SshError::Local`] when there are no descriptors left.
    pub fn standard() -> Result<Self, SshError> {
        Ok(Self {
            input: duplicate(io::stdin())?,
            output: duplicate(io::stdout())?,
            error: duplicate(io::stderr())?,
        })
    }

    fn is_terminal(&self) -> bool {
        self.input.is_terminal() && self.output.is_terminal()
    }
}

/// Runs a command with this process's standard streams; gives its end.
///
/// SIGTERM, SIGHUP and SIGINT (sent, not typed) end it and count as its end; the terminal is as
/// it was before in any case. Afterwards this process no longer ends by those signals itself.
///
/// # Errors
/// As [`Session::start`], and [`SshError::Disconnected`] when the connection is lost.
pub async fn run(session: &Session, command: Command) -> Result<Exit, SshError> {
    run_on(session, command, Local::standard()?).await
}

/// Runs a command with these streams; see [`run`].
///
/// # Errors
/// As [`run`].
pub async fn run_on(session: &Session, command: Command, local: Local) -> Result<Exit, SshError> {
    if !local.is_terminal() {
        let exec = session.start(command).await?;
        let mut joined = Joined::new(exec, local)?;
        let exit = loop {
            tokio::select! {
                exit = joined.exec.wait() => break exit,
                typed = joined.typed.recv(), if joined.open() => joined.pass_on(typed).await,
            }
        };
        return joined.finish(exit).await;
    }
    let (columns, rows) = size(&local.output);
    let pty = Pty {
        term: std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned()),
        columns,
        rows,
    };
    let mut signals = Signals::watch().map_err(no_terminal)?;
    let mut resized = signal(SignalKind::window_change()).map_err(no_terminal)?;
    let exec = session.start(command.with_pty(pty)).await?;
    // Raw from here on: what went wrong before is still printed to an ordinary terminal.
    let _raw = Raw::enter(duplicate(&local.input)?).map_err(no_terminal)?;
    let screen = duplicate(&local.output)?;
    let mut joined = Joined::new(exec, local)?;
    let exit = loop {
        tokio::select! {
            exit = joined.exec.wait() => break exit,
            typed = joined.typed.recv(), if joined.open() => joined.pass_on(typed).await,
            _ = resized.recv() => {
                let (columns, rows) = size(&screen);
                joined.exec.resize(columns, rows).await?;
            }
            signal = signals.ending() => break Ok(Exit::Signal { signal, core_dumped: false }),
        }
    };
    joined.finish(exit).await
}

/// A command with its streams joined to the local ones.
struct Joined {
    exec: Exec,
    stdin: Option<crate::ExecStdin>,
    typed: mpsc::Receiver<Vec<u8>>,
    output: Vec<JoinHandle<()>>,
    _keyboard: OwnedFd,
}

impl Joined {
    fn new(mut exec: Exec, local: Local) -> Result<Self, SshError> {
        let (typed, keyboard) = read_from(local.input)?;
        let streams = [
            (exec.stdout.take(), local.output),
            (exec.stderr.take(), local.error),
        ];
        let output = streams
            .into_iter()
            .filter_map(|(stream, target)| Some((stream?, target)))
            .map(|(stream, target)| tokio::spawn(print(stream, target)));
        Ok(Self {
            stdin: exec.stdin.take(),
            output: output.collect(),
            exec,
            typed,
            _keyboard: keyboard,
        })
    }

    fn open(&self) -> bool {
        self.stdin.is_some()
    }

    /// Passes on what was typed, or the end of input. A command that reads no more gets none.
    async fn pass_on(&mut self, typed: Option<Vec<u8>>) {
        if let (Some(typed), Some(stdin)) = (typed, &mut self.stdin)
            && stdin.write_all(&typed).await.is_ok()
        {
            return;
        }
        self.stdin = None;
    }

    /// Prints what is still to come, unless the command was left behind.
    async fn finish(self, exit: Result<Exit, SshError>) -> Result<Exit, SshError> {
        drop(self.exec);
        for output in self.output {
            // Fails only by a panic there, which has been told.
            let _ = output.await;
        }
        exit
    }
}

async fn print(mut stream: Incoming, target: OwnedFd) {
    let mut target = tokio::fs::File::from_std(File::from(target));
    // A reader that has gone takes no more; a lost connection is told by the command's end.
    let _ = tokio::io::copy(&mut stream, &mut target).await;
    let _ = target.flush().await;
}

/// What is typed, read by a thread until the end of input or until the descriptor given back
/// is closed: a terminal can be read by tokio only in ways that outlast the command.
fn read_from(input: OwnedFd) -> Result<(mpsc::Receiver<Vec<u8>>, OwnedFd), SshError> {
    let (stop, stopper) = nix::unistd::pipe().map_err(|errno| no_terminal(errno.into()))?;
    let (sender, typed) = mpsc::channel(1);
    let thread = std::thread::Builder::new().name("keyboard".to_owned());
    let reading = thread.spawn(move || {
        let mut input = File::from(input);
        let mut buffer = vec![0; 16 << 10];
        while waits(&input, &stop) {
            match input.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                        break;
                    }
                }
                // The end; a terminal that is gone says EIO.
                _ => break,
            }
        }
    });
    reading.map_err(no_terminal)?;
    Ok((typed, stopper))
}

/// Waits until there is input; false when the reading is over.
fn waits(input: &File, stop: &OwnedFd) -> bool {
    let mut watched = [
        PollFd::new(input.as_fd(), PollFlags::POLLIN),
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
    ];
    loop {
        match poll(&mut watched, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => return watched[1].any() == Some(false),
        }
    }
}

/// A terminal in raw mode; as it was before when dropped, also by a panic.
struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    fn enter(terminal: OwnedFd) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&terminal, SetArg::TCSANOW, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Fails only when the terminal itself is gone.
        let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
    }
}

/// The signals that end this process, and so the command.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn ending(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.interrupt.recv() => Signal::INT,
        }
    }
}

/// Columns and rows.
fn size(terminal: &OwnedFd) -> (u16, u16) {
    match tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => COLUMNS_ROWS,
    }
}

fn duplicate(descriptor: impl AsFd) -> Result<OwnedFd, SshError> {
    descriptor.as_fd().try_clone_to_owned().map_err(no_terminal)
}

fn no_terminal(source: io::Error) -> SshError {
    SshError::Local {
        action: "use the terminal",
        source,
    }
}
