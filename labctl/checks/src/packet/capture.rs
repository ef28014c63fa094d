//! Splitting pcap and pcapng bytes into packets.
//!
//! [`Decoder`] is the state between packets and owns no bytes, so one
//! implementation serves a file in memory, a reused read buffer, and
//! [`Capture`], which keeps everything that a running `tcpdump` has written so far.

use std::ops::Range;

use pcap_parser::nom;

use super::pcapng::Section;
use super::{LinkType, Packet};

/// Longest record that is believed: far above any snaplen in use (tcpdump's is 256 KiB), far
/// below what a damaged length field asks for.
pub(super) const MAX_RECORD: u32 = 16 << 20;

/// Why bytes are not a capture that can be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The first bytes are neither pcap's nor pcapng's.
    #[error("recognise the capture: it begins like neither pcap nor pcapng")]
    NotACapture,
    /// A link type that labctl does not read.
    #[error(
        "read a capture of link type {0}: only Ethernet, Linux cooked (SLL, SLL2) and raw IP are supported"
    )]
    LinkType(u32),
    /// A record contradicts itself.
    #[error("read the record after packet {after}: {what}")]
    Malformed {
        /// Packets read before it.
        after: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The capture ends inside a record.
    #[error(
        "read the capture to its end: {left} bytes after packet {after} are an unfinished record"
    )]
    CutShort {
        /// Packets read before it.
        after: u64,
        /// Bytes of the unfinished record.
        left: usize,
    },
}

/// What [`Decoder::next`] found at the beginning of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A packet, in that many bytes.
    Packet(usize, Packet<'a>),
    /// That many bytes that carry no packet.
    Skip(usize),
    /// A record whose end has not arrived.
    Incomplete,
}

/// Which of the two formats it is, and what its headers said.
#[derive(Debug)]
enum Format {
    Pcap {
        read: ReadRecord,
        link: LinkType,
        nanoseconds: bool,
    },
    PcapNg(Section),
}

type ReadRecord =
    fn(
        &[u8],
    ) -> nom::IResult<&[u8], pcap_parser::LegacyPcapBlock<'_>, pcap_parser::PcapError<&[u8]>>;

/// The state of reading one capture: knows the headers, holds no bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    format: Option<Format>,
    packets: u64,
}

impl Decoder {
    /// A decoder at the beginning of a capture.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one record from the beginning of `input`, which must continue where the bytes
    /// consumed before ended.
    ///
    /// # Errors
    ///
    /// Bytes that no further input can turn into a capture.
    #[inline]
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<'a>, CaptureError> {
        let number = self.packets + 1;
        let decoded = match &mut self.format {
            None => return self.open(input),
            Some(Format::Pcap {
                read,
                link,
                nanoseconds,
            }) => read_pcap_record(*read, *link, *nanoseconds, number, input),
            Some(Format::PcapNg(section)) => section.next(number, input),
        }?;
        if matches!(decoded, Decoded::Packet(..)) {
            self.packets = number;
        }
        Ok(decoded)
    }

    /// Calls `visit` for every whole packet in `input` and returns how many bytes that were.
    ///
    /// # Errors
    ///
    /// As [`Decoder::next`]; packets before the fault have been visited.
    #[inline]
    pub fn drain<'a>(
        &mut self,
        input: &'a [u8],
        mut visit: impl FnMut(Packet<'a>),
    ) -> Result<usize, CaptureError> {
        let mut consumed = 0;
        loop {
            match self.next(&input[consumed..])? {
                Decoded::Packet(length, packet) => {
                    consumed += length;
                    visit(packet);
                }
                Decoded::Skip(length) => consumed += length,
                Decoded::Incomplete => return Ok(consumed),
            }
        }
    }

    /// Whether a capture may end with `rest` unread.
    ///
    /// # Errors
    ///
    /// [`CaptureError::CutShort`] when `rest` is part of a record, [`CaptureError::NotACapture`]
    /// when not even a header came.
    pub fn finish(&self, rest: &[u8]) -> Result<(), CaptureError> {
        match (&self.format, rest.len()) {
            (None, _) => Err(CaptureError::NotACapture),
            (Some(_), 0) => Ok(()),
            (Some(_), left) => Err(CaptureError::CutShort {
                after: self.packets,
                left,
            }),
        }
    }

    fn open<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<'a>, CaptureError> {
        if input.len() < 24 {
            return match input.first_chunk() {
                Some(magic) if !is_magic(*magic) => Err(CaptureError::NotACapture),
                _ => Ok(Decoded::Incomplete),
            };
        }
        if let Some(section) = Section::begins(input) {
            self.format = Some(Format::PcapNg(section));
            return Ok(Decoded::Skip(0));
        }
        let (_, header) =
            pcap_parser::parse_pcap_header(input).map_err(|_| CaptureError::NotACapture)?;
        // The upper bits are the FCS length, which libpcap may set for Ethernet.
        let number = header.network.0.cast_unsigned() & 0x03ff_ffff;
        let read: ReadRecord = if header.is_modified_format() {
            pcap_parser::parse_pcap_frame_modified
        } else if header.is_bigendian() {
            pcap_parser::parse_pcap_frame_be
        } else {
            pcap_parser::parse_pcap_frame
        };
        self.format = Some(Format::Pcap {
            read,
            link: LinkType::from_number(number).ok_or(CaptureError::LinkType(number))?,
            nanoseconds: header.is_nanosecond_precision(),
        });
        Ok(Decoded::Skip(header.size()))
    }
}

fn is_magic(bytes: [u8; 4]) -> bool {
    let little = u32::from_le_bytes(bytes);
    matches!(
        little,
        pcap_parser::SHB_MAGIC | 0xa1b2_c3d4 | 0xa1b2_3c4d | 0xa1b2_cd34
    ) || matches!(little, 0xd4c3_b2a1 | 0x4d3c_b2a1)
}

#[inline]
fn read_pcap_record<'a>(
    read: ReadRecord,
    link: LinkType,
    nanoseconds: bool,
    number: u64,
    input: &'a [u8],
) -> Result<Decoded<'a>, CaptureError> {
    // The same for a record that is here and for one whose end is awaited.
    let bounded = |length: usize| {
        let what = "its length is over 16 MiB";
        let after = number - 1;
        let fault = CaptureError::Malformed { after, what };
        if length > MAX_RECORD as usize {
            Err(fault)
        } else {
            Ok(())
        }
    };
    match read(input) {
        Ok((rest, record)) => {
            let length = input.len() - rest.len();
            bounded(length)?;
            let unit = if nanoseconds { 1 } else { 1_000 };
            let packet = Packet {
                number,
                timestamp: u64::from(record.ts_sec) * 1_000_000_000
                    + u64::from(record.ts_usec) * unit,
                data: record.data,
                original_len: record.origlen,
                link,
            };
            Ok(Decoded::Packet(length, packet))
        }
        Err(nom::Err::Incomplete(nom::Needed::Size(more))) => {
            bounded(input.len() + more.get())?;
            Ok(Decoded::Incomplete)
        }
        Err(nom::Err::Incomplete(nom::Needed::Unknown)) => Ok(Decoded::Incomplete),
        Err(_) => Err(CaptureError::Malformed {
            after: number - 1,
            what: "its header contradicts itself",
        }),
    }
}

/// A capture held in memory, growing while `tcpdump` writes.
#[derive(Debug, Default)]
pub struct Capture {
    decoder: Decoder,
    bytes: Vec<u8>,
    consumed: usize,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    data: Range<usize>,
    timestamp: u64,
    original_len: u32,
    link: LinkType,
}

impl Capture {
    /// A capture that nothing has arrived of.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a whole capture.
    ///
    /// # Errors
    ///
    /// Anything that is not a complete pcap or pcapng capture.
    pub fn read(bytes: &[u8]) -> Result<Self, CaptureError> {
        let mut capture = Self::new();
        capture.push(bytes)?;
        capture.finish()?;
        Ok(capture)
    }

    /// Takes in the next bytes and returns how many packets they completed.
    ///
    /// # Errors
    ///
    /// Bytes that no further input can turn into a capture; the packets before them stay.
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize, CaptureError> {
        self.bytes.extend_from_slice(bytes);
        let before = self.records.len();
        loop {
            match self.decoder.next(&self.bytes[self.consumed..])? {
                Decoded::Packet(length, packet) => {
                    let start = packet.data.as_ptr().addr() - self.bytes.as_ptr().addr();
                    self.records.push(Record {
                        data: start..start + packet.data.len(),
                        timestamp: packet.timestamp,
                        original_len: packet.original_len,
                        link: packet.link,
                    });
                    self.consumed += length;
                }
                Decoded::Skip(length) => self.consumed += length,
                Decoded::Incomplete => return Ok(self.records.len() - before),
            }
        }
    }

    /// Whether what arrived is a complete capture.
    ///
    /// # Errors
    ///
    /// As [`Decoder::finish`].
    pub fn finish(&self) -> Result<(), CaptureError> {
        self.decoder.finish(&self.bytes[self.consumed..])
    }

    /// Number of packets so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no packet has arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The packets in the order of the capture.
    #[must_use]
    pub fn packets(&self) -> impl ExactSizeIterator<Item = Packet<'_>> {
        self.packets_from(0)
    }

    /// The packets behind the first `skip`, for looking only at what is new.
    #[must_use]
    pub fn packets_from(&self, skip: usize) -> impl ExactSizeIterator<Item = Packet<'_>> {
        let skip = skip.min(self.records.len());
        self.records[skip..]
            .iter()
            .enumerate()
            .map(move |(index, record)| Packet {
                number: (skip + index) as u64 + 1,
                timestamp: record.timestamp,
                data: &self.bytes[record.data.clone()],
                original_len: record.original_len,
                link: record.link,
            })
    }

    /// Everything that arrived, as it arrived: what to write to a file to keep the capture.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
