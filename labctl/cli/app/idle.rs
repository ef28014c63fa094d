//! Nothing to do but be there.

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};

/// Waits for SIGTERM or SIGINT. It adopts no children: nothing in a lab is the
/// init of a PID namespace, so orphans go to the host's.
pub(super) fn wait() -> anyhow::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    // Blocked, they stay pending for `wait` rather than end the process.
    signals.thread_block().context("failed to block signals")?;
    signals.wait().context("failed to wait for a signal")?;
    Ok(())
}
