//! Outcome of one step → as expected, not as expected, or no conclusion.

use super::StepOutcome;
use crate::check_file::{Curl, CurlFailure, Exec, Ping, Route, Step, TcpOutcome, Text};
use crate::command::{Replies, curl_answer, find_route};

/// Why a step is not as expected.
#[derive(Debug)]
pub(super) enum Fault {
    /// The lab did something else.
    Failed { expected: String, observed: String },
    /// The outcome cannot be read.
    Broken(String),
}

fn failed(expected: impl Into<String>, observed: impl Into<String>) -> Fault {
    Fault::Failed {
        expected: expected.into(),
        observed: observed.into(),
    }
}

/// A command's end: exit code (`None` at the deadline), standard output, standard error.
type Ended<'a> = (Option<i32>, &'a str, &'a str);

/// Judges one step.
pub(super) fn judge(step: &Step, outcome: &StepOutcome) -> Result<(), Fault> {
    match (step, outcome) {
        (Step::Tcp(tcp), StepOutcome::Tcp(outcome)) if tcp.expect == *outcome => Ok(()),
        (Step::Tcp(tcp), StepOutcome::Tcp(outcome)) => {
            Err(failed(tcp.expect.as_str(), outcome.as_str()))
        }
        (
            Step::Route { .. }
            | Step::Link { .. }
            | Step::Set(_)
            | Step::Apply(_)
            | Step::Delete(_)
            | Step::Scale(_),
            StepOutcome::Done,
        ) => Ok(()),
        (
            step,
            StepOutcome::Command {
                exit,
                stdout,
                stderr,
            },
        ) => {
            let ended = (*exit, stdout.as_str(), stderr.trim());
            match step {
                Step::Ping(expected) => ping(expected, ended),
                Step::Curl(expected) => curl(expected, ended),
                Step::Exec(expected) => exec(expected, ended),
                Step::ExpectRoute {
                    route: expected,
                    absent,
                    ..
                } => route(expected, *absent, ended),
                _ => Err(Fault::Broken(
                    "a command was reported for what is none".to_owned(),
                )),
            }
        }
        _ => Err(Fault::Broken(
            "its outcome is that of another kind of step".to_owned(),
        )),
    }
}

fn ping(ping: &Ping, (exit, stdout, stderr): Ended<'_>) -> Result<(), Fault> {
    let expected = match ping.received {
        0 => "no reply".to_owned(),
        received => format!("{received} of {} replies", ping.count),
    };
    let Some(replies) = Replies::read(stdout) else {
        // The kernel refused to send: as much a loss as silence.
        if stderr.contains("unreachable") || stderr.contains("No route to host") {
            return if ping.received == 0 {
                Ok(())
            } else {
                Err(failed(expected, stderr))
            };
        }
        return match exit {
            None => Err(failed(expected, "ping did not end in time")),
            Some(exit) => Err(Fault::Broken(format!(
                "ping printed no statistics (exit code {exit}): {stderr}"
            ))),
        };
    };
    if replies.received != ping.received {
        return Err(failed(expected, format!("{} replies", replies.received)));
    }
    if replies.duplicates > 0 {
        return Err(failed(
            expected,
            format!("and {} duplicates", replies.duplicates),
        ));
    }
    match ping.ttl.and_then(|ttl| {
        replies
            .ttls
            .iter()
            .find(|seen| **seen != ttl)
            .map(|seen| (ttl, seen))
    }) {
        Some((ttl, seen)) => Err(failed(
            format!("replies with ttl {ttl}"),
            format!("one with ttl {seen}"),
        )),
        None => Ok(()),
    }
}

/// Exit codes of curl(1) that say something of the network.
const RESOLVE: i32 = 6;
const CONNECT: i32 = 7;
const TIMEOUT: i32 = 28;

fn curl(curl: &Curl, (exit, stdout, stderr): Ended<'_>) -> Result<(), Fault> {
    let Some(exit) = exit else {
        return Err(failed("an end in time", "curl did not end"));
    };
    // 1 to 5: unsupported protocol, failed to start, malformed URL, not built in, proxy.
    if matches!(exit, 1..=5 | 126 | 127) {
        return Err(Fault::Broken(format!(
            "curl could not ask (exit code {exit}): {stderr}"
        )));
    }
    let answer = curl_answer(stdout);
    let seen = match answer {
        Some((_, status)) if exit == 0 => format!("status {status}"),
        _ => format!("exit code {exit}: {stderr}"),
    };
    match &curl.expect {
        Err(failure) => {
            let (wanted, name) = match failure {
                CurlFailure::Timeout => (TIMEOUT, "a timeout"),
                CurlFailure::Connect => (CONNECT, "a refused or unreachable connection"),
                CurlFailure::Resolve => (RESOLVE, "a name that does not resolve"),
            };
            if exit == wanted {
                Ok(())
            } else {
                Err(failed(name, seen))
            }
        }
        Ok((status, body)) => match answer.filter(|_| exit == 0) {
            Some((text, seen)) if seen == *status => judge_text("body", body.as_ref(), text),
            _ => Err(failed(format!("status {status}"), seen)),
        },
    }
}

fn exec(exec: &Exec, (exit, stdout, stderr): Ended<'_>) -> Result<(), Fault> {
    let expected = format!("exit code {}", exec.exit);
    match exit {
        None => {
            return Err(failed(
                expected,
                format!("it did not end within {:?}", exec.timeout),
            ));
        }
        Some(exit) if exit != exec.exit => {
            return Err(failed(
                expected,
                format!("exit code {exit}: {}", excerpt(stderr)),
            ));
        }
        Some(_) => {}
    }
    judge_text("standard output", exec.stdout.as_ref(), stdout)?;
    judge_text("standard error", exec.stderr.as_ref(), stderr)
}

fn route(route: &Route, absent: bool, (exit, stdout, stderr): Ended<'_>) -> Result<(), Fault> {
    if exit != Some(0) {
        return Err(Fault::Broken(format!(
            "the routes could not be listed: {stderr}"
        )));
    }
    let (found, same) = find_route(stdout, route)
        .map_err(|error| Fault::Broken(format!("the list of routes cannot be read: {error}")))?;
    if found != absent {
        return Ok(());
    }
    let expected = if absent {
        format!("no route {route}")
    } else {
        format!("the route {route}")
    };
    let observed = if same.is_empty() {
        format!("no route to {}", route.to)
    } else {
        same.join(", ")
    };
    Err(failed(expected, observed))
}

fn judge_text(what: &str, rules: Option<&Text>, text: &str) -> Result<(), Fault> {
    let Some(rules) = rules else { return Ok(()) };
    let observed = || format!("{what}: {}", excerpt(text));
    if let Some(wanted) = rules
        .contains
        .as_ref()
        .filter(|wanted| !text.contains(wanted.as_str()))
    {
        return Err(failed(
            format!("{what} that contains `{wanted}`"),
            observed(),
        ));
    }
    if let Some(unwanted) = rules
        .lacks
        .as_ref()
        .filter(|unwanted| text.contains(unwanted.as_str()))
    {
        return Err(failed(format!("{what} without `{unwanted}`"), observed()));
    }
    match rules
        .equals
        .as_ref()
        .filter(|wanted| text.trim() != wanted.trim())
    {
        Some(wanted) => Err(failed(format!("{what}: {}", excerpt(wanted)), observed())),
        None => Ok(()),
    }
}

/// The first lines of a text, for people.
fn excerpt(text: &str) -> String {
    const LINES: usize = 20;
    let text = text.trim();
    let mut lines: Vec<&str> = text.lines().take(LINES).collect();
    if text.lines().count() > LINES {
        lines.push("…");
    }
    if lines.is_empty() {
        "(empty)".to_owned()
    } else {
        lines.join("\n")
    }
}

impl TcpOutcome {
    /// The word used in check files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
        }
    }
}
