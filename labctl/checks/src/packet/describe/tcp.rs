//! TCP segments as print-tcp.c prints them.

use std::fmt::Write as _;

use crate::packet::{Layer, be16, be32};

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;
pub(super) const URG: u8 = 0x20;

/// What is printed of a segment apart from its ends.
pub(super) struct Segment {
    pub(super) flags: u8,
    /// As printed: relative where the connection is known.
    pub(super) seq: u32,
    pub(super) ack: u32,
    /// Bytes of payload on the wire.
    pub(super) length: u32,
    /// What blocks of a SACK are counted from.
    pub(super) origin: u32,
}

impl Segment {
    /// The line behind the ends; `header` is the length of the header in `tcp`.
    pub(super) fn text(&self, tcp: &Layer<'_>, header: usize) -> Option<String> {
        let Self { flags, length, .. } = *self;
        let mut line = format!(": Flags [{}]", flag_letters(flags));
        if length > 0 || flags & (FIN | SYN | RST) != 0 {
            write!(line, ", seq {}", self.seq).ok()?;
            if length > 0 {
                write!(line, ":{}", self.seq.wrapping_add(length)).ok()?;
            }
        }
        if flags & ACK != 0 {
            write!(line, ", ack {}", self.ack).ok()?;
        }
        write!(line, ", win {}", be16(tcp.bytes, 14)?).ok()?;
        if flags & URG != 0 {
            write!(line, ", urg {}", be16(tcp.bytes, 18)?).ok()?;
        }
        let options = tcp.bytes.get(20..header).unwrap_or_default();
        if !options.is_empty() {
            write!(line, ", options [{}]", tcp_options(options, self.origin)).ok()?;
        }
        write!(line, ", length {length}").ok()?;
        Some(line)
    }
}

fn flag_letters(flags: u8) -> String {
    let letters: String = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W']
        .iter()
        .zip(0..)
        .filter(|(_, bit)| flags >> bit & 1 != 0)
        .map(|(letter, _)| *letter)
        .collect();
    if letters.is_empty() {
        "none".to_owned()
    } else {
        letters
    }
}

/// Options of a TCP header; blocks of a SACK are counted from `origin`.
fn tcp_options(mut options: &[u8], origin: u32) -> String {
    let mut shown = Vec::new();
    while let Some((kind, rest)) = options.split_first() {
        match kind {
            0 => {
                shown.push("eol".to_owned());
                break;
            }
            1 => {
                shown.push("nop".to_owned());
                options = rest;
                continue;
            }
            _ => {}
        }
        let Some(value) = rest
            .first()
            .and_then(|length| options.get(2..usize::from(*length)))
        else {
            shown.push(format!("[bad opt {kind}]"));
            break;
        };
        options = &options[2 + value.len()..];
        shown.push(match (kind, value.len()) {
            (2, 2) => format!("mss {}", be16(value, 0).unwrap_or_default()),
            (3, 1) => format!("wscale {}", value[0]),
            (4, 0) => "sackOK".to_owned(),
            (5, length) if length % 8 == 0 => sack(value, origin),
            (8, 8) => {
                let word = |offset| be32(value, offset).unwrap_or_default();
                format!("TS val {} ecr {}", word(0), word(4))
            }
            _ => {
                let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("unknown-{kind} 0x{hex}")
            }
        });
    }
    shown.join(",")
}

fn sack(value: &[u8], origin: u32) -> String {
    let mut text = format!("sack {} ", value.len() / 8);
    for block in value.chunks_exact(8) {
        let edge = |offset| be32(block, offset).unwrap_or_default().wrapping_sub(origin);
        // Writing to a String cannot fail.
        let _ = write!(text, "{{{}:{}}}", edge(0), edge(4));
    }
    text
}

/// `: HTTP`, and the request or status line when the payload begins with one.
pub(super) fn http(payload: &[u8]) -> String {
    const BEGINNINGS: [&[u8]; 8] = [
        b"GET ",
        b"POST ",
        b"HEAD ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"CONNECT ",
        b"HTTP/1.",
    ];
    let line = payload
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .next()
        .unwrap_or_default();
    if BEGINNINGS
        .iter()
        .any(|beginning| payload.starts_with(beginning))
    {
        format!(": HTTP: {}", String::from_utf8_lossy(line))
    } else {
        ": HTTP".to_owned()
    }
}
