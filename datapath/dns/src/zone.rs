//! Answers from a zone file (RFC 1035 §5), as the zone's owner or as a resolver would
//! give them: labctl's own plugin, for the world outside of a lab.
//!
//! One file may hold several zones, each from its SOA record down; the root's makes
//! it the whole DNS. There are no delegations: what the file doesn't have doesn't exist.

mod lookup;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use domain::base::Name;
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::name::ToName as _;
use domain::base::rdata::ComposeRecordData as _;
use domain::zonefile::inplace::{Entry, ScannedRecord, Zonefile};

use crate::clock::Time;
use crate::message::Query;
use crate::plugin::{LocalAnswers, LocalReply, Section, Speaker, Step};
use lookup::{Found, Outcome};

/// Why a zone file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ZoneFileError {
    /// The file cannot be read.
    #[error("cannot read zone file {file}: {source}")]
    Read {
        /// As it was named.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The text is no zone file.
    #[error("{file}:{line}: {what}")]
    Syntax {
        /// As it was named.
        file: String,
        /// Counted from 1.
        line: u32,
        /// What is wrong.
        what: String,
    },
    /// `$INCLUDE`, which is left out.
    #[error("zone file {file}: $INCLUDE isn't read; put the records into the file itself")]
    Include {
        /// As it was named.
        file: String,
    },
    /// Without SOA there is no zone, and no answer for what doesn't exist.
    #[error(
        "zone file {file} has no SOA record; give each zone one, such as `. SOA ns. admin. 1 1800 900 604800 86400`"
    )]
    NoSoa {
        /// As it was named.
        file: String,
    },
    /// A name with a CNAME has nothing else (RFC 1034 §3.6.2).
    #[error("zone file {file}: {name} has a CNAME beside other records; leave one of them out")]
    CnameAndMore {
        /// As it was named.
        file: String,
        /// The name.
        name: String,
    },
}

/// Records of one name and type.
#[derive(Clone, Debug)]
struct RecordSet {
    rtype: Rtype,
    /// The least of its records' (RFC 2181 §5.2).
    ttl: u32,
    /// Data in wire format, names uncompressed.
    rdata: Vec<Vec<u8>>,
}

/// Record sets by owner in wire format, lower case. Names that only have names below
/// them have none.
type Nodes = HashMap<Vec<u8>, Vec<RecordSet>>;

/// The plugin: a zone file's records.
#[derive(Clone, Debug)]
pub struct Plugin {
    nodes: Nodes,
    speaker: Speaker,
}

impl Plugin {
    /// Reads a zone file, to answer as its owner (AA), or like a resolver (RA).
    ///
    /// # Errors
    /// See [`ZoneFileError`].
    pub fn load(file: &Path, resolver: bool) -> Result<Self, ZoneFileError> {
        let name = file.display().to_string();
        match fs::read_to_string(file) {
            Ok(text) => Self::parse(&name, &text, resolver),
            Err(source) => Err(ZoneFileError::Read { file: name, source }),
        }
    }

    /// Reads the text of a zone file, whose name is for messages.
    ///
    /// # Errors
    /// See [`ZoneFileError`].
    pub fn parse(file: &str, text: &str, resolver: bool) -> Result<Self, ZoneFileError> {
        let file = file.to_owned();
        // The scanner takes a line for one when its end is there.
        let mut zone = Zonefile::from(format!("{text}\n").as_str());
        zone.set_origin(Name::root_bytes());
        zone.set_default_class(Class::IN);
        let mut nodes = Nodes::new();
        loop {
            match zone.next_entry() {
                Ok(None) => break,
                Ok(Some(Entry::Record(record))) => add(&mut nodes, &record),
                Ok(Some(Entry::Include { .. })) => return Err(ZoneFileError::Include { file }),
                Err(error) => {
                    let (line, what) = place(&error.to_string());
                    return Err(ZoneFileError::Syntax { file, line, what });
                }
            }
        }
        let has = |sets: &Vec<RecordSet>, rtype| sets.iter().any(|set| set.rtype == rtype);
        if !nodes.values().any(|sets| has(sets, Rtype::SOA)) {
            return Err(ZoneFileError::NoSoa { file });
        }
        let mut mixed = nodes.iter().filter(|(_, sets)| has(sets, Rtype::CNAME));
        if let Some((name, _)) = mixed.find(|(_, sets)| sets.len() > 1) {
            let name = Name::from_slice(name).map(ToString::to_string);
            let name = name.unwrap_or_default();
            return Err(ZoneFileError::CnameAndMore { file, name });
        }
        Ok(Self {
            nodes,
            speaker: match resolver {
                true => Speaker::Resolver,
                false => Speaker::Authority,
            },
        })
    }
}

/// Line and text of the scanner's `LINE:COLUMN: TEXT`. It tells where it is, which is at
/// the start of the next line once a line's last word is read.
fn place(error: &str) -> (u32, String) {
    let mut parts = error.splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
    match (number(), number(), parts.next()) {
        (Some(line), Some(1), Some(what)) => {
            (line.saturating_sub(1).max(1), what.trim().to_owned())
        }
        (Some(line), Some(_), Some(what)) => (line, what.trim().to_owned()),
        _ => (1, error.to_owned()),
    }
}

fn add(nodes: &mut Nodes, record: &ScannedRecord) {
    let mut owner: Vec<u8> = record.owner().to_vec().into_octets();
    owner.make_ascii_lowercase();
    let mut rdata = Vec::new();
    let Ok(()) = record.data().compose_rdata(&mut rdata);
    let (rtype, ttl) = (record.rtype(), record.ttl().as_secs());
    // Names above it exist.
    let mut above = parent(&owner);
    while let Some(name) = above {
        nodes.entry(name.to_vec()).or_default();
        above = parent(name);
    }
    let sets = nodes.entry(owner).or_default();
    match sets.iter_mut().find(|set| set.rtype == rtype) {
        Some(set) => {
            set.ttl = set.ttl.min(ttl);
            if !set.rdata.contains(&rdata) {
                set.rdata.push(rdata);
            }
        }
        None => sets.push(RecordSet {
            rtype,
            ttl,
            rdata: vec![rdata],
        }),
    }
}

/// The name without its first label; none for the root.
fn parent(name: &[u8]) -> Option<&[u8]> {
    let length = usize::from(*name.first()?);
    match length {
        0 => None,
        _ => name.get(1 + length..),
    }
}

impl LocalAnswers for Plugin {
    fn answer(&self, query: &Query<'_>, _: Time) -> Step {
        let Some(found) = lookup::find(&self.nodes, query) else {
            return Step::Next;
        };
        let mut reply = LocalReply::new(query, self.speaker);
        if found.outcome == Outcome::NoName {
            reply.rcode(Rcode::NXDOMAIN);
        }
        self.records(query, &found, &mut reply);
        Step::Answer(reply.finish())
    }
}

impl Plugin {
    fn records(&self, query: &Query<'_>, found: &Found<'_>, reply: &mut LocalReply) {
        for (owner, set) in &found.answers {
            // The first name is written as the client wrote it.
            let asked = owner.as_slice() == query.key().as_bytes();
            let owner = if asked { query.name() } else { owner };
            for rdata in &set.rdata {
                reply.record(Section::Answer, owner, set.rtype, set.ttl, rdata);
            }
        }
        if let Some((zone, soa)) = found.denial {
            for rdata in &soa.rdata {
                let ttl = soa.ttl.min(minimum(rdata));
                reply.record(Section::Authority, zone, Rtype::SOA, ttl, rdata);
            }
        }
    }
}

/// The last field of a SOA record: how long a denial holds at most (RFC 2308 §5).
fn minimum(soa: &[u8]) -> u32 {
    let octets = soa.last_chunk::<4>().copied();
    octets.map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests;
