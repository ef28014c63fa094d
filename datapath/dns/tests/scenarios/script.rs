//! The upstreams of a scenario: which answers, with what, and what they were asked.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::base::iana::Rtype;

use crate::message::{Reading, spelt};
use crate::rpl::{Entry, Range, Scenario};

/// Upstreams that follow a scenario.
#[derive(Debug)]
pub(crate) struct Script {
    ranges: Vec<Range>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    step: u32,
    queries: usize,
    faults: Vec<String>,
}

/// What an upstream does about a query.
pub(crate) enum Outcome {
    /// This message, after a while.
    Reply { octets: Vec<u8>, delay: Duration },
    /// Nothing.
    Silence,
}

impl Script {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        Self {
            ranges: scenario.ranges.clone(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Addresses of all upstreams.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.ranges.iter().flat_map(|range| &range.addresses);
        let unique: std::collections::BTreeSet<IpAddr> = addresses.copied().collect();
        unique.into_iter()
    }

    pub(crate) fn set_step(&self, step: u32) {
        self.state().step = step;
    }

    /// Queries so far that were no health probes.
    pub(crate) fn queries(&self) -> usize {
        self.state().queries
    }

    /// Queries that the scenario knows nothing of.
    pub(crate) fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.state().faults)
    }

    pub(crate) fn answer(&self, upstream: IpAddr, tcp: bool, query: &[u8]) -> Outcome {
        let mut state = self.state();
        let reading = match Reading::of(query) {
            Ok(reading) => reading,
            Err(error) => {
                state
                    .faults
                    .push(format!("{upstream} cannot read: {error:#}"));
                return Outcome::Silence;
            }
        };
        let probe = is_probe(&reading);
        state.queries += usize::from(!probe);
        let step = state.step;
        let entries = self
            .ranges
            .iter()
            .filter(|range| range.steps.contains(&step) && range.addresses.contains(&upstream))
            .flat_map(|range| &range.entries);
        match entries
            .into_iter()
            .find(|entry| matches(entry, &reading, tcp))
        {
            Some(entry) if entry.adjust.do_not_answer => Outcome::Silence,
            Some(entry) => Outcome::Reply {
                octets: compose(entry, &reading),
                delay: entry.adjust.delay,
            },
            None => {
                if !probe {
                    state.faults.push(format!(
                        "{upstream} is asked for {} in step {step}, and has no answer",
                        spelt(reading.question.as_ref())
                    ));
                }
                Outcome::Silence
            }
        }
    }
}

/// Whether it looks like a health probe: `. IN NS`.
fn is_probe(query: &Reading) -> bool {
    query
        .question
        .as_ref()
        .is_some_and(|question| question.qname().is_root() && question.qtype() == Rtype::NS)
}

fn compose(entry: &Entry, query: &Reading) -> Vec<u8> {
    let question = query.question.as_ref().filter(|_| entry.adjust.copy_query);
    let id = if entry.adjust.copy_id { query.id } else { 0 };
    entry.message.compose(id, question)
}

fn matches(entry: &Entry, query: &Reading, tcp: bool) -> bool {
    let expected = entry.message.question.as_ref();
    let asked = query.question.as_ref();
    entry.matching.iter().all(|word| match word.as_str() {
        "opcode" => query.opcode == entry.message.opcode,
        "qname" => expected.map(|q| q.qname()) == asked.map(|q| q.qname()),
        "qtype" => expected.map(|q| q.qtype()) == asked.map(|q| q.qtype()),
        "qcase" => spelt(expected) == spelt(asked),
        "subdomain" => match (expected, asked) {
            (Some(expected), Some(asked)) => {
                use domain::base::ToName as _;
                asked.qname().to_bytes().ends_with(expected.qname())
            }
            _ => false,
        },
        "udp" => !tcp,
        "tcp" => tcp,
        "rd" => query.flags.contains("RD") == entry.message.flags.contains("RD"),
        "cd" => query.flags.contains("CD") == entry.message.flags.contains("CD"),
        "do" => {
            let wants = |edns: Option<&crate::message::Edns>| edns.is_some_and(|o| o.dnssec_ok);
            wants(query.edns.as_ref()) == wants(entry.message.edns.as_ref())
        }
        other => panic!("a scenario's upstream matches by {other}, which there is not"),
    })
}
