//! Steps done: real `ping`, `curl` and `ip`, in the namespaces and the cgroup of the
//! node or pod that the check names.

use std::time::Duration;

use lab_checks::check_file::{Step, Tcp, TcpOutcome};
use lab_checks::judge::StepOutcome;

use super::changes::{ChangeError, Changes};
use super::command::{CommandError, Ended};
use super::place::run_in;
use crate::interrupt::Interrupt;
use crate::live::LiveLab;

/// An interrupt came; the step was ended.
pub(super) struct Interrupted;

/// Does one step. What cannot be done is an outcome too.
pub(super) fn perform(
    live: &LiveLab,
    step: &Step,
    changes: &mut Changes<'_>,
    interrupt: &Interrupt,
) -> Result<StepOutcome, Interrupted> {
    let changed = match step {
        Step::Tcp(tcp) => return connect(live, tcp, step.deadline(), interrupt),
        Step::Route { on, change } => changes.route(on, change, interrupt),
        Step::Link {
            on,
            interface,
            state,
        } => changes.link(on, interface, *state, interrupt),
        Step::Set(patch) => changes.values(patch, interrupt),
        Step::Apply(manifest) => changes.apply(manifest, interrupt),
        Step::Delete(delete) => changes.delete(delete, interrupt),
        Step::Scale(scale) => changes.scale(scale, interrupt),
        Step::Ping(_) | Step::Curl(_) | Step::Exec(_) | Step::ExpectRoute { .. } => {
            return command(live, step, interrupt);
        }
    };
    match changed {
        Ok(()) => Ok(StepOutcome::Done),
        Err(_) if interrupt.asked() => Err(Interrupted),
        Err(ChangeError::Command(error)) => impossible(&error),
        Err(error) => Ok(StepOutcome::Impossible(error.to_string())),
    }
}

fn command(live: &LiveLab, step: &Step, interrupt: &Interrupt) -> Result<StepOutcome, Interrupted> {
    let (Some(argv), Some(on)) = (step.command(), step.target()) else {
        return Ok(StepOutcome::Impossible("it is no command".to_owned()));
    };
    let ended = run_in(live, on, &argv, step.deadline(), interrupt);
    match ended {
        Ok(Ended {
            exit,
            timed_out,
            stdout,
            stderr,
        }) => {
            let exit = (!timed_out).then_some(exit);
            Ok(StepOutcome::Command {
                exit,
                stdout,
                stderr,
            })
        }
        Err(error) => impossible(&error),
    }
}

fn connect(
    live: &LiveLab,
    tcp: &Tcp,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<StepOutcome, Interrupted> {
    // Between fork and exec the child is labctl itself, whatever its file is called
    // and whether it can be seen from within the node.
    let mut argv = vec![
        "/proc/self/exe".to_owned(),
        "probe".to_owned(),
        "tcp".to_owned(),
    ];
    argv.extend([format!("{}:{}", tcp.to, tcp.port)]);
    argv.extend([
        "--timeout-ms".to_owned(),
        tcp.timeout.as_millis().to_string(),
    ]);
    argv.extend(
        tcp.local_port
            .iter()
            .map(|port| format!("--local-port={port}")),
    );
    let ended = run_in(live, &tcp.from, &argv, limit, interrupt);
    match ended {
        Ok(Ended { stdout, stderr, .. }) => Ok(match outcome(stdout.trim()) {
            Some(outcome) => StepOutcome::Tcp(outcome),
            None => StepOutcome::Impossible(format!("connect: {}{}", stdout.trim(), stderr.trim())),
        }),
        Err(error) => impossible(&error),
    }
}

fn outcome(word: &str) -> Option<TcpOutcome> {
    let all = [
        TcpOutcome::Connected,
        TcpOutcome::Refused,
        TcpOutcome::Timeout,
        TcpOutcome::Unreachable,
    ];
    all.into_iter().find(|outcome| outcome.as_str() == word)
}

fn impossible(error: &CommandError) -> Result<StepOutcome, Interrupted> {
    match error {
        CommandError::Interrupted { .. } => Err(Interrupted),
        other => Ok(StepOutcome::Impossible(format!("failed to {other}"))),
    }
}
