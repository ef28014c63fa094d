//! The `.rpl` format, as Deckard, Stelline and unbound's testbound have it.
//!
//! ```text
//! <Corefile>
//! CONFIG_FILE unbound.conf            (more lines of a peer's configuration)
//! CONFIG_FILE records.json            (records of the `kubernetes` plugin)
//! CONFIG_FILE cluster.zone            (the same, for peers: a file in their folder)
//! CONFIG_END
//! SCENARIO_BEGIN what it shows
//! RANGE_BEGIN 0 10                    (steps in which an upstream answers so)
//! ADDRESS 192.0.2.1
//! ENTRY_BEGIN
//! MATCH opcode qname qtype
//! ADJUST copy_id copy_query
//! REPLY QR RD RA NOERROR
//! SECTION QUESTION
//! www.example.com. IN A
//! SECTION ANSWER
//! www.example.com. 300 IN A 198.51.100.1
//! ENTRY_END
//! RANGE_END
//! STEP 1 QUERY
//! ENTRY_BEGIN
//! REPLY RD
//! SECTION QUESTION
//! www.example.com. IN A
//! ENTRY_END
//! STEP 2 CHECK_ANSWER
//! ENTRY_BEGIN
//! MATCH all ttl
//! …
//! ENTRY_END
//! STEP 3 TIME_PASSES ELAPSE 7
//! SCENARIO_END
//! ```
//!
//! Of our own: `EDNS VERSION 0 SIZE 1232 DO OPTION 100 0a0b` in an entry; `QUERY TCP`;
//! `CHECK_ANSWER WITHIN 5` (seconds since its query);
//! `CHECK_UPSTREAM_QUERIES n` (since the beginning, health probes left out);
//! `CHECK_METRIC name n` (the sum over its labels). An upstream's entry that does
//! not match is passed over; a query that no entry matches is a fault of the test, a
//! health probe that none matches goes unanswered. `CHECK_ANSWER` takes answers in
//! the order in which they come; `CHECK_ANSWER TO n` that to the query of step n.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use domain::base::iana::{Class, Opcode};
use domain::zonefile::inplace::{Entry as ZoneEntry, Zonefile};

use crate::message::{self, Edns, Message};

/// A file of the format.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// Name of the file, without its ending.
    pub(crate) name: String,
    pub(crate) corefile: String,
    /// Further files of the configuration.
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) ranges: Vec<Range>,
    pub(crate) steps: Vec<Step>,
}

/// What upstreams answer in some steps.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) steps: RangeInclusive<u32>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) entries: Vec<Entry>,
}

/// A message, and how it is matched and sent.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Words of `MATCH`, in lower case.
    pub(crate) matching: Vec<String>,
    pub(crate) adjust: Adjust,
    pub(crate) message: Message,
}

/// Words of `ADJUST`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Adjust {
    pub(crate) copy_id: bool,
    pub(crate) copy_query: bool,
    pub(crate) do_not_answer: bool,
    pub(crate) delay: Duration,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) number: u32,
    pub(crate) action: Action,
}

#[derive(Debug)]
pub(crate) enum Action {
    Query {
        tcp: bool,
        entry: Entry,
    },
    CheckAnswer {
        /// The step of the query; none for whichever is answered first.
        to: Option<u32>,
        within: Option<Duration>,
        entry: Entry,
    },
    CheckUpstreamQueries(usize),
    CheckMetric {
        name: String,
        value: u64,
    },
    TimePasses(Duration),
}

/// Reads a file of scenarios' folder.
pub(crate) fn read(path: &Path) -> Result<Scenario> {
    let text = std::fs::read_to_string(path)?;
    let name = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .context("a file name")?;
    let mut lines = Lines {
        rest: text.lines().enumerate(),
        at: 0,
    };
    scenario(name, &mut lines).with_context(|| format!("{}:{}", path.display(), lines.at))
}

/// Lines that say something, and where they are.
struct Lines<'a> {
    rest: std::iter::Enumerate<std::str::Lines<'a>>,
    at: usize,
}

impl<'a> Lines<'a> {
    fn raw(&mut self) -> Result<&'a str> {
        let (at, line) = self.rest.next().context("the file ends too early")?;
        self.at = at + 1;
        Ok(line)
    }

    /// The next line without comment, unless nothing remains of it.
    fn next(&mut self) -> Result<&'a str> {
        loop {
            let line = self.raw()?;
            // In a TXT record, a semicolon is none of a comment's.
            let line = match line.find(';') {
                Some(at) if !line[..at].contains('"') => &line[..at],
                _ => line,
            };
            if !line.trim().is_empty() {
                return Ok(line.trim());
            }
        }
    }

    fn words(&mut self) -> Result<Vec<&'a str>> {
        Ok(self.next()?.split_whitespace().collect())
    }
}

fn scenario(name: &str, lines: &mut Lines<'_>) -> Result<Scenario> {
    let mut corefile = String::new();
    let mut files = BTreeMap::new();
    let mut file = &mut corefile;
    loop {
        let line = lines.raw()?;
        if line.trim() == "CONFIG_END" {
            break;
        }
        if let Some(name) = line.strip_prefix("CONFIG_FILE ") {
            file = files.entry(name.trim().to_owned()).or_default();
            continue;
        }
        file.push_str(line);
        file.push('\n');
    }
    if lines.words()?[0] != "SCENARIO_BEGIN" {
        bail!("SCENARIO_BEGIN comes after CONFIG_END");
    }
    let mut ranges = Vec::new();
    let mut steps = Vec::new();
    loop {
        let words = lines.words()?;
        match words[..] {
            ["SCENARIO_END"] => break,
            ["RANGE_BEGIN", from, to] => ranges.push(range(from.parse()?..=to.parse()?, lines)?),
            ["STEP", number, ref action @ ..] => steps.push(Step {
                number: number.parse()?,
                action: self::action(action, lines)?,
            }),
            _ => bail!("neither RANGE_BEGIN nor STEP: {}", words.join(" ")),
        }
    }
    if !steps.is_sorted_by(|one, other| one.number < other.number) {
        bail!("steps are numbered in their order");
    }
    Ok(Scenario {
        name: name.to_owned(),
        corefile,
        files,
        ranges,
        steps,
    })
}

fn range(steps: RangeInclusive<u32>, lines: &mut Lines<'_>) -> Result<Range> {
    let mut range = Range {
        steps,
        addresses: Vec::new(),
        entries: Vec::new(),
    };
    loop {
        match lines.words()?[..] {
            ["RANGE_END"] => return Ok(range),
            ["ADDRESS", address] => range.addresses.push(address.parse()?),
            ["ENTRY_BEGIN"] => range.entries.push(entry(lines)?),
            ref words => bail!("not in a range: {}", words.join(" ")),
        }
    }
}

fn action(words: &[&str], lines: &mut Lines<'_>) -> Result<Action> {
    let mut expect_entry = || -> Result<Entry> {
        match lines.words()?[..] {
            ["ENTRY_BEGIN"] => entry(lines),
            _ => bail!("ENTRY_BEGIN comes here"),
        }
    };
    Ok(match *words {
        ["QUERY"] | ["QUERY", "UDP"] => Action::Query {
            tcp: false,
            entry: expect_entry()?,
        },
        ["QUERY", "TCP"] => Action::Query {
            tcp: true,
            entry: expect_entry()?,
        },
        ["CHECK_ANSWER"] => Action::CheckAnswer {
            to: None,
            within: None,
            entry: expect_entry()?,
        },
        ["CHECK_ANSWER", "TO", step] => Action::CheckAnswer {
            to: Some(step.parse()?),
            within: None,
            entry: expect_entry()?,
        },
        ["CHECK_ANSWER", "WITHIN", time] => Action::CheckAnswer {
            to: None,
            within: Some(seconds(time)?),
            entry: expect_entry()?,
        },
        ["CHECK_UPSTREAM_QUERIES", count] => Action::CheckUpstreamQueries(count.parse()?),
        ["CHECK_METRIC", name, value] => Action::CheckMetric {
            name: name.to_owned(),
            value: value.parse()?,
        },
        ["TIME_PASSES", "ELAPSE", time] => Action::TimePasses(seconds(time)?),
        _ => bail!("no such step: {}", words.join(" ")),
    })
}

fn seconds(word: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(word.parse()?)?)
}

fn entry(lines: &mut Lines<'_>) -> Result<Entry> {
    let mut entry = Entry {
        matching: Vec::new(),
        adjust: Adjust::default(),
        message: Message::new(),
    };
    let mut section = None;
    loop {
        let line = lines.next()?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["ENTRY_END"] => return Ok(entry),
            ["MATCH", ref words @ ..] => entry
                .matching
                .extend(words.iter().map(|word| word.to_ascii_lowercase())),
            ["ADJUST", ref words @ ..] => entry.adjust = adjust(words)?,
            ["REPLY", ref words @ ..] => reply(words, &mut entry.message)?,
            ["EDNS", ref words @ ..] => entry.message.edns = Some(edns(words)?),
            ["SECTION", "QUESTION"] => section = Some(None),
            ["SECTION", name] => section = Some(Some(records_of(name)?)),
            _ => match section {
                None => bail!("neither a word of entries nor a section: {line}"),
                Some(None) => entry.message.question = Some(message::question(line)?),
                Some(Some(index)) => entry.message.sections[index].push(record(line)?),
            },
        }
    }
}

fn records_of(section: &str) -> Result<usize> {
    message::SECTIONS
        .iter()
        .position(|name| name.eq_ignore_ascii_case(section))
        .with_context(|| format!("no section {section}"))
}

fn adjust(words: &[&str]) -> Result<Adjust> {
    let mut adjust = Adjust::default();
    for word in words {
        match (*word, word.strip_prefix("packet_sleep=")) {
            ("copy_id", _) => adjust.copy_id = true,
            ("copy_query", _) => adjust.copy_query = true,
            ("do_not_answer", _) => adjust.do_not_answer = true,
            (_, Some(time)) => adjust.delay = seconds(time)?,
            _ => bail!("ADJUST {word}"),
        }
    }
    Ok(adjust)
}

fn reply(words: &[&str], message: &mut Message) -> Result<()> {
    const FLAGS: [&str; 7] = ["QR", "AA", "TC", "RD", "RA", "AD", "CD"];
    for word in words {
        if let Some(flag) = FLAGS.iter().find(|flag| *flag == word) {
            message.flags.insert(flag);
        } else if let Some(opcode) = word.strip_prefix("OPCODE") {
            message.opcode = Opcode::from_int(opcode.parse()?);
        } else {
            message.rcode = message::rcode(word).with_context(|| format!("REPLY {word}"))?;
        }
    }
    Ok(())
}

fn edns(words: &[&str]) -> Result<Edns> {
    let mut edns = Edns {
        size: 1232,
        ..Edns::default()
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} what?"));
        match *word {
            "VERSION" => edns.version = value()?.parse()?,
            "SIZE" => edns.size = value()?.parse()?,
            "DO" => edns.dnssec_ok = true,
            "OPTION" => edns.options.push((value()?.parse()?, octets(value()?)?)),
            _ => bail!("EDNS {word}"),
        }
    }
    Ok(edns)
}

fn octets(hex: &str) -> Result<Vec<u8>> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}

pub(crate) fn record(line: &str) -> Result<domain::zonefile::inplace::ScannedRecord> {
    let mut file = Zonefile::from(format!("{line}\n").as_str());
    file.set_origin(domain::base::Name::root_bytes());
    file.set_default_class(Class::IN);
    match file
        .next_entry()
        .map_err(|error| anyhow!("{error}: {line}"))?
    {
        Some(ZoneEntry::Record(record)) => Ok(record),
        _ => bail!("no record: {line}"),
    }
}
