//! Answers of a DNS server that are given before its socket: a query that was seen
//! verbatim, but for its ID, gets the answer that the server said it may have.
//!
//! Nothing here knows DNS. The server decides which bytes answer which, for how long,
//! and where in them the seconds are that count down ([`Answer`]).

use crate::address::{Address, Port};
use crate::checksum::Difference;
use crate::ipv4::L3_OFFSET;
use crate::kernel::{Packet, Refused, csum};
use crate::tuple::protocol;

/// Longest query that is looked up, in bytes after its ID.
pub const QUERY: usize = 96;
/// Room for an answer, in bytes after its ID.
pub const ANSWER: usize = 512;
/// TTLs that an answer may have.
pub const TTLS: usize = 8;
/// Answers at a time.
pub const ANSWERS: usize = 1024;

/// Bytes of an ID (RFC 1035, section 4.1.1).
const ID: u32 = 2;
const UDP_HEADER: u32 = 8;
/// Where UDP begins: behind Ethernet, and IPv4 without options.
const L4_OFFSET: u32 = L3_OFFSET + 20;
/// Where the message begins.
const MESSAGE: u32 = L4_OFFSET + UDP_HEADER;
/// What replies leave with: `IPDEFTTL` of `linux/ip.h`.
const TTL: u8 = 64;
/// Don't fragment.
const DF: u8 = 0x40;
const NANOSECONDS: u64 = 1_000_000_000;

/// What is asked of whom: key of [`ANSWERS`](crate::maps::DNS_ANSWERS).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The server's address.
    pub address: Address,
    /// Its port.
    pub port: Port,
    /// Bytes of the query after its ID.
    pub length: u16,
    /// Those bytes, then zeros.
    pub query: [u8; QUERY],
}

impl Question {
    /// `query` is the bytes after the ID; `None` if there are too many, or none.
    #[must_use]
    pub fn new(address: Address, port: Port, query: &[u8]) -> Option<Self> {
        if query.is_empty() {
            return None;
        }
        let mut bytes = [0; QUERY];
        bytes.get_mut(..query.len())?.copy_from_slice(query);
        Some(Self {
            address,
            port,
            length: query.len() as u16,
            query: bytes,
        })
    }
}

/// What is answered: value of [`ANSWERS`](crate::maps::DNS_ANSWERS). Never written in
/// place: an answer that changes is another entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When the TTL was what `ttl` says, in nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
    /// From then on the server is asked again.
    pub until_ns: u64,
    /// TTL at first, in seconds, of every record with an offset.
    pub ttl: u32,
    /// The ones' complement sum of the answer, TTLs left out, minus the query's, in
    /// words as they lie in memory; both without the ID.
    pub difference: Difference,
    /// Where it is counted in [`DNS_HITS`](crate::maps::DNS_HITS).
    pub slot: u32,
    /// Bytes of the answer after its ID.
    pub length: u16,
    /// How many of `offsets` there are.
    pub ttls: u16,
    /// Where TTLs are in `answer`, in bytes.
    pub offsets: [u16; TTLS],
    /// The answer after its ID, then anything.
    pub answer: [u8; ANSWER],
}

impl Answer {
    /// The answer to `query`, both in bytes after the ID. `None` unless it is longer
    /// than that (a packet that grows loses the sum that a device made of it), fits, and
    /// has its TTLs within. Times and `slot` are 0.
    #[must_use]
    pub fn new(query: &[u8], answer: &[u8], ttl: u32, offsets: &[u16]) -> Option<Self> {
        if answer.len() <= query.len() {
            return None;
        }
        let mut made = Self {
            since_ns: 0,
            until_ns: 0,
            ttl,
            difference: Difference::NONE,
            slot: 0,
            length: answer.len() as u16,
            ttls: offsets.len() as u16,
            offsets: [0; TTLS],
            answer: [0; ANSWER],
        };
        made.offsets
            .get_mut(..offsets.len())?
            .copy_from_slice(offsets);
        made.answer.get_mut(..answer.len())?.copy_from_slice(answer);
        for &offset in offsets {
            let at = usize::from(offset);
            if at + 4 > answer.len() {
                return None;
            }
            made.answer[at..at + 4].fill(0);
        }
        made.difference = Difference::of_bytes(query, &made.answer[..answer.len()]);
        Some(made)
    }
}

/// The server's answers.
pub trait Answers {
    /// Nanoseconds of `CLOCK_MONOTONIC`, as of the last timer tick.
    fn now_ns(&self) -> u64;
    /// The answer to a question.
    fn find(&self, question: &Question) -> Option<&Answer>;
    /// Counts one that is given.
    fn count(&self, slot: u32);
}

/// A packet that can become its own answer.
pub trait Datagram: Packet {
    /// Copies `length` bytes at `offset` out; false past the end.
    fn load_query(&self, offset: u32, length: u32, into: &mut [u8; QUERY]) -> bool;

    /// Makes the packet `length` bytes long, Ethernet header included.
    ///
    /// # Errors
    /// [`Refused`] without memory for it; the packet is as it was.
    fn resize(&mut self, length: u32) -> Result<(), Refused>;

    /// Writes the first `length` bytes of `answer` at `offset`.
    ///
    /// # Errors
    /// [`Refused`] past the end.
    fn store_answer(
        &mut self,
        offset: u32,
        answer: &[u8; ANSWER],
        length: u32,
    ) -> Result<(), Refused>;
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the server's, untouched.
    Pass,
    /// It is the answer: back out of the interface that it came in through.
    Reply,
    /// It is half an answer.
    Drop,
}

/// Ethernet, IPv4 and UDP headers.
type Headers = [u8; MESSAGE as usize];

/// Makes the packet the answer, where there is one.
#[inline(always)]
pub fn answer<P: Datagram, A: Answers>(packet: &mut P, answers: &A) -> Verdict {
    let Some(headers) = packet.load::<{ MESSAGE as usize }>(0) else {
        return Verdict::Pass;
    };
    if !is_plain_udp(packet, &headers) {
        return Verdict::Pass;
    }
    let length = packet.length().wrapping_sub(MESSAGE + ID);
    let mut question = Question {
        address: Address::from_bytes([headers[30], headers[31], headers[32], headers[33]]),
        port: Port::from_bytes([headers[36], headers[37]]),
        length: length as u16,
        query: [0; QUERY],
    };
    if !packet.load_query(MESSAGE + ID, length, &mut question.query) {
        return Verdict::Pass;
    }
    let now = answers.now_ns();
    let Some(answer) = answers.find(&question) else {
        return Verdict::Pass;
    };
    if now >= answer.until_ns {
        return Verdict::Pass;
    }
    let size = MESSAGE + ID + u32::from(answer.length);
    if packet.resize(size).is_err() {
        return Verdict::Pass;
    }
    match write(packet, &headers, answer, now) {
        Ok(()) => {
            answers.count(answer.slot);
            Verdict::Reply
        }
        Err(Refused) => Verdict::Drop,
    }
}

/// Whether it is a whole UDP datagram for this host in one IPv4 packet without options,
/// and nothing else is in the frame.
#[inline(always)]
fn is_plain_udp<P: Packet>(packet: &P, headers: &Headers) -> bool {
    let total = u32::from(u16::from_be_bytes([headers[16], headers[17]]));
    let udp = u32::from(u16::from_be_bytes([headers[38], headers[39]]));
    [headers[12], headers[13], headers[14]] == [0x08, 0x00, 0x45]
        && headers[23] == protocol::UDP
        // Neither a fragment nor one to come.
        && [headers[20] & 0x3f, headers[21]] == [0, 0]
        && L3_OFFSET + total == packet.length()
        && L4_OFFSET + udp == packet.length()
        && packet.gso_size() == 0
        && packet.is_for_this_host()
}

/// Turns the headers round and puts the answer behind them. The ID stays.
#[inline(always)]
fn write<P: Datagram>(
    packet: &mut P,
    query: &Headers,
    answer: &Answer,
    now: u64,
) -> Result<(), Refused> {
    let length = u32::from(answer.length);
    packet.store_answer(MESSAGE + ID, &answer.answer, length)?;
    let age = now.saturating_sub(answer.since_ns) / NANOSECONDS;
    let ttl = answer.ttl.saturating_sub(age as u32).to_be_bytes();
    let mut difference = answer.difference;
    for (index, offset) in answer.offsets.iter().enumerate() {
        if index >= usize::from(answer.ttls) {
            break;
        }
        let at = u32::from(*offset);
        packet.store(MESSAGE + ID + at, &ttl)?;
        difference = difference.and(of_bytes_at(at, ttl));
    }
    let old = u16::from_ne_bytes([query[38], query[39]]);
    let udp = (UDP_HEADER + ID + length) as u16;
    let new = udp.to_be();
    packet.store(0, &turned(query, udp))?;
    let checksum = L4_OFFSET + 6;
    let difference = difference.and(Difference::of_word(old, new));
    let flags = csum::MARK_MANGLED_0;
    packet.l4_csum_replace(checksum, 0, difference.sum(), flags | csum::DIFFERENCE)?;
    // The length is in the pseudo-header too.
    let flags = flags | csum::PSEUDO_HDR | csum::SIZE_2;
    packet.l4_csum_replace(checksum, old.into(), new.into(), flags)
}

/// Four bytes where there were zeros: words begin at even offsets.
#[inline(always)]
const fn of_bytes_at(offset: u32, [a, b, c, d]: [u8; 4]) -> Difference {
    let word = if offset & 1 == 0 {
        [a, b, c, d]
    } else {
        [b, a, d, c]
    };
    Difference::of_address(0, u32::from_ne_bytes(word))
}

/// The headers of an answer with that much UDP. The UDP checksum is the query's still.
#[inline(always)]
fn turned(query: &Headers, udp: u16) -> Headers {
    let mut headers = *query;
    let mut turn = |a: usize, b: usize, size: usize| {
        let mut at = 0;
        while at < size {
            (headers[a + at], headers[b + at]) = (query[b + at], query[a + at]);
            at += 1;
        }
    };
    // MAC addresses, IPv4 addresses, ports.
    turn(0, 6, 6);
    turn(26, 30, 4);
    turn(34, 36, 2);
    [headers[16], headers[17]] = (udp + 20).to_be_bytes();
    // No type of service, and the query's word on fragments.
    headers[15] = 0;
    headers[20] &= DF;
    headers[22] = TTL;
    [headers[24], headers[25]] = [0, 0];
    let mut sum = Difference::NONE;
    for at in 0..10 {
        let word = u16::from_ne_bytes([headers[14 + 2 * at], headers[15 + 2 * at]]);
        sum = sum.and(Difference::of_word(0xffff, word));
    }
    // From 0xffff, the checksum of nothing.
    [headers[24], headers[25]] = sum.apply(0xffff).to_ne_bytes();
    [headers[38], headers[39]] = udp.to_be_bytes();
    headers
}
