//! Progress on a terminal, once something has taken long enough to wonder.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is over sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// A bar on standard error; gone without a trace when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Dropped with the bar, which ends the thread that would show it.
    _ended: Sender<()>,
}

impl Progress {
    /// A line that says what is being done, for work whose steps are not counted.
    pub(crate) fn endless(quiet: bool) -> Self {
        let progress = Self::new(0, quiet);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            progress.bar.set_style(style);
        }
        progress
    }

    /// A bar for `total` steps that shows itself after half a second, on a terminal
    /// and unless `quiet`.
    pub(crate) fn new(total: usize, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(
            Some(u64::try_from(total).unwrap_or(u64::MAX)),
            ProgressDrawTarget::hidden(),
        );
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}") {
            bar.set_style(style);
        }
        let (ended, wait) = mpsc::channel();
        if !quiet && io::stderr().is_terminal() {
            let bar = bar.clone();
            thread::spawn(move || {
                if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    bar.enable_steady_tick(Duration::from_millis(100));
                }
            });
        }
        Self { bar, _ended: ended }
    }

    /// Says what is being done.
    pub(crate) fn doing(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// One step is done.
    pub(crate) fn done(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
