//! What a child tells its parent before it executes its program.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2, write};

/// First byte of a message: the process of that number was born to go on.
const BORN: u8 = 1;
/// First byte of a message: that process runs.
const ALIVE: u8 = 2;
/// First byte of a message: the step at that position failed.
const FAILED: u8 = 3;
/// One byte, and a number in the machine's byte order.
const MESSAGE: usize = 5;

/// The child's end of the pipe.
#[derive(Debug)]
pub(super) struct Reporter(OwnedFd);

/// The parent's end.
pub(super) struct Reports(File);

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The process that goes on in the child's place.
    pub(super) born: Option<Pid>,
    /// Whether that process came to run.
    pub(super) alive: bool,
    /// The position of the step that failed.
    pub(super) failed: Option<usize>,
}

impl Reporter {
    /// The process `pid` was born. Async-signal-safe.
    pub(super) fn born(&self, pid: Pid) {
        self.tell(BORN, pid.as_raw().cast_unsigned());
    }

    /// The caller was born, and runs. Async-signal-safe.
    pub(super) fn alive(&self) {
        self.tell(ALIVE, 0);
    }

    /// The step at `position` failed. Async-signal-safe.
    pub(super) fn failed(&self, position: usize) {
        self.tell(FAILED, u32::try_from(position).unwrap_or(u32::MAX));
    }

    /// A few bytes always fit into the pipe, each message whole (pipe(7)).
    fn tell(&self, kind: u8, number: u32) {
        let [a, b, c, d] = number.to_ne_bytes();
        let _ = write(&self.0, &[kind, a, b, c, d]);
    }
}

impl Reports {
    pub(super) fn new() -> nix::Result<(Self, Reporter)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok((Self(reader.into()), Reporter(writer)))
    }

    /// All that was told so far; the child has executed its program or given up.
    pub(super) fn read(&mut self) -> Told {
        let mut told = Told::default();
        let mut message = [0; MESSAGE];
        while self.0.read_exact(&mut message).is_ok() {
            let [kind, number @ ..] = message;
            let number = u32::from_ne_bytes(number);
            match kind {
                BORN => told.born = Some(Pid::from_raw(number.cast_signed())),
                ALIVE => told.alive = true,
                _ => told.failed = usize::try_from(number).ok(),
            }
        }
        told
    }
}
