//! Answers before the socket: what a query becomes, byte by byte, and what is left alone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Ipv4Addr;

use lab_datapath_common::Address;
use lab_datapath_common::dns::{
    ANSWER, ANSWERS, Answer, Answers, Datagram as Growing, QUERY, Question, TTLS, Verdict, answer,
};
use lab_datapath_common::kernel::{Packet as _, Refused};
use proptest::prelude::*;

use crate::frame::{Checksum, Datagram, Socket, sum, tcp, udp};
use crate::host::{Host, Node, Skb, Summed};

const CLIENT: Socket = (Ipv4Addr::new(10, 244, 1, 10), 40000);
const SERVER: Socket = (Ipv4Addr::new(10, 244, 1, 53), 53);
const SECOND: u64 = 1_000_000_000;
/// One question, `a. A`, with RD.
const ASKED: &[u8] = &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
/// Where the TTL is in [`answered`].
const TTL_AT: u16 = 23;

/// The answer: one A record.
fn answered(ttl: u32) -> Vec<u8> {
    let mut answer = ASKED.to_vec();
    (answer[0], answer[1], answer[5]) = (0x85, 0x80, 1);
    answer.extend([0xc0, 12, 0, 1, 0, 1]);
    assert_eq!(answer.len(), usize::from(TTL_AT));
    answer.extend(ttl.to_be_bytes());
    answer.extend([0, 4, 192, 0, 2, 7]);
    answer
}

/// A server's answers at one moment.
#[derive(Default)]
struct Server {
    now_ns: u64,
    answers: HashMap<Question, Answer>,
    hits: RefCell<HashMap<u32, u32>>,
}

impl Server {
    /// At [`SERVER`], kept at 100 s, good until 130 s.
    fn with(query: &[u8], answer: &[u8], ttl: u32, offsets: &[u16]) -> Self {
        let question = Question::new(Address::from(SERVER.0), SERVER.1.into(), query);
        let mut answer = Answer::new(query, answer, ttl, offsets).expect("one that can be kept");
        (answer.since_ns, answer.until_ns) = (100 * SECOND, 130 * SECOND);
        answer.slot = 7;
        Self {
            now_ns: 100 * SECOND,
            answers: HashMap::from([(question.expect("not too long"), answer)]),
            hits: RefCell::default(),
        }
    }

    fn at(mut self, now_ns: u64) -> Self {
        self.now_ns = now_ns;
        self
    }

    fn run(&self, skb: &mut Skb) -> Verdict {
        let node = Node::default();
        answer(&mut Host { node: &node, skb }, self)
    }

    /// What becomes of one packet.
    fn given(&self, datagram: &Datagram) -> (Verdict, Vec<u8>) {
        let mut skb = Skb::new(datagram.frame(), 3);
        (self.run(&mut skb), skb.frame)
    }

    fn hits(&self) -> u32 {
        self.hits.borrow().get(&7).copied().unwrap_or_default()
    }
}

impl Answers for Server {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn find(&self, question: &Question) -> Option<&Answer> {
        self.answers.get(question)
    }

    fn count(&self, slot: u32) {
        *self.hits.borrow_mut().entry(slot).or_default() += 1;
    }
}

impl Growing for Host<'_> {
    fn load_query(&self, offset: u32, length: u32, into: &mut [u8; QUERY]) -> bool {
        let (start, length) = (offset as usize, length as usize);
        if length == 0 || length > QUERY || start + length > self.skb.frame.len() {
            return false;
        }
        into[..length].copy_from_slice(&self.skb.frame[start..start + length]);
        true
    }

    fn resize(&mut self, length: u32) -> Result<(), Refused> {
        self.skb.writes += 1;
        if self.skb.refuse == Some(self.skb.writes - 1) {
            return Err(Refused);
        }
        assert!(length > self.length(), "an answer is longer than its query");
        self.skb.frame.resize(length as usize, 0);
        if matches!(self.skb.summed, Summed::Complete(_)) {
            self.skb.summed = Summed::None;
        }
        Ok(())
    }

    fn store_answer(&mut self, at: u32, from: &[u8; ANSWER], length: u32) -> Result<(), Refused> {
        self.skb.writes += 1;
        if self.skb.refuse == Some(self.skb.writes - 1) {
            return Err(Refused);
        }
        let (at, length) = (at as usize, length as usize);
        self.skb.frame[at..at + length].copy_from_slice(&from[..length]);
        Ok(())
    }
}

fn message(id: u16, rest: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes(), rest].concat()
}

fn asking(query: &[u8]) -> Datagram {
    let mut datagram = udp(CLIENT, SERVER);
    datagram.data = message(0xabcd, query);
    datagram
}

/// What a server's socket would have sent.
fn reply(query: &Datagram, answer: &[u8]) -> Datagram {
    let mut reply = query.reply();
    reply.macs = [&query.macs[6..], &query.macs[..6]]
        .concat()
        .try_into()
        .expect("two addresses");
    reply.ttl = 64;
    let id = u16::from_be_bytes([query.data[0], query.data[1]]);
    reply.data = message(id, answer);
    reply
}

#[test]
fn a_query_becomes_its_answer_with_its_own_id_and_what_is_left_of_the_ttl() {
    for (now, left) in [
        (100 * SECOND, 30),
        // The clock of the programs is a few milliseconds behind the server's.
        (99 * SECOND, 30),
        (101 * SECOND - 1, 30),
        (101 * SECOND, 29),
        (130 * SECOND - 1, 1),
    ] {
        let server = Server::with(ASKED, &answered(30), 30, &[TTL_AT]).at(now);
        let query = asking(ASKED);
        let expected = reply(&query, &answered(left)).frame();
        assert_eq!(server.given(&query), (Verdict::Reply, expected), "{now}");
        assert_eq!(server.hits(), 1);
    }
}

#[test]
fn what_has_run_out_is_the_servers() {
    let server = Server::with(ASKED, &answered(30), 30, &[TTL_AT]).at(130 * SECOND);
    let query = asking(ASKED);
    assert_eq!(server.given(&query), (Verdict::Pass, query.frame()));
    assert_eq!(server.hits(), 0);
}

#[test]
fn anything_but_the_very_same_query_is_the_servers() {
    let server = Server::with(ASKED, &answered(30), 30, &[TTL_AT]);
    let mut spelt = ASKED.to_vec();
    spelt[11] = b'A';
    let mut elsewhere = asking(ASKED).to((Ipv4Addr::new(10, 244, 1, 54), 53));
    elsewhere.macs[0] = 2;
    let mut options = asking(ASKED);
    options.options = vec![1; 4];
    let mut over_tcp = tcp(CLIENT, SERVER, 0x18);
    over_tcp.data = message(0xabcd, ASKED);
    for query in [
        asking(&spelt),
        asking(&[ASKED, &[0]].concat()),
        asking(&ASKED[..ASKED.len() - 1]),
        asking(&[]),
        asking(&[0; QUERY + 1]),
        asking(ASKED).to((SERVER.0, 5353)),
        elsewhere,
        options,
        over_tcp,
    ] {
        assert_eq!(server.given(&query), (Verdict::Pass, query.frame()));
    }
    let whole = asking(&[ASKED, &[0; 64]].concat());
    let frames = whole
        .fragments(24)
        .into_iter()
        // Padded, as Ethernet does with short frames; cut; other protocols.
        .chain([
            [&asking(ASKED).frame()[..], &[0]].concat(),
            asking(ASKED).frame()[..60].to_vec(),
            asking(ASKED).frame()[..43].to_vec(),
            asking(ASKED).frame()[..20].to_vec(),
        ]);
    for frame in frames {
        let mut skb = Skb::new(frame.clone(), 3);
        assert_eq!((server.run(&mut skb), skb.frame), (Verdict::Pass, frame));
    }
    assert_eq!(server.hits(), 0);
}

#[test]
fn packets_for_other_hosts_and_packets_of_several_segments_are_left_alone() {
    let server = Server::with(ASKED, &answered(30), 30, &[TTL_AT]);
    let frame = asking(ASKED).frame();
    let mut flooded = Skb::new(frame.clone(), 3);
    flooded.is_for_this_host = false;
    let mut segments = Skb::new(frame, 3);
    segments.gso_size = 10;
    assert_eq!(server.run(&mut flooded), Verdict::Pass);
    assert_eq!(server.run(&mut segments), Verdict::Pass);
}

#[test]
fn a_write_that_is_refused_drops_the_packet_unless_nothing_was_written() {
    let server = Server::with(ASKED, &answered(30), 30, &[TTL_AT]);
    let mut refused = 0;
    loop {
        let mut skb = Skb::new(asking(ASKED).frame(), 3);
        skb.refuse = Some(refused);
        match server.run(&mut skb) {
            Verdict::Pass => assert_eq!((refused, &skb.frame), (0, &asking(ASKED).frame())),
            Verdict::Drop => assert!(refused > 0),
            Verdict::Reply => break,
        }
        refused += 1;
    }
    // The packet's size, the answer, a TTL, the headers, and the checksum twice.
    assert_eq!(refused, 6);
    assert_eq!(server.hits(), 1);
}

#[test]
fn what_does_not_fit_is_not_kept() {
    let kept = |query: &[u8], answer: &[u8], offsets: &[u16]| {
        Answer::new(query, answer, 1, offsets).is_some()
    };
    assert!(kept(&[0; 20], &[0; ANSWER], &[0, 508]));
    assert!(!kept(&[0; 20], &[0; ANSWER + 1], &[]));
    assert!(!kept(&[0; 20], &[0; 20], &[]), "not longer");
    assert!(!kept(&[0; 20], &[0; 30], &[27]), "a TTL past the end");
    assert!(kept(&[0; 20], &[0; 60], &[0; TTLS]));
    assert!(!kept(&[0; 20], &[0; 60], &[0; TTLS + 1]));
    let question = |query: &[u8]| Question::new(Address::from(SERVER.0), SERVER.1.into(), query);
    assert!(question(&[1; QUERY]).is_some());
    assert!(question(&[1; QUERY + 1]).is_none());
    assert!(question(&[]).is_none());
    assert!(ANSWERS.is_power_of_two(), "the size that the map takes");
}

/// Up to four places for TTLs that don't overlap.
fn ttls(length: usize) -> impl Strategy<Value = Vec<u16>> {
    prop::collection::btree_set(0..length.div_ceil(6).max(1), 0..4).prop_map(move |places| {
        let places = places.into_iter().enumerate();
        let offsets = places.map(|(index, place)| place * 6 + index % 2);
        offsets
            .filter(|offset| offset + 4 <= length)
            .map(|offset| offset as u16)
            .collect()
    })
}

fn exchange() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<u16>)> {
    let query = prop::collection::vec(any::<u8>(), 1..=QUERY);
    let answer = prop::collection::vec(any::<u8>(), QUERY + 1..=ANSWER);
    (query, answer).prop_flat_map(|(query, answer)| {
        let length = answer.len();
        (Just(query), Just(answer), ttls(length))
    })
}

proptest! {
    /// Whatever bytes answer whatever bytes, from whomever, summed by whomever: the answer
    /// is the frame that its sender would have built.
    #[test]
    fn any_query_and_answer(
        (query, answer, offsets) in exchange(),
        client in (any::<[u8; 4]>(), any::<u16>()),
        (id, ip_id, ttl, macs) in any::<(u16, u16, u8, [u8; 12])>(),
        (kept, age) in (any::<u32>(), 0_u64..100),
        checksum in prop_oneof![
            Just(Checksum::Finished), Just(Checksum::Absent), Just(Checksum::LeftToDevice),
        ],
        complete in any::<bool>(),
    ) {
        let mut server = Server::with(&query, &answer, kept, &offsets);
        server.now_ns += age * SECOND + SECOND / 2;
        for answer in server.answers.values_mut() {
            answer.until_ns = u64::MAX;
        }
        let mut asked = udp((Ipv4Addr::from(client.0), client.1), SERVER);
        asked.data = message(id, &query);
        (asked.id, asked.ttl, asked.macs, asked.checksum) = (ip_id, ttl, macs, checksum);
        let mut expected = answer;
        let left = kept.saturating_sub(age as u32).to_be_bytes();
        for offset in offsets {
            expected[usize::from(offset)..][..4].copy_from_slice(&left);
        }
        let mut skb = Skb::new(asked.frame(), 3);
        skb.summed = match (checksum, complete) {
            (Checksum::LeftToDevice, _) => Summed::Partial,
            (_, true) => Summed::Complete(sum(&skb.frame[14..])),
            _ => Summed::None,
        };
        let before = skb.summed;
        prop_assert_eq!(server.run(&mut skb), Verdict::Reply);
        prop_assert_eq!(&skb.frame, &reply(&asked, &expected).frame());
        prop_assert_eq!(skb.summed == Summed::Partial, before == Summed::Partial);
        prop_assert!(!matches!(skb.summed, Summed::Complete(_)), "a sum of what was");
    }

    /// Rubbish is nobody's query.
    #[test]
    fn any_frame_is_survived(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let server = Server::with(ASKED, &answered(30), 30, &[TTL_AT]);
        let mut skb = Skb::new(frame.clone(), 3);
        prop_assert_eq!(server.run(&mut skb), Verdict::Pass);
        prop_assert_eq!(skb.frame, frame);
    }
}
