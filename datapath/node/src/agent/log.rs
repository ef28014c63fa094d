//! Lines for `agent.log`: the agent's standard error, with the time in UTC
//! seconds since 1970.

use std::fmt::Arguments;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Something happened.
pub(super) fn info(message: Arguments<'_>) {
    line("info", message);
}

/// Something went wrong, and the agent goes on.
pub(super) fn warn(message: Arguments<'_>) {
    line("warning", message);
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
