//! Messages as scenarios write them, and as they are compared.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context as _, Result, anyhow, bail};
use domain::base::iana::{Class, Opcode, OptRcode, OptionCode, Rcode, Rtype};
use domain::base::message_builder::StaticCompressor;
use domain::base::{Message as Wire, MessageBuilder, Name, ParsedName, Question, ToName as _};
use domain::rdata::AllRecordData;
use domain::zonefile::inplace::ScannedRecord;

/// Names of the sections that hold records, in their order.
pub(crate) const SECTIONS: [&str; 3] = ["answer", "authority", "additional"];

/// What an entry of a scenario describes.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Header flags, in capital letters: `QR`, `AA`, `TC`, `RD`, `RA`, `AD`, `CD`.
    pub(crate) flags: BTreeSet<&'static str>,
    pub(crate) opcode: Opcode,
    pub(crate) rcode: OptRcode,
    pub(crate) question: Option<Question<Name<Vec<u8>>>>,
    pub(crate) edns: Option<Edns>,
    pub(crate) sections: [Vec<ScannedRecord>; 3],
}

/// An OPT record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edns {
    pub(crate) version: u8,
    pub(crate) size: u16,
    pub(crate) dnssec_ok: bool,
    /// Code and data of each option.
    pub(crate) options: Vec<(u16, Vec<u8>)>,
}

impl Message {
    /// An empty query.
    pub(crate) fn new() -> Self {
        Self {
            flags: BTreeSet::new(),
            opcode: Opcode::QUERY,
            rcode: OptRcode::NOERROR,
            question: None,
            edns: None,
            sections: Default::default(),
        }
    }

    /// The message on the wire, with names compressed, and with another question if
    /// one is given: that of the query, as it was spelt.
    pub(crate) fn compose(&self, id: u16, question: Option<&Question<Name<Vec<u8>>>>) -> Vec<u8> {
        self.try_compose(id, question)
            .expect("a scenario's message fits into 64 KiB")
    }

    fn try_compose(
        &self,
        id: u16,
        question: Option<&Question<Name<Vec<u8>>>>,
    ) -> Result<Vec<u8>, domain::base::message_builder::PushError> {
        let target = StaticCompressor::new(Vec::new());
        let mut builder = MessageBuilder::from_target(target).expect("a vector takes a header");
        let header = builder.header_mut();
        header.set_id(id);
        header.set_opcode(self.opcode);
        header.set_rcode(self.rcode.rcode());
        header.set_qr(self.flags.contains("QR"));
        header.set_aa(self.flags.contains("AA"));
        header.set_tc(self.flags.contains("TC"));
        header.set_rd(self.flags.contains("RD"));
        header.set_ra(self.flags.contains("RA"));
        header.set_ad(self.flags.contains("AD"));
        header.set_cd(self.flags.contains("CD"));
        let mut questions = builder.question();
        if let Some(question) = question.or(self.question.as_ref()) {
            questions.push(question)?;
        }
        let [answers, authorities, additionals] = &self.sections;
        let mut answer = questions.answer();
        answers.iter().try_for_each(|record| answer.push(record))?;
        let mut authority = answer.authority();
        authorities
            .iter()
            .try_for_each(|record| authority.push(record))?;
        let mut additional = authority.additional();
        additionals
            .iter()
            .try_for_each(|record| additional.push(record))?;
        if let Some(edns) = &self.edns {
            additional.opt(|opt| {
                opt.set_udp_payload_size(edns.size);
                opt.set_version(edns.version);
                opt.set_dnssec_ok(edns.dnssec_ok);
                opt.set_rcode(self.rcode);
                edns.options.iter().try_for_each(|(code, data)| {
                    let length = u16::try_from(data.len()).expect("an option's data is short");
                    opt.push_raw_option(OptionCode::from_int(*code), length, |target| {
                        use domain::dep::octseq::OctetsBuilder as _;
                        target.append_slice(data)
                    })
                })
            })?;
        }
        Ok(additional.finish().into_target())
    }
}

/// A message, read, with each record as a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) id: u16,
    pub(crate) flags: BTreeSet<&'static str>,
    pub(crate) opcode: Opcode,
    pub(crate) rcode: OptRcode,
    pub(crate) question: Option<Question<Name<Vec<u8>>>>,
    pub(crate) edns: Option<Edns>,
    pub(crate) sections: [Vec<Line>; 3],
    /// Octets.
    pub(crate) length: usize,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    /// Owner in lower case, class, type and data.
    pub(crate) text: String,
    /// Seconds.
    pub(crate) ttl: u32,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} TTL {}", self.text, self.ttl)
    }
}

impl Reading {
    /// Reads a message from the wire, to its last octet.
    pub(crate) fn of(octets: &[u8]) -> Result<Self> {
        let wire = Wire::from_octets(octets).map_err(|_| anyhow!("shorter than a header"))?;
        let header = wire.header();
        let flags = [
            ("QR", header.qr()),
            ("AA", header.aa()),
            ("TC", header.tc()),
            ("RD", header.rd()),
            ("RA", header.ra()),
            ("AD", header.ad()),
            ("CD", header.cd()),
        ];
        let question = match wire.header_counts().qdcount() {
            0 => None,
            1 => {
                let question = wire.sole_question().context("the question")?;
                Some(Question::new(
                    question.qname().to_name(),
                    question.qtype(),
                    question.qclass(),
                ))
            }
            count => bail!("{count} questions"),
        };
        let (_, answer, authority, additional) = wire.sections().context("the sections")?;
        let mut sections: [Vec<Line>; 3] = Default::default();
        for (section, lines) in [answer, authority, additional]
            .into_iter()
            .zip(&mut sections)
        {
            for record in section {
                let record = record.context("a record")?;
                if record.rtype() == Rtype::OPT {
                    continue;
                }
                let record = record
                    .to_record::<AllRecordData<_, ParsedName<_>>>()
                    .context("a record's data")?
                    .context("a record's data")?;
                let owner = record.owner().to_string().to_ascii_lowercase();
                lines.push(Line {
                    text: format!(
                        "{owner} {} {} {}",
                        record.class(),
                        record.rtype(),
                        record.data()
                    ),
                    ttl: record.ttl().as_secs(),
                });
            }
        }
        Ok(Self {
            id: header.id(),
            flags: flags
                .into_iter()
                .filter_map(|(name, set)| set.then_some(name))
                .collect(),
            opcode: header.opcode(),
            rcode: wire.opt_rcode(),
            question,
            edns: wire.opt().map(|opt| Edns {
                version: opt.version(),
                size: opt.udp_payload_size(),
                dnssec_ok: opt.dnssec_ok(),
                options: options(&opt),
            }),
            sections,
            length: octets.len(),
        })
    }
}

fn options(opt: &domain::base::opt::OptRecord<&[u8]>) -> Vec<(u16, Vec<u8>)> {
    opt.opt()
        .iter::<domain::base::opt::UnknownOptData<&[u8]>>()
        .filter_map(Result::ok)
        .map(|option| (option.code().to_int(), option.as_slice().to_vec()))
        .collect()
}

/// `www.example.com. IN A`, in its spelling.
pub(crate) fn spelt(question: Option<&Question<Name<Vec<u8>>>>) -> String {
    question.map_or_else(
        || "none".to_owned(),
        |question| {
            format!(
                "{} {} {}",
                question.qname(),
                question.qclass(),
                question.qtype()
            )
        },
    )
}

/// Reads `www.example.com. IN A`.
pub(crate) fn question(line: &str) -> Result<Question<Name<Vec<u8>>>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, class, rtype] = words[..] else {
        bail!("a question is NAME CLASS TYPE");
    };
    Ok(Question::new(
        name.parse().context("the name")?,
        rtype
            .parse::<Rtype>()
            .map_err(|_| anyhow!("type {rtype}"))?,
        class
            .parse::<Class>()
            .map_err(|_| anyhow!("class {class}"))?,
    ))
}

/// Reads a response code: `NXDOMAIN`.
pub(crate) fn rcode(word: &str) -> Option<OptRcode> {
    if word == "BADVERS" {
        return Some(OptRcode::BADVERS);
    }
    word.parse::<Rcode>().ok().map(OptRcode::from_rcode)
}
