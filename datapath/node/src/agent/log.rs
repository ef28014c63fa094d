//! Lines for `agent.log`: the agent's standard error, with the time in UTC
//! seconds since 1970.

use std::fmt::{self, Arguments};
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Something happened.
pub(crate) fn info(message: Arguments<'_>) {
    line("info", message);
}

/// Something went wrong, and the agent goes on.
pub(crate) fn warn(message: Arguments<'_>) {
    line("warning", message);
}

/// How long the stages of something took.
pub(super) struct Laps {
    since: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Laps {
    pub(super) fn start() -> Self {
        Self {
            since: Instant::now(),
            laps: Vec::new(),
        }
    }

    /// The stage `name` ends here, and the next one begins.
    pub(super) fn lap(&mut self, name: &'static str) {
        let now = Instant::now();
        self.laps.push((name, now - self.since));
        self.since = now;
    }
}

impl fmt::Display for Laps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (name, time)) in self.laps.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            let milliseconds = time.as_secs_f64() * 1000.0;
            write!(f, "{separator}{name} {milliseconds:.1} ms")?;
        }
        Ok(())
    }
}

fn line(level: &str, message: Arguments<'_>) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // A log that cannot be written to is no reason to stop.
    let _ = writeln!(
        std::io::stderr().lock(),
        "{}.{:03} {level}: {message}",
        now.as_secs(),
        now.subsec_millis()
    );
}
