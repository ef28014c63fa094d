//! Messages that plugins make: the question as it came, records without compression,
//! as CoreDNS sends what fits without.

use domain::base::iana::{Class, Rcode, Rtype};

use crate::message::Query;

const HEADER: usize = 12;
/// Octets that a message may have.
const MAX_MESSAGE: usize = u16::MAX as usize;

/// Sections of a message, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

impl Section {
    /// Where the header counts its records.
    const fn count_at(self) -> usize {
        match self {
            Self::Answer => 6,
            Self::Authority => 8,
            Self::Additional => 10,
        }
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// The owner of the zone: AA.
    Authority,
    /// A server that asked around: RA.
    Resolver,
}

/// A message in the making. Records are to be added section by section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalReply {
    message: Vec<u8>,
    class: Class,
    last: Section,
}

impl LocalReply {
    pub(crate) fn new(query: &Query<'_>, speaker: Speaker) -> Self {
        let mut message = Vec::with_capacity(512);
        let asked = query.header();
        message.extend_from_slice(&query.message()[..2]);
        let spoken = match speaker {
            Speaker::Authority => (0x04, 0),
            Speaker::Resolver => (0, 0x80),
        };
        message.push(0x80 | spoken.0 | u8::from(asked.rd()));
        message.push(spoken.1 | u8::from(asked.cd()) << 4);
        message.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend_from_slice(query.question());
        Self {
            message,
            class: Class::IN,
            last: Section::Answer,
        }
    }

    /// Class of the records to come; IN unless set.
    pub(crate) fn class(&mut self, class: Class) {
        self.class = class;
    }

    /// Sets TC: records are missing.
    pub(crate) fn truncated(&mut self) {
        self.message[2] |= 0x02;
    }

    /// Sets the RCODE, of which the header has four bits.
    pub(crate) fn rcode(&mut self, rcode: Rcode) {
        self.message[3] = self.message[3] & 0xf0 | rcode.to_int() & 0xf;
    }

    /// Adds a record, whose names are uncompressed. One that doesn't fit any more is
    /// left out, and TC set.
    pub(crate) fn record(
        &mut self,
        section: Section,
        owner: &[u8],
        rtype: Rtype,
        ttl: u32,
        rdata: &[u8],
    ) {
        debug_assert!(section >= self.last, "sections come in order");
        self.last = section;
        let Ok(length) = u16::try_from(rdata.len()) else {
            self.truncated();
            return;
        };
        if self.message.len() + owner.len() + 10 + rdata.len() > MAX_MESSAGE {
            self.truncated();
            return;
        }
        self.message.extend_from_slice(owner);
        self.message
            .extend_from_slice(&rtype.to_int().to_be_bytes());
        self.message
            .extend_from_slice(&self.class.to_int().to_be_bytes());
        self.message.extend_from_slice(&ttl.to_be_bytes());
        self.message.extend_from_slice(&length.to_be_bytes());
        self.message.extend_from_slice(rdata);
        self.count(section);
    }

    fn count(&mut self, section: Section) {
        let at = section.count_at();
        let count = u16::from_be_bytes([self.message[at], self.message[at + 1]]);
        // A record has 11 octets at least, so 64 KiB hold no more than can be counted.
        let count = count.saturating_add(1).to_be_bytes();
        self.message[at..at + 2].copy_from_slice(&count);
    }

    /// Whether the answer section has records.
    pub(crate) fn has_answers(&self) -> bool {
        self.message[6..8] != [0, 0]
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        debug_assert!(self.message.len() >= HEADER, "made with a header");
        self.message
    }
}
