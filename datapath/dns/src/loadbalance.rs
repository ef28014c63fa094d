//! The `loadbalance` plugin: addresses and mail servers in random order, CNAMEs before
//! them.
//!
//! It sees every answer, those out of the cache too. So addresses of one name change
//! places where they are, without allocation: they are of one length, and no name
//! points into them. What else there is to sort (MX, CNAMEs that stand behind, addresses
//! of several names) is taken apart and put together again.

use domain::base::iana::{Rcode, Rtype};
use domain::base::name::ToName as _;
use domain::base::rdata::ComposeRecordData as _;
use domain::base::{Message, ParsedRecord};
use domain::rdata::AllRecordData;

const HEADER: usize = 12;
/// Addresses of one name that are put in random order; more stay as they are.
const MAX_ADDRESSES: usize = 64;

/// Puts the answer section of `message` in order. What cannot be read stays as it is.
pub fn shuffle(message: &mut Vec<u8>) {
    let Some(head) = message.get(..HEADER) else {
        return;
    };
    let answers = u16::from_be_bytes([head[6], head[7]]);
    if answers < 2 || Rcode::masked_from_int(head[3]) != Rcode::NOERROR {
        return;
    }
    match plan(message, answers) {
        Some(Plan::InPlace(set)) => set.shuffle(message),
        Some(Plan::Rebuild) => {
            if let Some(rebuilt) = rebuild(message) {
                *message = rebuilt;
            }
        }
        None => {}
    }
}

/// How a message is put in order.
enum Plan {
    InPlace(Addresses),
    Rebuild,
}

/// Where the addresses of one name are.
struct Addresses {
    at: [u16; MAX_ADDRESSES],
    count: usize,
    length: usize,
}

impl Addresses {
    fn shuffle(&self, message: &mut [u8]) {
        for last in (1..self.count).rev() {
            let other = fastrand::usize(..=last);
            let (a, b) = (usize::from(self.at[last]), usize::from(self.at[other]));
            if a != b {
                for octet in 0..self.length {
                    message.swap(a + octet, b + octet);
                }
            }
        }
    }
}

/// What is to be done; none if there is nothing, or the message cannot be read.
fn plan(message: &[u8], answers: u16) -> Option<Plan> {
    let mut at = name_end(message, HEADER)? + 4;
    let mut set = Addresses {
        at: [0; MAX_ADDRESSES],
        count: 0,
        length: 0,
    };
    let mut first: Option<(&[u8], u16)> = None;
    for _ in 0..answers {
        let owner_end = name_end(message, at)?;
        let owner = message.get(at..owner_end)?;
        let fixed = message.get(owner_end..owner_end + 10)?;
        let rtype = u16::from_be_bytes([fixed[0], fixed[1]]);
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let data = owner_end + 10;
        at = data + length;
        match Rtype::from_int(rtype) {
            Rtype::MX => return Some(Plan::Rebuild),
            Rtype::A | Rtype::AAAA => {}
            // A CNAME, or anything else, behind an address.
            _ if first.is_some() => return Some(Plan::Rebuild),
            _ => continue,
        }
        if *first.get_or_insert((owner, rtype)) != (owner, rtype) {
            return Some(Plan::Rebuild);
        }
        set.length = length;
        *set.at.get_mut(set.count)? = u16::try_from(data).ok()?;
        set.count += 1;
    }
    message.get(..at)?;
    let right = matches!((first, set.length), (Some((_, 1)), 4) | (Some((_, 28)), 16));
    (right && set.count > 1).then_some(Plan::InPlace(set))
}

/// Where the name at `at` ends; that it can be read is not looked at.
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

/// The message with its answers in order, and without compression.
fn rebuild(message: &[u8]) -> Option<Vec<u8>> {
    let parsed = Message::from_octets(message).ok()?;
    let (question, answer, authority, additional) = parsed.sections().ok()?;
    let mut answers = Vec::new();
    for record in answer {
        let record = record.ok()?;
        answers.push((record.rtype(), compose(&record)?));
    }
    let take = |wanted: fn(Rtype) -> bool| -> Vec<Vec<u8>> {
        let those = answers.iter().filter(|(rtype, _)| wanted(*rtype));
        those.map(|(_, record)| record.clone()).collect()
    };
    let mut addresses = take(|rtype| matches!(rtype, Rtype::A | Rtype::AAAA));
    let mut mail = take(|rtype| rtype == Rtype::MX);
    fastrand::shuffle(&mut addresses);
    fastrand::shuffle(&mut mail);
    let names = take(|rtype| rtype == Rtype::CNAME);
    let rest = take(|rtype| !matches!(rtype, Rtype::CNAME | Rtype::A | Rtype::AAAA | Rtype::MX));
    let mut rebuilt = message.get(..HEADER)?.to_vec();
    for question in question {
        let question = question.ok()?;
        rebuilt.extend_from_slice(question.qname().to_vec().as_slice());
        rebuilt.extend(question.qtype().to_int().to_be_bytes());
        rebuilt.extend(question.qclass().to_int().to_be_bytes());
    }
    for record in [names, rest, addresses, mail].concat() {
        rebuilt.extend(record);
    }
    for record in authority.chain(additional) {
        rebuilt.extend(compose(&record.ok()?)?);
    }
    (rebuilt.len() <= usize::from(u16::MAX)).then_some(rebuilt)
}

fn compose(record: &ParsedRecord<'_, &[u8]>) -> Option<Vec<u8>> {
    let record = record.to_record::<AllRecordData<_, _>>().ok()??;
    let mut data = Vec::new();
    let Ok(()) = record.data().compose_rdata(&mut data);
    let mut composed = record.owner().to_vec().into_octets();
    composed.extend(record.rtype().to_int().to_be_bytes());
    composed.extend(record.class().to_int().to_be_bytes());
    composed.extend(record.ttl().as_secs().to_be_bytes());
    composed.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
    composed.extend(data);
    Some(composed)
}

#[cfg(test)]
mod tests;
