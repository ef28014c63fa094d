//! The switch of the segment that virtual machines are on: see [`lab_vm::segment`].

use std::io::Write as _;

use anyhow::{Context as _, Result};
use lab_vm::segment::{self, Options};

use super::Segment;

/// Serves until SIGTERM or SIGINT. Says `ready` on standard output once frames are
/// taken.
pub(super) fn serve(segment: Segment) -> Result<()> {
    let options = Options {
        folder: segment.folder,
        capture: segment.capture,
    };
    let ready = || {
        let mut out = std::io::stdout();
        // Whoever started it may be gone already; the machines are not.
        let _ = writeln!(out, "ready").and_then(|()| out.flush());
    };
    segment::run(&options, ready).context("failed to serve")
}
