//! The object `dns`: a query that becomes its answer, and one that is the server's.

use std::net::{Ipv4Addr, SocketAddrV4};

use aya::maps::HashMap;
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use lab_datapath_common::dns::{Answer, Question};
use lab_datapath_common::{Address, Port, maps, programs};

use crate::datapath::{classifier, load};
use crate::frame::udp;
use crate::median;

const OBJECT: &[u8] = aya::include_bytes_aligned!("../../../prebuilt/dns.bpf.o");
/// Runs of each, in turns. An answer is longer than its query, so that a run cannot be
/// repeated on what it left: each is a call of its own.
const RUNS: usize = 20_000;
const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 10), 40000);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 53), 53);

/// Prints a table like the other one.
pub(crate) fn print(empty: &SchedClassifier) {
    let mut ebpf = load(OBJECT);
    // A query for `webpod.default.svc.cluster.local` with EDNS, and an answer with one
    // address: the sizes, not the words.
    let (query, other) = ([7; 59], [8; 59]);
    let answer = Answer::new(&query, &[9; 75], 30, &[54]).expect("one that can be kept");
    let answer = Answer {
        until_ns: u64::MAX,
        ..answer
    };
    let question = Question::new(
        Address::from(*SERVER.ip()),
        Port::new(SERVER.port()),
        &query,
    );
    let map = ebpf.map_mut(maps::DNS_ANSWERS).expect("the map");
    let mut map: HashMap<_, Question, Answer> = map.try_into().expect("its layout");
    map.insert(question.expect("not too long"), answer, 0)
        .expect("there is room");
    let program = classifier(&mut ebpf, programs::DNS_CACHED);
    println!("| program | packet | ns | empty program, ns | difference, ns |");
    println!("|---|---|--:|--:|--:|");
    for (name, query, action) in [
        ("a query that it answers", query, 7),
        ("another", other, -1),
    ] {
        let message = [&[1, 2], &query[..]].concat();
        let frame = udp(CLIENT, SERVER, &message).framed([0; 6], [2, 0, 0, 0, 0, 1]);
        let (mut ours, mut nothing) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours.push(nanoseconds(program, &frame, action));
            nothing.push(nanoseconds(empty, &frame, -1));
        }
        let (ours, nothing) = (median(ours), median(nothing));
        println!(
            "| `{}` | {name} | {ours} | {nothing} | {} |",
            programs::DNS_CACHED,
            ours.saturating_sub(nothing)
        );
    }
}

fn nanoseconds(program: &SchedClassifier, frame: &[u8], action: i32) -> u128 {
    let options = TestRunOptions {
        data_in: Some(frame),
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).expect("the kernel runs it");
    assert_eq!(result.return_value.cast_signed(), action);
    result.duration.as_nanos()
}
