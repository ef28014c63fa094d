//! A scenario's steps, taken one after the other against a server, ours or a peer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::message::{Line, Reading, SECTIONS, spelt};
use crate::rpl::{Action, Entry, Scenario};
use crate::script::Script;

/// A server that scenarios are played against.
pub(crate) trait Server {
    /// Seconds by which a TTL may be off: 0 where time stands still.
    const SLACK: u32;

    /// Sends a query; does not wait.
    fn send(&mut self, tcp: bool, query: Vec<u8>);

    /// The next answer to any query, unless none comes for so long.
    async fn answer(&mut self) -> Option<Answer>;

    /// Lets time go by.
    async fn elapse(&mut self, time: Duration);

    /// How many queries upstreams got, once there are `expected`, or it is clear that there
    /// won't be: what is asked behind an answer takes its time.
    async fn upstream_queries(&mut self, script: &Script, expected: usize) -> usize;

    /// The sum of a metric over its labels; none if the server has other names for them.
    fn metric(&self, name: &str) -> Option<u64>;
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) octets: Vec<u8>,
    /// Since its query was sent, by the server's clock.
    pub(crate) took: Duration,
}

impl Answer {
    fn id(&self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.octets.first_chunk()?))
    }
}

/// What is not as the scenario has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    pub(crate) step: u32,
    /// `ttl`, `flags`, `answer`, …: what a table of differences names.
    pub(crate) aspect: &'static str,
    pub(crate) detail: String,
}

/// Plays a scenario to its end, whatever differs on the way.
pub(crate) async fn play<S: Server>(
    scenario: &Scenario,
    script: &Script,
    server: &mut S,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut player = Player {
        script,
        server,
        awaited: BTreeSet::new(),
        early: Vec::new(),
    };
    for step in &scenario.steps {
        script.set_step(step.number);
        let mut found = player.take(step.number, &step.action).await;
        let faults = script.take_faults();
        found.extend(faults.into_iter().map(|fault| ("upstream", fault)));
        differences.extend(found.into_iter().map(|(aspect, detail)| Difference {
            step: step.number,
            aspect,
            detail,
        }));
    }
    differences
}

/// A server, and the IDs of the queries that it has not answered.
struct Player<'a, S> {
    script: &'a Script,
    server: &'a mut S,
    awaited: BTreeSet<u16>,
    /// Answers that came before the one that was looked for.
    early: Vec<Answer>,
}

impl<S: Server> Player<'_, S> {
    async fn take(&mut self, number: u32, action: &Action) -> Vec<(&'static str, String)> {
        match action {
            Action::Query { tcp, entry } => {
                self.awaited.insert(id_of(number));
                let query = entry.message.compose(id_of(number), None);
                self.server.send(*tcp, query);
                Vec::new()
            }
            Action::CheckAnswer { to, within, entry } => match self.answer(to.map(id_of)).await {
                None => vec![("silence", "no answer".to_owned())],
                Some(answer) => {
                    let mut found = compare(entry, &answer.octets, S::SLACK);
                    if within.is_some_and(|within| answer.took > within) {
                        found.push(("time", format!("{:?}", answer.took)));
                    }
                    found
                }
            },
            Action::CheckUpstreamQueries(expected) => {
                let found = self.server.upstream_queries(self.script, *expected).await;
                differ("upstream queries", *expected, found)
            }
            Action::CheckMetric { name, value } => match self.server.metric(name) {
                Some(found) => differ("metric", *value, found),
                None => Vec::new(),
            },
            Action::TimePasses(time) => {
                self.server.elapse(*time).await;
                Vec::new()
            }
        }
    }

    /// The answer to the query with this ID, or the next to any that is not given up. When
    /// none comes, all are.
    async fn answer(&mut self, to: Option<u16>) -> Option<Answer> {
        let fits = |answer: &Answer| to.is_none_or(|to| answer.id() == Some(to));
        if let Some(at) = self.early.iter().position(fits) {
            return Some(self.early.remove(at));
        }
        while let Some(answer) = self.server.answer().await {
            if !answer.id().is_some_and(|id| self.awaited.remove(&id)) {
                continue;
            }
            if fits(&answer) {
                return Some(answer);
            }
            self.early.push(answer);
        }
        self.awaited.clear();
        None
    }
}

/// The ID of a step's query: unlike those of its neighbours.
fn id_of(step: u32) -> u16 {
    u16::try_from(step).expect("steps are few").swap_bytes() | 1
}

fn differ<T: PartialEq + std::fmt::Debug>(
    aspect: &'static str,
    expected: T,
    found: T,
) -> Vec<(&'static str, String)> {
    if expected == found {
        return Vec::new();
    }
    vec![(aspect, format!("{expected:?} expected, {found:?} found"))]
}

/// What `MATCH all` stands for; `ttl` comes on top.
const ALL: [&str; 8] = [
    "opcode",
    "qcase",
    "flags",
    "rcode",
    "edns",
    "answer",
    "authority",
    "additional",
];

/// Holds an answer against what an entry says of it.
fn compare(entry: &Entry, octets: &[u8], slack: u32) -> Vec<(&'static str, String)> {
    let expected = Reading::of(&entry.message.compose(0, None)).expect("what we composed");
    let found = match Reading::of(octets) {
        Ok(found) => found,
        Err(error) => return vec![("format", format!("{error:#}"))],
    };
    let ttl = entry.matching.iter().any(|word| word == "ttl");
    let words = entry.matching.iter().flat_map(|word| match word.as_str() {
        "all" => ALL.to_vec(),
        word => vec![word],
    });
    let mut differences = Vec::new();
    for word in words {
        differences.extend(match word {
            "opcode" => differ("opcode", expected.opcode, found.opcode),
            "qcase" => differ(
                "question",
                spelt(expected.question.as_ref()),
                spelt(found.question.as_ref()),
            ),
            "flags" => differ("flags", &expected.flags, &found.flags),
            "rcode" => differ("rcode", expected.rcode, found.rcode),
            // The size is the server's own.
            "edns" => differ("edns", without_size(&expected), without_size(&found)),
            "answer" | "authority" | "additional" => {
                let index = SECTIONS
                    .iter()
                    .position(|name| *name == word)
                    .expect("it is one of them");
                records(
                    SECTIONS[index],
                    &expected.sections[index],
                    &found.sections[index],
                    ttl.then_some(slack),
                )
            }
            "ttl" => Vec::new(),
            word => match word.strip_prefix("size=").map(str::parse::<usize>) {
                Some(Ok(most)) if found.length <= most => Vec::new(),
                Some(Ok(_)) => vec![("size", format!("{} octets", found.length))],
                _ => panic!("an answer is compared by {word}, which there is not"),
            },
        });
    }
    differences
}

type EdnsButSize<'a> = (u8, bool, &'a [(u16, Vec<u8>)]);

fn without_size(reading: &Reading) -> Option<EdnsButSize<'_>> {
    reading
        .edns
        .as_ref()
        .map(|edns| (edns.version, edns.dnssec_ok, &edns.options[..]))
}

/// Compares records in any order; their TTLs too, if there is a slack for them.
fn records(
    section: &'static str,
    expected: &[Line],
    found: &[Line],
    slack: Option<u32>,
) -> Vec<(&'static str, String)> {
    let by_text = |lines: &[Line]| -> BTreeMap<String, u32> {
        lines
            .iter()
            .map(|line| (line.text.clone(), line.ttl))
            .collect()
    };
    let shown = |lines: &[Line]| -> String {
        let lines: Vec<String> = lines.iter().map(Line::to_string).collect();
        lines.join(", ")
    };
    let (wanted, have) = (by_text(expected), by_text(found));
    if expected.len() != found.len() || !wanted.keys().eq(have.keys()) {
        let detail = format!("[{}] expected, [{}] found", shown(expected), shown(found));
        return vec![(section, detail)];
    }
    let Some(slack) = slack else {
        return Vec::new();
    };
    let near = |(expected, found): (&u32, &u32)| expected.abs_diff(*found) <= slack;
    if wanted.values().zip(have.values()).all(near) {
        return Vec::new();
    }
    let detail = format!("[{}] expected, [{}] found", shown(expected), shown(found));
    vec![("ttl", detail)]
}
