//! Answers of a DNS server before its socket, by the program as loaded.

use std::net::{Ipv4Addr, SocketAddrV4};

use aya::Ebpf;
use aya::maps::{HashMap, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use lab_datapath_common::dns::{ANSWER, Answer, QUERY, Question, TTLS};
use lab_datapath_common::{Address, Port, maps, programs};
use nix::time::{ClockId, clock_gettime};

use crate::frame::{udp, udp_without_checksum};

const OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../prebuilt/dns.bpf.o");
const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 10), 40000);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 53), 53);
const ID: [u8; 2] = [0xab, 0xcd];
const SECOND: u64 = 1_000_000_000;
const SLOT: u32 = 1000;
/// MAC addresses of the client and of the server. Those of a test run on the loopback
/// interface are for this host, whatever they are, if they are zeros.
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [0; 6]];

/// The program, loaded, and the maps beside it.
struct Server(Ebpf);

/// What became of a packet.
#[derive(Debug, PartialEq)]
enum Outcome {
    Passed(Vec<u8>),
    Answered(Vec<u8>),
}

impl Server {
    fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test loads eBPF programs: run it as root"
        );
        let mut ebpf = Ebpf::load(OBJECT).expect("the object is well-formed");
        program(&mut ebpf)
            .load()
            .unwrap_or_else(|error| panic!("the verifier refused it: {error:?}"));
        Self(ebpf)
    }

    /// Has it answer, from an answer that came `age` nanoseconds ago and lasts `left` more.
    fn knows(
        mut self,
        query: &[u8],
        answer: &[u8],
        (ttl, offsets): (u32, &[u16]),
        age: u64,
        left: u64,
    ) -> Self {
        let question = Question::new(
            Address::from(*SERVER.ip()),
            Port::from(SERVER.port()),
            query,
        );
        let mut answer = Answer::new(query, answer, ttl, offsets).expect("one that can be kept");
        let now = now_ns();
        (answer.since_ns, answer.until_ns) = (now - age, now + left);
        answer.slot = SLOT;
        let map = self.0.map_mut(maps::DNS_ANSWERS).expect("the map");
        let mut map: HashMap<_, Question, Answer> = map.try_into().expect("its layout");
        map.insert(question.expect("not too long"), answer, 0)
            .expect("there is room");
        self
    }

    fn given(&mut self, frame: &[u8]) -> Outcome {
        let mut out = vec![0; 2048];
        let result = program(&mut self.0)
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ..TestRunOptions::default()
            })
            .expect("the kernel runs the program");
        out.truncate(result.data_size_out as usize);
        // TC_ACT_UNSPEC and TC_ACT_REDIRECT of linux/pkt_cls.h.
        match result.return_value.cast_signed() {
            -1 => Outcome::Passed(out),
            7 => Outcome::Answered(out),
            other => panic!("the program returned {other}, which none of its actions is"),
        }
    }

    fn hits(&self) -> u64 {
        let map = self.0.map(maps::DNS_HITS).expect("the map");
        let map: PerCpuArray<_, u64> = map.try_into().expect("its layout");
        map.get(&SLOT, 0).expect("the slot").iter().sum()
    }
}

fn program(ebpf: &mut Ebpf) -> &mut SchedClassifier {
    let program = ebpf.program_mut(programs::DNS_CACHED).expect("the program");
    program.try_into().expect("a classifier")
}

/// `CLOCK_MONOTONIC`, as the program sees it.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has it");
    now.tv_sec().cast_unsigned() * SECOND + now.tv_nsec().cast_unsigned()
}

fn asked(query: &[u8]) -> Vec<u8> {
    udp(CLIENT, SERVER, &[&ID, query].concat()).framed(MACS[1], MACS[0])
}

fn answered(answer: &[u8]) -> Vec<u8> {
    udp(SERVER, CLIENT, &[&ID, answer].concat()).framed(MACS[0], MACS[1])
}

/// Bytes that are not all the same, so that none can take the place of another.
fn bytes(length: usize, start: u8) -> Vec<u8> {
    (0..length)
        .map(|at| start.wrapping_add((at * 7) as u8))
        .collect()
}

fn with_ttl(mut answer: Vec<u8>, offsets: &[u16], ttl: u32) -> Vec<u8> {
    for &offset in offsets {
        answer[usize::from(offset)..][..4].copy_from_slice(&ttl.to_be_bytes());
    }
    answer
}

#[test]
fn a_query_becomes_its_answer_byte_by_byte() {
    let many: Vec<u16> = (0..TTLS as u16).map(|at| at * 50 + at % 2).collect();
    for (query, answer, offsets) in [
        (17, 33, &[23][..]),
        (17, 34, &[]),
        (18, 100, &[20, 61]),
        (1, 2, &[]),
        (QUERY, ANSWER, &many),
        (QUERY, QUERY + 1, &[0]),
    ] {
        let (query, answer) = (bytes(query, 1), bytes(answer, 99));
        // Half a second in: the test may take the rest of it.
        let age = 10 * SECOND + SECOND / 4;
        let mut server = Server::new().knows(&query, &answer, (30, offsets), age, 20 * SECOND);
        let expected = answered(&with_ttl(answer, offsets, 20));
        assert_eq!(server.given(&asked(&query)), Outcome::Answered(expected));
        assert_eq!(server.hits(), 1);
    }
}

#[test]
fn a_query_without_checksum_gets_an_answer_without() {
    let (query, answer) = (bytes(20, 1), bytes(50, 9));
    let mut server = Server::new().knows(&query, &answer, (30, &[]), 0, 20 * SECOND);
    let payload = [&ID[..], &query].concat();
    let query = udp_without_checksum(CLIENT, SERVER, &payload).framed(MACS[1], MACS[0]);
    let payload = [&ID[..], &answer].concat();
    let answer = udp_without_checksum(SERVER, CLIENT, &payload).framed(MACS[0], MACS[1]);
    assert_eq!(server.given(&query), Outcome::Answered(answer));
}

#[test]
fn what_is_no_such_query_or_out_of_date_passes_as_it_is() {
    let (query, answer) = (bytes(20, 1), bytes(50, 9));
    let mut server = Server::new().knows(&query, &answer, (30, &[]), 0, 20 * SECOND);
    let long = bytes(QUERY + 1, 1);
    for frame in [
        asked(&query[..19]),
        asked(&bytes(21, 1)),
        asked(&bytes(20, 2)),
        asked(&long),
        asked(&[]),
        [&asked(&query)[..], &[0]].concat(),
    ] {
        assert_eq!(server.given(&frame), Outcome::Passed(frame));
    }
    let mut server = Server::new().knows(&query, &answer, (30, &[]), 30 * SECOND, 0);
    // The program's clock is that of the last timer tick.
    let deadline = now_ns() + SECOND;
    while server.given(&asked(&query)) != Outcome::Passed(asked(&query)) {
        assert!(now_ns() < deadline, "it has run out");
    }
}
