//! Answers fitted to whoever asked: ID, spelling, flags, size, OPT record.

use domain::base::iana::{OptRcode, Rcode};
use domain::base::{Header, Message};

use super::{Edns, HEADER, Query, QueryError, walk};
use crate::upstream::Transport;

/// Octets of an OPT record without options.
const OPT: usize = 11;
/// What a datagram may be without EDNS (RFC 1035 §4.2.1).
const PLAIN_DATAGRAM: u16 = 512;

/// How large an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The whole message, octets.
    pub message: usize,
    /// What the answer's OPT record says; none where the query had none.
    pub edns: Option<Edns>,
}

impl Limits {
    /// What the client takes: the size of its OPT record, 512 octets without one,
    /// 65535 over TCP. `ceiling` is the block's `bufsize`.
    #[must_use]
    pub fn new(edns: Option<Edns>, transport: Transport, ceiling: Option<u16>) -> Self {
        let edns = edns.map(|edns| Edns {
            udp_size: ceiling.map_or(edns.udp_size, |most| edns.udp_size.min(most)),
            ..edns
        });
        let message = match transport {
            Transport::Tcp => u16::MAX,
            Transport::Udp => edns.map_or(PLAIN_DATAGRAM, |edns| edns.udp_size),
        };
        Self {
            message: usize::from(message),
            edns,
        }
    }
}

/// Fits the whole message in `out`, which has no OPT record, to `query`: its ID, RD
/// and CD, its spelling of the name, cut behind a whole record with TC where it would be too large, and an OPT record
/// if the query had one.
///
/// `out` is an answer to the same question. Nothing is allocated where it has room
/// for the OPT record.
pub fn fit(query: &Query<'_>, limits: Limits, out: &mut Vec<u8>) {
    let asked = query.header();
    let question = query.question();
    out[HEADER..HEADER + question.len()].copy_from_slice(question);
    let header = Header::for_message_slice_mut(out);
    header.set_id(asked.id());
    header.set_rd(asked.rd());
    header.set_cd(asked.cd());
    let room = limits.message - limits.edns.map_or(0, |_| OPT);
    if out.len() > room {
        cut(out, HEADER + question.len(), room);
    }
    if let Some(edns) = limits.edns {
        push_opt(out, edns, 0);
    }
}

/// Leaves AD in `out` only to those who asked for it, with AD or DO (RFC 6840 §5.7).
pub fn withhold_ad(query: &Query<'_>, out: &mut [u8]) {
    if !query.header().ad() && !query.dnssec_ok() {
        Header::for_message_slice_mut(out).set_ad(false);
    }
}

/// Cuts `out` behind the last record that ends within `room`, and sets TC.
fn cut(out: &mut Vec<u8>, question_end: usize, room: usize) {
    Header::for_message_slice_mut(out).set_tc(true);
    let mut end = question_end;
    for count_at in [6, 8, 10] {
        let count = walk::u16_at(out, count_at).unwrap_or_default();
        let mut kept = 0;
        while kept < count
            && let Some(record) = walk::record(out, end, &walk::Fields::default())
            && record.end <= room
        {
            end = record.end;
            kept += 1;
        }
        out[count_at..count_at + 2].copy_from_slice(&kept.to_be_bytes());
        if kept < count {
            // What follows is left out too: sections are in order.
            out[count_at + 2..HEADER].fill(0);
            break;
        }
    }
    out.truncate(end);
}

/// Appends an OPT record: version 0, no options, the client's size back as CoreDNS
/// has it.
fn push_opt(out: &mut Vec<u8>, edns: Edns, extended_rcode: u8) {
    let [high, low] = edns.udp_size.to_be_bytes();
    let flags = if edns.dnssec_ok { 0x80 } else { 0 };
    out.extend([0, 0, 41, high, low, extended_rcode, 0, flags, 0, 0, 0]);
    let count = walk::u16_at(out, 10).unwrap_or_default() + 1;
    out[10..HEADER].copy_from_slice(&count.to_be_bytes());
}

/// Makes an answer of the question and an RCODE alone.
pub fn rcode_reply(query: &Query<'_>, rcode: Rcode, limits: Limits, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&query.message()[..4]);
    out.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(query.question());
    reply_flags(out, rcode);
    if let Some(edns) = limits.edns {
        push_opt(out, edns, 0);
    }
}

/// Makes the answer to what is no query: the header alone, or for an EDNS version
/// that isn't known the question and an OPT record of version 0. False if silence
/// is the answer.
pub fn refusal(message: &[u8], error: QueryError, out: &mut Vec<u8>) -> bool {
    let rcode = match error {
        QueryError::Unanswerable => return false,
        QueryError::Malformed => Rcode::FORMERR,
        QueryError::Opcode => Rcode::NOTIMP,
        QueryError::Version => Rcode::NOERROR,
    };
    out.clear();
    out.extend_from_slice(&message[..4]);
    out.extend([0; HEADER - 4]);
    if error == QueryError::Version
        && let Some(end) = walk::question_end(message)
        && let Ok(parsed) = Message::from_slice(message)
        && let Ok(Some(edns)) = Query::edns_of(parsed)
    {
        out.extend_from_slice(&message[HEADER..end]);
        out[5] = 1;
        push_opt(out, edns, OptRcode::BADVERS.ext());
    }
    reply_flags(out, rcode);
    true
}

/// Of the query's flags, opcode, RD and CD stay.
fn reply_flags(out: &mut [u8], rcode: Rcode) {
    let header = Header::for_message_slice_mut(out);
    let (rd, cd, opcode) = (header.rd(), header.cd(), header.opcode());
    header.set_flags(domain::base::header::Flags::default());
    header.set_qr(true);
    header.set_opcode(opcode);
    header.set_rd(rd);
    header.set_cd(cd);
    header.set_rcode(rcode);
}
