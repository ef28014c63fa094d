//! Captures: any bytes are packets or are refused, in pieces as in one, and every
//! filter and the describer cope with whatever is in a packet.

#![no_main]

use std::sync::LazyLock;

use lab_checks::filter::{Filter, field::fields};
use lab_checks::packet::{Capture, Describer};
use libfuzzer_sys::fuzz_target;

/// One filter for every field, in their order, and then some that join them.
static FILTERS: LazyLock<Vec<Filter>> = LazyLock::new(|| {
    let joined = [
        "icmp.type == 8 && ip.src == 10.244.0.0/16",
        "ip.addr != 10.10.1.200 or tcp.flags & 0x12 == 0x10",
        "all ip.ttl in {1..64} and not udp.port#2 == 53",
        "ip.src == ip.dst || tcp.srcport > tcp.dstport",
    ];
    let present = fields().iter().map(|field| field.name);
    present
        .chain(joined)
        .map(|text| Filter::parse(text).expect("the filters above are right"))
        .collect()
});

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let mut whole = Capture::new();
    let outcome = whole.push(bytes).map(drop);
    let mut pieced = Capture::new();
    let pieces = bytes.chunks(usize::from(piece) + 1);
    let in_pieces = pieces
        .map(|piece| pieced.push(piece).map(drop))
        .find(Result::is_err)
        .unwrap_or(Ok(()));
    assert_eq!(outcome, in_pieces);
    assert!(whole.packets().eq(pieced.packets()));

    let mut describer = Describer::new();
    for packet in whole.packets() {
        assert!(!describer.describe(&packet).is_empty());
        for filter in FILTERS.iter() {
            let near = filter.near_miss(&packet);
            assert!(near.is_none() || !filter.matches(&packet));
        }
        for (field, present) in fields().iter().zip(FILTERS.iter()) {
            assert_eq!(present.matches(&packet), !field.values(&packet).is_empty());
        }
    }

    // The same bytes as a filter: refused with a place in it, or compiled.
    if let Ok(text) = std::str::from_utf8(bytes) {
        for fault in [
            Filter::parse(text).err(),
            Filter::check_template(text).err(),
        ]
        .into_iter()
        .flatten()
        {
            assert!(fault.offset <= text.len() && !fault.render(text).is_empty());
        }
    }
});
