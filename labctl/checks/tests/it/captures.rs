//! Every capture format is read, whole and in pieces, and damage is told from an end.

use lab_checks::packet::{Capture, CaptureError, LinkType};
use proptest::prelude::*;

use crate::traffic::{self, START};

/// (seconds, nanoseconds, original length, bytes) of every packet.
type Read = Vec<(u64, u64, u32, Vec<u8>)>;

fn read(bytes: &[u8]) -> Read {
    packets(&Capture::read(bytes).expect("a whole capture"))
}

fn packets(capture: &Capture) -> Read {
    capture
        .packets()
        .map(|packet| {
            let (seconds, rest) = (
                packet.timestamp / 1_000_000_000,
                packet.timestamp % 1_000_000_000,
            );
            (seconds, rest, packet.original_len, packet.data.to_vec())
        })
        .collect()
}

/// pcap in either byte order, with either clock.
fn pcap(big_endian: bool, magic: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let word = |word: u32| {
        if big_endian {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        }
    };
    let half = |half: u16| {
        if big_endian {
            half.to_be_bytes()
        } else {
            half.to_le_bytes()
        }
    };
    let mut file = word(magic).to_vec();
    file.extend([half(2), half(4)].concat());
    file.extend([word(0), word(0), word(262_144), word(1)].concat());
    for frame in frames {
        let length = frame.len() as u32;
        file.extend([word(START), word(250_000), word(length), word(length)].concat());
        file.extend(frame);
    }
    file
}

/// pcapng in either byte order: a section, an interface with those options, and a packet a frame.
fn pcapng(big_endian: bool, options: &[u8], units: u64, frames: &[Vec<u8>]) -> Vec<u8> {
    let word = |word: u32| {
        if big_endian {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        }
    };
    let half = |half: u16| {
        if big_endian {
            half.to_be_bytes()
        } else {
            half.to_le_bytes()
        }
    };
    let block = |kind: u32, body: &[u8]| {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = word(body.len() as u32 + 12);
        [&word(kind)[..], &length, &body, &length].concat()
    };
    let mut file = block(
        0x0a0d_0d0a,
        &[&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat(),
    );
    file.extend(block(
        1,
        &[&half(1)[..], &half(0), &word(0), options].concat(),
    ));
    // A block that is not known must be stepped over.
    file.extend(block(0x0bad_0bad, &[1, 2, 3, 4]));
    for frame in frames {
        let length = word(frame.len() as u32);
        let stamp = [word((units >> 32) as u32), word(units as u32)].concat();
        file.extend(block(
            6,
            &[&word(0)[..], &stamp, &length, &length, frame].concat(),
        ));
    }
    file
}

fn odd_frames() -> Vec<Vec<u8>> {
    (60..70)
        .map(|length| vec![length; usize::from(length)])
        .collect()
}

fn expected(nanoseconds: u64) -> Read {
    let frames = odd_frames().into_iter();
    frames
        .map(|frame| (u64::from(START), nanoseconds, frame.len() as u32, frame))
        .collect()
}

#[test]
fn pcap_in_both_byte_orders_and_clocks() {
    for big_endian in [false, true] {
        assert_eq!(
            read(&pcap(big_endian, 0xa1b2_c3d4, &odd_frames())),
            expected(250_000_000)
        );
        assert_eq!(
            read(&pcap(big_endian, 0xa1b2_3c4d, &odd_frames())),
            expected(250_000)
        );
    }
}

#[test]
fn pcapng_in_both_byte_orders_and_with_any_clock() {
    for big_endian in [false, true] {
        let option = |code: u16, value: &[u8]| {
            let bytes = |half: u16| {
                if big_endian {
                    half.to_be_bytes()
                } else {
                    half.to_le_bytes()
                }
            };
            let mut option = [bytes(code), bytes(value.len() as u16)].concat();
            option.extend(value);
            option.resize(option.len().next_multiple_of(4), 0);
            option
        };
        let seconds = u64::from(START);
        let microseconds = pcapng(
            big_endian,
            &[],
            seconds * 1_000_000 + 250_000,
            &odd_frames(),
        );
        assert_eq!(read(&microseconds), expected(250_000_000));
        let nanoseconds = pcapng(
            big_endian,
            &option(9, &[9]),
            seconds * 1_000_000_000 + 7,
            &odd_frames(),
        );
        assert_eq!(read(&nanoseconds), expected(7));
        // 2^-10 of a second, a resolution that pcap-parser itself refuses.
        let binary = pcapng(
            big_endian,
            &option(9, &[0x8a]),
            seconds << 10 | 256,
            &odd_frames(),
        );
        assert_eq!(read(&binary), expected(250_000_000));
        let offset = if big_endian {
            1000i64.to_be_bytes()
        } else {
            1000i64.to_le_bytes()
        };
        let shifted = pcapng(
            big_endian,
            &option(14, &offset),
            (seconds - 1000) * 1_000_000,
            &odd_frames(),
        );
        assert_eq!(read(&shifted), expected(0));
    }
}

#[test]
fn a_snaplen_keeps_the_length_on_the_wire() {
    let mut bytes = traffic::pcap(&[vec![1; 60]]);
    bytes[36..40].copy_from_slice(&1514u32.to_le_bytes());
    let capture = Capture::read(&bytes).expect("a whole capture");
    let packet = capture.packets().next().expect("one packet");
    assert_eq!(
        (packet.data.len(), packet.original_len, packet.link),
        (60, 1514, LinkType::Ethernet)
    );
}

#[test]
fn bytes_may_arrive_one_by_one() {
    for bytes in [
        traffic::pcap(&odd_frames()),
        pcapng(true, &[], 5, &odd_frames()),
    ] {
        let mut capture = Capture::new();
        let mut arrived = 0;
        for byte in &bytes {
            arrived += capture.push(&[*byte]).expect("nothing is wrong with it");
        }
        capture.finish().expect("it is whole");
        assert_eq!(arrived, odd_frames().len());
        assert_eq!(packets(&capture), read(&bytes));
        assert_eq!(capture.bytes(), bytes);
    }
}

#[test]
fn an_unfinished_record_is_not_an_end() {
    let bytes = traffic::pcap(&odd_frames());
    assert_eq!(
        Capture::read(&bytes[..bytes.len() - 1]).unwrap_err(),
        CaptureError::CutShort { after: 9, left: 84 }
    );
    assert_eq!(
        Capture::read(&bytes[..24])
            .expect("a header alone is a capture")
            .len(),
        0
    );
    assert_eq!(
        Capture::read(&bytes[..23]).unwrap_err(),
        CaptureError::NotACapture
    );
    assert_eq!(Capture::read(b"").unwrap_err(), CaptureError::NotACapture);
    assert_eq!(
        Capture::read(b"tcpdump: eth7: No such device exists").unwrap_err(),
        CaptureError::NotACapture
    );
}

#[test]
fn damage_is_told_at_once() {
    let mut bytes = traffic::pcap(&odd_frames());
    bytes[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        Capture::read(&bytes),
        Err(CaptureError::Malformed { after: 0, .. })
    ));
    let wireless = traffic::pcap_of_link_type(105, &odd_frames());
    assert_eq!(
        Capture::read(&wireless).unwrap_err(),
        CaptureError::LinkType(105)
    );
    let mut blocks = pcapng(false, &[], 5, &odd_frames());
    let end = blocks.len() - 4;
    blocks[end..].copy_from_slice(&[0; 4]);
    assert!(matches!(
        Capture::read(&blocks),
        Err(CaptureError::Malformed { after: 9, .. })
    ));
}

proptest! {
    #[test]
    fn reading_never_panics_and_pieces_change_nothing(
        mut bytes in prop_oneof![
            Just(traffic::pcap(&traffic::everything()[..4])),
            Just(pcapng(false, &[9, 0, 1, 0, 6, 0, 0, 0], 5, &odd_frames())),
            Just(pcapng(true, &[], 5, &odd_frames())),
        ],
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        pieces in prop::collection::vec(1usize..200, 1..20),
    ) {
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut whole = Capture::new();
        let outcome = whole.push(&bytes).map(drop);
        let mut pieced = Capture::new();
        let mut rest = &bytes[..];
        let mut error = Ok(());
        for length in pieces.iter().cycle() {
            let (piece, behind) = rest.split_at(rest.len().min(*length));
            error = pieced.push(piece).map(drop);
            rest = behind;
            if rest.is_empty() || error.is_err() {
                break;
            }
        }
        prop_assert_eq!(outcome, error);
        prop_assert_eq!(packets(&whole), packets(&pieced));
    }
}

/// Found by fuzzing: what is too long must not depend on how much of it has arrived.
#[test]
fn a_record_is_too_long_however_it_arrives() {
    for (length, fits) in [((16 << 20) - 16, true), ((16 << 20) - 15, false)] {
        let mut bytes = traffic::pcap(&[vec![0; length]]);
        bytes.push(0);
        assert_eq!(
            Capture::new().push(&bytes).is_ok(),
            fits,
            "{length} at once"
        );
        let mut pieced = Capture::new();
        let outcome = bytes
            .chunks(1 << 20)
            .try_for_each(|piece| pieced.push(piece).map(drop));
        assert_eq!(outcome.is_ok(), fits, "{length} in pieces");
    }
}
