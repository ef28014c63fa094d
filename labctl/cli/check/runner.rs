//! One check from its captures to its verdict.
//!
//! ```text
//! render ─► captures listen ─► steps ─► packets are in, or the deadline passes
//!        ─► captures settle and end ─► changes taken back ─► judged
//! ```

use std::cell::Cell;
use std::time::{Duration, Instant};

use lab_checks::check_file::{self, Check, CheckFile, Context};
use lab_checks::judge::{Captured, Progress, StepOutcome, Verdict, judge};
use lab_checks::packet;

use super::capture::{Capture, CaptureError, tcpdump};
use super::changes::{ChangeError, Changes};
use super::command::CommandError;
use super::context::context;
use super::place::start_in;
use super::steps::{self, Interrupted};
use super::wait::{Bell, Unmet};
use crate::interrupt::Interrupt;
use crate::live::LiveLab;

/// How long tcpdump may take to start, to answer, to end.
const TCPDUMP: Duration = Duration::from_secs(20);

/// Runs checks on one lab.
pub(crate) struct Runner<'a> {
    live: &'a LiveLab,
    interrupt: &'a Interrupt,
    context: Context,
    /// Whether a change could not be taken back: no later verdict is worth anything.
    spoiled: Cell<bool>,
}

/// A verdict, and the captures it rests on.
pub(crate) struct Evidence {
    /// What is concluded.
    pub(crate) verdict: Verdict,
    /// Name and content of each capture file.
    pub(crate) captures: Vec<(String, Vec<u8>)>,
}

/// Why a check ended without anything to judge.
enum Stopped {
    Interrupted,
    Error(String),
}

impl<'a> Runner<'a> {
    /// A runner for the lab.
    pub(crate) fn new(live: &'a LiveLab, interrupt: &'a Interrupt) -> Self {
        Self {
            live,
            interrupt,
            context: context(live, interrupt),
            spoiled: Cell::new(false),
        }
    }

    /// Runs a check and takes back what it changed, whatever comes of it.
    pub(crate) fn run(&self, file: &CheckFile) -> Evidence {
        let without = |verdict| Evidence {
            verdict,
            captures: Vec::new(),
        };
        if self.interrupt.asked() || self.spoiled.get() {
            return without(Verdict::NotRun);
        }
        let check = match file.render(&self.context) {
            Ok(check) => check,
            Err(error) => {
                return without(Verdict::Error {
                    reason: format!("failed to {error}"),
                });
            }
        };
        let mut changes = Changes::new(self.live);
        let observed = self.observe(&check, &mut changes);
        let reverted = changes.revert();
        let evidence = match observed {
            Err(Stopped::Interrupted) => without(Verdict::NotRun),
            Err(Stopped::Error(reason)) => without(Verdict::Error { reason }),
            Ok((outcomes, captured)) => Evidence {
                verdict: judge(&check, &outcomes, &captured),
                captures: named(&check, &captured),
            },
        };
        match reverted {
            Ok(()) => evidence,
            Err(faults) => {
                self.spoiled.set(true);
                let verdict = not_reverted(&faults);
                Evidence {
                    verdict,
                    ..evidence
                }
            }
        }
    }

    /// Everything up to the end of the captures.
    fn observe(
        &self,
        check: &Check,
        changes: &mut Changes<'_>,
    ) -> Result<(Vec<StepOutcome>, Vec<Captured>), Stopped> {
        let bell = Bell::default();
        let mut captures = self.start(check, &bell)?;
        let mut outcomes = Vec::new();
        for step in &check.steps {
            let outcome = steps::perform(self.live, step, changes, self.interrupt)
                .map_err(|Interrupted| Stopped::Interrupted)?;
            let over = matches!(outcome, StepOutcome::Impossible(_));
            outcomes.push(outcome);
            if over {
                break;
            }
        }
        self.await_packets(check, &mut captures, &bell)?;
        let captured = self.end(check, captures)?;
        Ok((outcomes, captured))
    }

    /// Starts all captures, then waits for all to listen.
    fn start(&self, check: &Check, bell: &Bell) -> Result<Vec<Growing>, Stopped> {
        let deadline = Instant::now() + TCPDUMP;
        let mut captures = Vec::new();
        for spec in &check.captures {
            let process = start_in(self.live, &spec.on, &tcpdump(&spec.interface, &spec.filter))
                .map_err(|error| at_capture(spec, &error))?;
            let running = Capture::start(process, &spec.interface, bell);
            captures.push(Growing {
                running,
                packets: packet::Capture::new(),
                broken: None,
            });
        }
        for (spec, capture) in check.captures.iter().zip(&mut captures) {
            let listening = capture.running.listening(deadline, self.interrupt);
            listening.map_err(|error| stopped(spec, &error))?;
        }
        Ok(captures)
    }

    /// Waits until every packet that is expected has come in, or the deadline passed.
    fn await_packets(
        &self,
        check: &Check,
        captures: &mut [Growing],
        bell: &Bell,
    ) -> Result<(), Stopped> {
        let mut progress = Progress::new();
        let in_time = bell.wait_for(Instant::now() + check.timeout, self.interrupt, || {
            captures.iter_mut().for_each(Growing::take_in);
            let packets: Vec<&packet::Capture> = captures.iter().map(|it| &it.packets).collect();
            progress.satisfied(check, &packets).then_some(())
        });
        match in_time {
            Err(Unmet::Interrupted) => Err(Stopped::Interrupted),
            // That packets are missing is for the judge to say.
            Ok(()) | Err(Unmet::DeadlinePassed) => Ok(()),
        }
    }

    /// Settles and ends all captures.
    fn end(&self, check: &Check, mut captures: Vec<Growing>) -> Result<Vec<Captured>, Stopped> {
        let deadline = Instant::now() + TCPDUMP;
        for (spec, capture) in check.captures.iter().zip(&mut captures) {
            let settled = capture.running.settle(deadline, self.interrupt);
            settled.map_err(|error| stopped(spec, &error))?;
        }
        let mut captured = Vec::new();
        for (spec, mut capture) in check.captures.iter().zip(captures) {
            let ended = capture.running.finish(deadline, self.interrupt);
            let ended = ended.map_err(|error| stopped(spec, &error))?;
            let rest = ended
                .pcap
                .get(capture.packets.bytes().len()..)
                .unwrap_or_default();
            let pushed = capture.packets.push(rest);
            let broken = capture
                .broken
                .or(pushed.err().map(|error| format!("failed to {error}")));
            captured.push(Captured {
                capture: capture.packets,
                dropped: ended.dropped,
                broken,
            });
        }
        Ok(captured)
    }
}

/// A capture and what has been read of it.
struct Growing {
    running: Capture,
    packets: packet::Capture,
    broken: Option<String>,
}

impl Growing {
    fn take_in(&mut self) {
        if self.broken.is_none()
            && let Err(error) = self
                .packets
                .push(&self.running.since(self.packets.bytes().len()))
        {
            self.broken = Some(format!("failed to {error}"));
        }
    }
}

fn stopped(spec: &check_file::Capture, error: &CaptureError) -> Stopped {
    match error {
        CaptureError::Interrupted => Stopped::Interrupted,
        other => Stopped::Error(format!("{}: failed to {other}", place(spec))),
    }
}

fn at_capture(spec: &check_file::Capture, error: &CommandError) -> Stopped {
    Stopped::Error(format!("{}: failed to {error}", place(spec)))
}

fn place(spec: &check_file::Capture) -> String {
    format!("capture `{}` ({} {})", spec.name, spec.on, spec.interface)
}

fn named(check: &Check, captured: &[Captured]) -> Vec<(String, Vec<u8>)> {
    let files = check.captures.iter().zip(captured);
    files
        .map(|(spec, it)| (spec.name.clone(), it.capture.bytes().to_vec()))
        .collect()
}

fn not_reverted(faults: &[ChangeError]) -> Verdict {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let reason = format!(
        "failed to take back what the check changed: {}",
        faults.join("; ")
    );
    Verdict::Error { reason }
}
