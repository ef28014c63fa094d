//! pcapng: sections, their interfaces, and the packets that refer to them.
//!
//! Blocks are split by pcap-parser; the interface table and its clocks are kept here.

use pcap_parser::nom;
use pcap_parser::pcapng::{Block, parse_block_be, parse_block_le};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{EnhancedPacketBlock, InterfaceDescriptionBlock, SHB_MAGIC, SimplePacketBlock};

use super::capture::{CaptureError, Decoded, MAX_RECORD};
use super::{LinkType, Packet};

/// The section being read: its byte order, and the interfaces described so far.
#[derive(Debug)]
pub(super) struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Result<LinkType, u32>,
    snaplen: u32,
    /// Timestamp units per second.
    resolution: u64,
    /// Seconds to add.
    offset: i64,
}

impl Section {
    /// The section that `input` begins with the header of; needs 12 bytes.
    pub(super) fn begins(input: &[u8]) -> Option<Self> {
        if input.first_chunk() != Some(&SHB_MAGIC.to_le_bytes()) {
            return None;
        }
        let big_endian = match *input.get(8..)?.first_chunk()? {
            [0x1a, 0x2b, 0x3c, 0x4d] => true,
            [0x4d, 0x3c, 0x2b, 0x1a] => false,
            _ => return None,
        };
        Some(Self {
            big_endian,
            interfaces: Vec::new(),
        })
    }

    pub(super) fn next<'a>(
        &mut self,
        number: u64,
        input: &'a [u8],
    ) -> Result<Decoded<'a>, CaptureError> {
        let malformed = |what| CaptureError::Malformed {
            after: number - 1,
            what,
        };
        if input.len() < 12 {
            return Ok(Decoded::Incomplete);
        }
        // Sections may be concatenated, each with a byte order of its own.
        if input.first_chunk() == Some(&SHB_MAGIC.to_le_bytes()) {
            *self = Self::begins(input)
                .ok_or_else(|| malformed("a section header without byte order"))?;
        }
        let length = match input[4..8].first_chunk() {
            Some(bytes) if self.big_endian => u32::from_be_bytes(*bytes),
            Some(bytes) => u32::from_le_bytes(*bytes),
            None => return Ok(Decoded::Incomplete),
        };
        if !(12..=MAX_RECORD).contains(&length) {
            return Err(malformed("a block whose length cannot be"));
        }
        let Some(block) = input.get(..length as usize) else {
            return Ok(Decoded::Incomplete);
        };
        let parse = if self.big_endian {
            parse_block_be
        } else {
            parse_block_le
        };
        match parse(block) {
            Ok((_, parsed)) => self.take(number, block.len(), &parsed),
            Err(nom::Err::Incomplete(_) | nom::Err::Error(_) | nom::Err::Failure(_)) => {
                Err(malformed("a block that contradicts itself"))
            }
        }
    }

    fn take<'a>(
        &mut self,
        number: u64,
        length: usize,
        parsed: &Block<'a>,
    ) -> Result<Decoded<'a>, CaptureError> {
        let packet = match parsed {
            Block::InterfaceDescription(description) => {
                self.interfaces
                    .push(Interface::new(description, self.big_endian));
                return Ok(Decoded::Skip(length));
            }
            Block::EnhancedPacket(packet) => self.enhanced(number, packet),
            Block::SimplePacket(packet) => self.simple(number, packet),
            _ => return Ok(Decoded::Skip(length)),
        }?;
        Ok(Decoded::Packet(length, packet))
    }

    fn interface(&self, number: u64, id: u32) -> Result<(&Interface, LinkType), CaptureError> {
        let interface = self
            .interfaces
            .get(id as usize)
            .ok_or(CaptureError::Malformed {
                after: number - 1,
                what: "a packet of an interface that was not described",
            })?;
        Ok((interface, interface.link.map_err(CaptureError::LinkType)?))
    }

    fn enhanced<'a>(
        &self,
        number: u64,
        packet: &EnhancedPacketBlock<'a>,
    ) -> Result<Packet<'a>, CaptureError> {
        let (interface, link) = self.interface(number, packet.if_id)?;
        let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
        let captured = packet.data.len().min(packet.caplen as usize);
        Ok(Packet {
            number,
            timestamp: interface.nanoseconds(units),
            data: &packet.data[..captured],
            original_len: packet.origlen,
            link,
        })
    }

    /// A simple packet has no time and no captured length: the latter follows from the snaplen of
    /// the first interface (draft-ietf-opsawg-pcapng §4.4).
    fn simple<'a>(
        &self,
        number: u64,
        packet: &SimplePacketBlock<'a>,
    ) -> Result<Packet<'a>, CaptureError> {
        let (interface, link) = self.interface(number, 0)?;
        let snaplen = if interface.snaplen == 0 {
            u32::MAX
        } else {
            interface.snaplen
        };
        let captured = packet
            .data
            .len()
            .min(packet.orig_len().min(snaplen) as usize);
        Ok(Packet {
            number,
            timestamp: 0,
            data: &packet.data[..captured],
            original_len: packet.origlen,
            link,
        })
    }
}

impl Interface {
    fn new(description: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Self {
        let number = description.linktype.0.cast_unsigned();
        // pcap-parser 0.17 rejects every power of two and reads the offset as little-endian.
        let resolution = match description.if_tsresol {
            power @ 0x80..=0xbf => 1 << (power & 0x3f),
            power @ 0..=19 => 10u64.pow(u32::from(power)),
            _ => 1_000_000,
        };
        let offset = description.if_tsoffset;
        Self {
            link: LinkType::from_number(number).ok_or(number),
            snaplen: description.snaplen,
            resolution,
            offset: if big_endian {
                offset.swap_bytes()
            } else {
                offset
            },
        }
    }

    fn nanoseconds(&self, units: u64) -> u64 {
        let seconds = (units / self.resolution).saturating_add_signed(self.offset);
        let fraction =
            u128::from(units % self.resolution) * 1_000_000_000 / u128::from(self.resolution);
        // The fraction is below one second by construction.
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(fraction as u64)
    }
}
