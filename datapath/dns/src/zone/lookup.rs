//! From a question to record sets (RFC 1034 §4.3.2, RFC 4592).

use domain::base::iana::Rtype;

use super::{Nodes, RecordSet, parent};
use crate::message::Query;

/// CNAMEs that are followed; a longer chain, or a circle, ends there.
const MAX_CHAIN: usize = 8;

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The last name exists.
    Name,
    /// It doesn't.
    NoName,
}

/// Record sets of an answer.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) outcome: Outcome,
    /// With the names that they are answered for, CNAMEs first.
    pub(super) answers: Vec<(Vec<u8>, &'a RecordSet)>,
    /// Zone and SOA, when the last name has no such records.
    pub(super) denial: Option<(&'a [u8], &'a RecordSet)>,
}

/// The answer to `query`; none if it lies in none of the zones.
pub(super) fn find<'a>(nodes: &'a Nodes, query: &Query<'_>) -> Option<Found<'a>> {
    let mut name = query.key().as_bytes().to_vec();
    let mut found = Found {
        outcome: Outcome::Name,
        answers: Vec::new(),
        denial: None,
    };
    zone_of(nodes, &name)?;
    for _ in 0..=MAX_CHAIN {
        let Some(sets) = sets_of(nodes, &name) else {
            found.outcome = Outcome::NoName;
            break;
        };
        let before = found.answers.len();
        let rtype = query.rtype();
        let wanted = sets
            .iter()
            .filter(|set| rtype == Rtype::ANY || set.rtype == rtype);
        found.answers.extend(wanted.map(|set| (name.clone(), set)));
        if found.answers.len() > before {
            return Some(found);
        }
        let Some(alias) = sets.iter().find(|set| set.rtype == Rtype::CNAME) else {
            break;
        };
        found.answers.push((name, alias));
        // A resolver has the second of two CNAMEs by chance; here it is the first.
        let mut target = alias.rdata.first()?.clone();
        target.make_ascii_lowercase();
        // Elsewhere: whoever asks may go on there.
        if zone_of(nodes, &target).is_none() || found.answers.len() > MAX_CHAIN {
            return Some(found);
        }
        name = target;
    }
    found.denial = zone_of(nodes, &name);
    Some(found)
}

/// Records of a name: its own, or those of the wildcard that stands for it; none if it
/// doesn't exist.
fn sets_of<'a>(nodes: &'a Nodes, name: &[u8]) -> Option<&'a [RecordSet]> {
    if let Some(sets) = nodes.get(name) {
        return Some(sets);
    }
    let mut encloser = parent(name);
    while let Some(above) = encloser {
        if nodes.contains_key(above) {
            let wildcard = [b"\x01*", above].concat();
            return nodes.get(&wildcard).map(Vec::as_slice);
        }
        encloser = parent(above);
    }
    None
}

/// The zone that a name lies in, and its SOA.
fn zone_of<'a>(nodes: &'a Nodes, name: &[u8]) -> Option<(&'a [u8], &'a RecordSet)> {
    let mut at = Some(name);
    while let Some(name) = at {
        if let Some((zone, sets)) = nodes.get_key_value(name)
            && let Some(soa) = sets.iter().find(|set| set.rtype == Rtype::SOA)
        {
            return Some((zone, soa));
        }
        at = parent(name);
    }
    None
}
