//! Running one command to its end, or to its deadline.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lab_providers::netns::ProviderError;
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::wait::{Bell, Unmet, lock};
use crate::interrupt::Interrupt;

/// How long output may come after the command itself has ended: a process it left
/// behind may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a command came to.
#[derive(Debug)]
pub(super) struct Ended {
    /// Exit code; 128 and the signal's number when a signal ended it, as in shells.
    pub(super) exit: i32,
    /// Whether we ended it because its time was up.
    pub(super) timed_out: bool,
    /// Standard output, bytes that aren't UTF-8 replaced.
    pub(super) stdout: String,
    /// Standard error, likewise.
    pub(super) stderr: String,
}

/// Why there is nothing to report of a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// Nothing runs where it was to run.
    #[error(transparent)]
    Place(#[from] ProviderError),
    /// It did not start.
    #[error("run {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// An interrupt came while it ran; it was ended.
    #[error("finish {program}: interrupted")]
    Interrupted {
        /// The program.
        program: String,
    },
}

/// Runs `command` without standard input and collects what it writes. When `limit`
/// is over it and its process group are killed.
pub(super) fn run(
    mut command: Command,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<Ended, CommandError> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Its own process group: ^C at the terminal is ours to handle, and a timeout
    // ends whatever the command itself started.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    end_with_us(&mut command);
    let mut child = command.spawn().map_err(|source| CommandError::Start {
        program: program.clone(),
        source,
    })?;
    let group = Pid::from_raw(child.id().cast_signed());
    let bell = Bell::default();
    let stdout = Stream::read(child.stdout.take(), &bell);
    let stderr = Stream::read(child.stderr.take(), &bell);
    let ended = watch(group, &bell);

    let waited = bell.wait_for(Instant::now() + limit, interrupt, || {
        lock(&ended).then_some(())
    });
    if waited.is_err() {
        // The child is not reaped yet, so the group is still its own.
        let _ = killpg(group, Signal::SIGKILL);
    }
    let status = reap(&mut child).map_err(|source| CommandError::Start {
        program: program.clone(),
        source,
    })?;
    if waited == Err(Unmet::Interrupted) {
        return Err(CommandError::Interrupted { program });
    }
    let _ = bell.wait_for(Instant::now() + LAST_WORDS, interrupt, || {
        (stdout.done() && stderr.done()).then_some(())
    });
    Ok(Ended {
        exit: exit_code(status),
        timed_out: waited == Err(Unmet::DeadlinePassed),
        stdout: stdout.text(),
        stderr: stderr.text(),
    })
}

/// Has the command end when the calling thread does, however that ends: a killed
/// check leaves nothing running in the lab. (prctl(2): programs with capabilities of
/// their own, as ping is, are exempt; they end by themselves.)
pub(super) fn end_with_us(command: &mut Command) {
    let ask = || prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from);
    // SAFETY: between fork and exec it makes one system call, and touches no memory
    // that another thread could have left in the middle of a change.
    unsafe { command.pre_exec(ask) };
}

fn reap(child: &mut Child) -> io::Result<ExitStatus> {
    child.wait()
}

fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Learns of the child's end without reaping it (`WNOWAIT`), so that its process id
/// stays its own until [`reap`].
fn watch(child: Pid, bell: &Bell) -> Arc<Mutex<bool>> {
    let ended = Arc::new(Mutex::new(false));
    let (flag, bell) = (Arc::clone(&ended), bell.clone());
    thread::spawn(move || {
        while waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
            == Err(nix::errno::Errno::EINTR)
        {}
        *lock(&flag) = true;
        bell.ring();
    });
    ended
}

/// A pipe that is read to its end on a thread.
struct Stream {
    state: Arc<Mutex<(Vec<u8>, bool)>>,
}

impl Stream {
    fn read(pipe: Option<impl Read + Send + 'static>, bell: &Bell) -> Self {
        let state = Arc::new(Mutex::new((Vec::new(), pipe.is_none())));
        if let Some(mut pipe) = pipe {
            let (state, bell) = (Arc::clone(&state), bell.clone());
            thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(read @ 1..) = pipe.read(&mut chunk) {
                    lock(&state).0.extend_from_slice(&chunk[..read]);
                }
                lock(&state).1 = true;
                bell.ring();
            });
        }
        Self { state }
    }

    fn done(&self) -> bool {
        lock(&self.state).1
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.state).0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Ended {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, limit, &Interrupt::default()).expect("sh starts")
    }

    #[test]
    fn output_and_exit_code_are_the_commands_own() {
        let ended = sh("echo out; echo err >&2; exit 7", Duration::from_secs(10));
        assert_eq!((ended.exit, ended.timed_out), (7, false));
        assert_eq!(
            (ended.stdout.as_str(), ended.stderr.as_str()),
            ("out\n", "err\n")
        );
    }

    #[test]
    fn a_command_past_its_limit_is_ended_with_what_it_started() {
        let began = Instant::now();
        let ended = sh(
            "echo before; sleep 60 & sleep 60",
            Duration::from_millis(200),
        );
        assert!(ended.timed_out);
        assert_eq!((ended.exit, ended.stdout.as_str()), (137, "before\n"));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let missing = Command::new("/nonexistent/program");
        let error = run(missing, Duration::from_secs(1), &Interrupt::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("run /nonexistent/program: No such file")
        );
    }
}
