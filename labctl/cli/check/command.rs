//! Running one command to its end, or to its deadline.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lab_providers::{Control, Process, ProviderError};

use super::wait::{Bell, Unmet, lock};
use crate::interrupt::Interrupt;

/// How long output may come after the command itself has ended: a process it left
/// behind may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What shells report of a killed command: 128 and SIGKILL's number.
const KILLED: i32 = 137;

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
    /// How it ended is not known.
    #[error("run {program} to its end: {source}")]
    Lost {
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

/// Collects what `process` writes until it ends. When `limit` is over it and its
/// process group are killed: a timeout ends whatever the command itself started.
pub(super) fn run(
    program: &str,
    mut process: Process,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<Ended, CommandError> {
    let bell = Bell::default();
    let stdout = Stream::read(process.stdout.take(), &bell);
    let stderr = Stream::read(process.stderr.take(), &bell);
    let ended = watch(process.control(), &bell);
    let look = || lock(&ended).take();
    let waited = bell.wait_for(Instant::now() + limit, interrupt, look);
    let (exit, timed_out) = match waited {
        Ok(exit) => (exit, false),
        Err(unmet) => {
            process.control().kill();
            let undisturbed = Interrupt::default();
            let killed = bell.wait_for(Instant::now() + LAST_WORDS, &undisturbed, look);
            if unmet == Unmet::Interrupted {
                let program = program.to_owned();
                return Err(CommandError::Interrupted { program });
            }
            (killed.unwrap_or(Ok(KILLED)), true)
        }
    };
    let exit = exit.map_err(|source| CommandError::Lost {
        program: program.to_owned(),
        source,
    })?;
    let _ = bell.wait_for(Instant::now() + LAST_WORDS, interrupt, || {
        (stdout.done() && stderr.done()).then_some(())
    });
    Ok(Ended {
        exit,
        timed_out,
        stdout: stdout.text(),
        stderr: stderr.text(),
    })
}

/// Learns of the process's end.
fn watch(control: Arc<dyn Control>, bell: &Bell) -> Arc<Mutex<Option<io::Result<i32>>>> {
    let ended = Arc::new(Mutex::new(None));
    let (slot, bell) = (Arc::clone(&ended), bell.clone());
    thread::spawn(move || {
        let exit = control.wait();
        *lock(&slot) = Some(exit);
        bell.ring();
    });
    ended
}

/// A pipe that is read to its end on a thread.
struct Stream {
    state: Arc<Mutex<(Vec<u8>, bool)>>,
}

impl Stream {
    fn read(pipe: Option<Box<dyn Read + Send>>, bell: &Bell) -> Self {
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
    use std::process::Command;

    use super::*;

    fn sh(script: &str, limit: Duration) -> Ended {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let process = Process::spawn(command).expect("sh starts");
        run("sh", process, limit, &Interrupt::default()).expect("sh ends")
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
}
