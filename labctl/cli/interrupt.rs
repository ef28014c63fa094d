//! Interrupts in two stages: the first asks, the second leaves.
//!
//! The first SIGINT or SIGTERM sets a flag that whoever works looks at: it stops,
//! undoes what it did and the process ends with 130. The second ends the process
//! at once and says what may be left. `exec` and `shell` never come here: they
//! become the command, and signals are its own.

use std::io::Write;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::{Exit, Failure};

/// Whether an interrupt came, and what to say when a second one does.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    asked: Arc<AtomicBool>,
    left_behind: Arc<Mutex<String>>,
}

impl Interrupt {
    /// Starts listening for SIGINT and SIGTERM on a thread of its own.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let interrupt = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| {
            Failure::new(
                Exit::LabFailed,
                format_args!("failed to handle signals: {error}"),
            )
        })?;
        let heard = interrupt.clone();
        thread::spawn(move || {
            for _ in signals.forever() {
                if heard.asked.swap(true, Ordering::SeqCst) {
                    heard.leave();
                }
                let _ = writeln!(
                    std::io::stderr(),
                    "interrupted: cleaning up (once more to stop at once)"
                );
            }
        });
        Ok(interrupt)
    }

    /// The flag itself, for code that takes one.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.asked
    }

    /// Whether the first interrupt has come.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// What a second interrupt would leave behind, and the command that removes it.
    pub(crate) fn would_leave(&self, what: impl Into<String>) {
        *self
            .left_behind
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = what.into();
    }

    fn leave(&self) -> ! {
        let left = self
            .left_behind
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !left.is_empty() {
            let _ = writeln!(std::io::stderr(), "stopped at once: {left}");
        }
        process::exit(Exit::Interrupted.code().into());
    }
}
