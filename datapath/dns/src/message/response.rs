//! What upstream servers and local plugins say, read once and brought into the form
//! that the cache keeps: no OPT record, every TTL's place known.

use std::time::{SystemTime, UNIX_EPOCH};

use domain::base::iana::{Rcode, Rtype};
use domain::base::message_builder::MessageBuilder;
use domain::base::{Header, Message};
use domain::rdata::AllRecordData;

use super::{HEADER, Query, walk};

/// What sort of answer it is, as CoreDNS's `response.Typify` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// NOERROR with an answer, or with neither answer nor SOA.
    NoError,
    /// NOERROR, no answer, NS records and no SOA.
    Delegation,
    /// NOERROR, no answer, SOA.
    NoData,
    /// NXDOMAIN with SOA.
    NameError,
    /// SERVFAIL or NOTIMP.
    ServerError,
    /// Anything else: other errors, NXDOMAIN without SOA, signatures that are not
    /// valid now where the client asked for DNSSEC.
    Other,
}

/// Why an upstream's answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// FORMERR to the client: a query, or an answer to some other question.
    #[error("answer to another question")]
    Mismatch,
    /// Sections that can't be read.
    #[error("malformed answer")]
    Malformed,
}

/// Sections that follow the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The answer.
    Answer,
    /// SOA or NS records.
    Authority,
    /// The rest.
    Additional,
}

/// An answer as it is kept.
#[derive(Clone, Debug)]
pub struct Response {
    message: Vec<u8>,
    ttls: Vec<u16>,
    kind: Kind,
    lowest_ttl: Option<u32>,
}

impl Response {
    /// Reads the answer to `query`.
    ///
    /// # Errors
    /// See [`ResponseError`].
    pub fn read(message: Vec<u8>, query: &Query<'_>) -> Result<Self, ResponseError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        // RFC 4034 §3.1.5: times of signatures are modulo 2^32.
        Self::read_at(message, query, now as u32)
    }

    fn read_at(message: Vec<u8>, query: &Query<'_>, now: u32) -> Result<Self, ResponseError> {
        if message.len() < HEADER || !Header::for_message_slice(&message).qr() {
            return Err(ResponseError::Mismatch);
        }
        if walk::question_end(&message).is_none()
            || !message[HEADER..].starts_with_ignoring_case(query.question())
        {
            return Err(ResponseError::Mismatch);
        }
        let question_end = HEADER + query.question().len();
        let mut read = Reading::new(question_end);
        match read.sections(&message, now)? {
            Opt::None => {}
            Opt::Last(start) => {
                return Self::without_last(message, start, read, query);
            }
            Opt::Between => return Self::read_at(rewritten(&message)?, query, now),
        }
        Ok(read.finish(message, query))
    }

    /// Cuts the OPT record, the last one, off.
    fn without_last(
        mut message: Vec<u8>,
        start: usize,
        read: Reading,
        query: &Query<'_>,
    ) -> Result<Self, ResponseError> {
        message.truncate(start);
        let additional = walk::u16_at(&message, 10).ok_or(ResponseError::Malformed)? - 1;
        message[10..12].copy_from_slice(&additional.to_be_bytes());
        Ok(read.finish(message, query))
    }

    /// The message: no OPT record, nothing after its last record.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Where TTLs are.
    #[must_use]
    pub fn ttl_offsets(&self) -> &[u16] {
        &self.ttls
    }

    /// What sort of answer it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// RCODE, without the OPT record's part of it.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        self.header().rcode()
    }

    /// Flags.
    #[must_use]
    pub fn header(&self) -> Header {
        *Header::for_message_slice(&self.message)
    }

    /// The lowest TTL in any section, seconds; none without records.
    #[must_use]
    pub const fn lowest_ttl(&self) -> Option<u32> {
        self.lowest_ttl
    }

    /// Gives all records one TTL, in seconds.
    pub fn set_ttl(&mut self, ttl: u32) {
        for &at in &self.ttls {
            let at = usize::from(at);
            self.message[at..at + 4].copy_from_slice(&ttl.to_be_bytes());
        }
    }

    /// The message, given away.
    #[must_use]
    pub fn into_message(self) -> Vec<u8> {
        self.message
    }
}

/// Where the OPT record was found.
enum Opt {
    None,
    /// The last record, where it begins.
    Last(usize),
    /// Other records follow it.
    Between,
}

/// What is gathered on the way through a message.
struct Reading {
    end: usize,
    fields: walk::Fields,
    ttls: Vec<u16>,
    lowest: Option<u32>,
    soa: bool,
    ns: bool,
    bad_signature: bool,
}

impl Reading {
    fn new(question_end: usize) -> Self {
        Self {
            end: question_end,
            fields: walk::Fields::default(),
            ttls: Vec::new(),
            lowest: None,
            soa: false,
            ns: false,
            bad_signature: false,
        }
    }

    fn sections(&mut self, message: &[u8], now: u32) -> Result<Opt, ResponseError> {
        let mut opt = Opt::None;
        for (section, count_at) in [
            (Section::Answer, 6),
            (Section::Authority, 8),
            (Section::Additional, 10),
        ] {
            let count = walk::u16_at(message, count_at).ok_or(ResponseError::Malformed)?;
            for _ in 0..count {
                let record = walk::record(message, self.end, &self.fields)
                    .ok_or(ResponseError::Malformed)?;
                self.fields.add(&record);
                if matches!(opt, Opt::Last(_)) {
                    opt = Opt::Between;
                }
                if record.rtype == Rtype::OPT.to_int() {
                    if section != Section::Additional {
                        return Err(ResponseError::Malformed);
                    }
                    opt = match opt {
                        Opt::None => Opt::Last(record.start),
                        _ => Opt::Between,
                    };
                } else {
                    self.record(message, section, &record, now)?;
                }
                self.end = record.end;
            }
        }
        Ok(opt)
    }

    fn record(
        &mut self,
        message: &[u8],
        section: Section,
        record: &walk::Record,
        now: u32,
    ) -> Result<(), ResponseError> {
        let at = u16::try_from(record.ttl_at).map_err(|_| ResponseError::Malformed)?;
        self.ttls.push(at);
        // RFC 2181 §8: a TTL with its highest bit set is zero.
        let ttl = if record.ttl >> 31 == 0 { record.ttl } else { 0 };
        self.lowest = Some(self.lowest.map_or(ttl, |lowest| lowest.min(ttl)));
        match Rtype::from_int(record.rtype) {
            Rtype::SOA if section == Section::Authority => self.soa = true,
            Rtype::NS if section == Section::Authority => self.ns = true,
            Rtype::RRSIG => {
                let time = |at| walk::u32_at(message, at).ok_or(ResponseError::Malformed);
                let (expires, from) = (time(record.data + 8)?, time(record.data + 12)?);
                // Serial number arithmetic (RFC 1982).
                let later = |a: u32, b: u32| (a.wrapping_sub(b) as i32) > 0;
                self.bad_signature |= later(now, expires) || later(from, now);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self, mut message: Vec<u8>, query: &Query<'_>) -> Response {
        message.truncate(self.end.min(message.len()));
        let header = *Header::for_message_slice(&message);
        let answers = walk::u16_at(&message, 6).unwrap_or_default() > 0;
        let kind = match header.rcode() {
            // Transfers are no answers that could be kept.
            _ if matches!(query.rtype(), Rtype::AXFR | Rtype::IXFR) => Kind::Other,
            _ if self.bad_signature && query.dnssec_ok() => Kind::Other,
            Rcode::NOERROR if answers => Kind::NoError,
            Rcode::NOERROR if self.soa => Kind::NoData,
            Rcode::NOERROR if self.ns => Kind::Delegation,
            Rcode::NOERROR => Kind::NoError,
            Rcode::NXDOMAIN if self.soa => Kind::NameError,
            Rcode::SERVFAIL | Rcode::NOTIMP => Kind::ServerError,
            _ => Kind::Other,
        };
        Response {
            message,
            ttls: self.ttls,
            kind,
            lowest_ttl: self.lowest,
        }
    }
}

/// The same message composed anew, its OPT records left out: records behind one may
/// point to names behind it.
fn rewritten(message: &[u8]) -> Result<Vec<u8>, ResponseError> {
    let bad = |_| ResponseError::Malformed;
    let parsed = Message::from_slice(message).map_err(|_| ResponseError::Malformed)?;
    let mut builder = MessageBuilder::new_vec();
    *builder.header_mut() = parsed.header();
    let mut builder = builder.question();
    for question in parsed.question() {
        let question = question.map_err(bad)?;
        builder
            .push(question)
            .map_err(|_| ResponseError::Malformed)?;
    }
    let (_, answer, authority, additional) = parsed.sections().map_err(bad)?;
    let mut builder = builder.answer();
    for record in answer.limit_to::<AllRecordData<_, _>>() {
        builder
            .push(record.map_err(bad)?)
            .map_err(|_| ResponseError::Malformed)?;
    }
    let mut builder = builder.authority();
    for record in authority.limit_to::<AllRecordData<_, _>>() {
        builder
            .push(record.map_err(bad)?)
            .map_err(|_| ResponseError::Malformed)?;
    }
    let mut builder = builder.additional();
    for record in additional.limit_to::<AllRecordData<_, _>>() {
        let record = record.map_err(bad)?;
        if record.rtype() != Rtype::OPT {
            builder.push(record).map_err(|_| ResponseError::Malformed)?;
        }
    }
    Ok(builder.finish())
}

/// Octets of names and questions.
trait IgnoringCase {
    fn starts_with_ignoring_case(&self, start: &[u8]) -> bool;
}

impl IgnoringCase for [u8] {
    fn starts_with_ignoring_case(&self, start: &[u8]) -> bool {
        // Type and class are compared so too: that their low octets are letters
        // of either case must not make one type pass for another.
        let Some(ours) = self.get(..start.len()) else {
            return false;
        };
        let (name, rest) = ours.split_at(start.len() - 4);
        let (start_name, start_rest) = start.split_at(start.len() - 4);
        name.eq_ignore_ascii_case(start_name) && rest == start_rest
    }
}
