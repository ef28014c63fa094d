//! From what was observed to a verdict.
//!
//! A check *fails* when the lab does what it should not, with evidence: what was expected,
//! what was seen, and the first place in the packet's path where it went wrong. It is in
//! *error* when the harness could not tell: a step that could not be done, a capture that
//! lost packets or never saw one. An error is never a pass, and never a twin's red.

mod evidence;
mod hop;
mod packets;
mod steps;
mod verdict;

pub use evidence::{Evidence, Hop, PacketFailure, StepFailure};
pub use packets::Progress;
pub use verdict::{CheckReport, TwinVerdict, Verdict, judge_twin};

use crate::check_file::{Check, TcpOutcome};
use crate::packet;

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// A command ended, or was ended at its deadline.
    Command {
        /// Exit code; `None` when it was killed at its deadline.
        exit: Option<i32>,
        /// Standard output.
        stdout: String,
        /// Standard error.
        stderr: String,
    },
    /// What became of a TCP connection attempt.
    Tcp(TcpOutcome),
    /// A change was made.
    Done,
    /// The step could not be done at all, and why.
    Impossible(String),
}

/// What a capture saw.
#[derive(Debug)]
pub struct Captured {
    /// The packets.
    pub capture: packet::Capture,
    /// Packets that the kernel dropped because tcpdump was too slow, as tcpdump reports.
    pub dropped: u64,
    /// Why the capture could not be made, or broke off.
    pub broken: Option<String>,
}

/// Judges a check by the outcomes of its steps and by what its captures saw, both in the order
/// of the check. Steps behind one that was impossible may be missing.
#[must_use]
pub fn judge(check: &Check, outcomes: &[StepOutcome], captures: &[Captured]) -> Verdict {
    if let Some(reason) = broken(check, outcomes, captures) {
        return Verdict::Error { reason };
    }
    let mut step_failures = Vec::new();
    for (index, (step, outcome)) in check.steps.iter().zip(outcomes).enumerate() {
        match steps::judge(step, outcome) {
            Ok(()) => {}
            Err(steps::Fault::Failed { expected, observed }) => {
                step_failures.push(StepFailure {
                    number: index + 1,
                    step: step.to_string(),
                    expected,
                    observed,
                });
            }
            Err(steps::Fault::Broken(reason)) => {
                return Verdict::Error {
                    reason: format!("step {} ({step}): {reason}", index + 1),
                };
            }
        }
    }
    let packet_failures = packets::failures(check, captures);
    if !step_failures.is_empty() || !packet_failures.is_empty() {
        return Verdict::Failed {
            evidence: Evidence::new(step_failures, packet_failures),
        };
    }
    match packets::unproven(check, captures) {
        Some(reason) => Verdict::Error { reason },
        None => Verdict::Passed,
    }
}

/// Why nothing can be concluded from what was observed.
fn broken(check: &Check, outcomes: &[StepOutcome], captures: &[Captured]) -> Option<String> {
    for (index, outcome) in outcomes.iter().enumerate() {
        if let StepOutcome::Impossible(reason) = outcome {
            let step = check
                .steps
                .get(index)
                .map(ToString::to_string)
                .unwrap_or_default();
            return Some(format!("step {} ({step}): {reason}", index + 1));
        }
    }
    if outcomes.len() != check.steps.len() || captures.len() != check.captures.len() {
        return Some(format!(
            "{} of {} steps and {} of {} captures were reported",
            outcomes.len(),
            check.steps.len(),
            captures.len(),
            check.captures.len()
        ));
    }
    check
        .captures
        .iter()
        .zip(captures)
        .find_map(|(spec, captured)| {
            let at = format!("capture `{}` ({} {})", spec.name, spec.on, spec.interface);
            if let Some(reason) = &captured.broken {
                return Some(format!("{at}: {reason}"));
            }
            if captured.dropped > 0 {
                return Some(format!(
                    "{at}: the kernel dropped {} packets before tcpdump read them",
                    captured.dropped
                ));
            }
            captured
                .capture
                .finish()
                .err()
                .map(|error| format!("{at}: failed to {error}"))
        })
}
