//! The IPv4 header of an Ethernet frame: reading it, and rewriting its
//! addresses and TTL with the header checksum kept right.

use crate::address::Address;
use crate::checksum::Difference;
use crate::drop_reason::DropReason;
use crate::kernel::Packet;

/// Length of an Ethernet header, and so where IPv4 begins.
pub const L3_OFFSET: u32 = 14;
/// Length of an IPv4 header without options.
pub const MIN_HEADER: u32 = 20;
/// Where the header checksum, followed by both addresses, lies in the header.
const CHECKSUM_OFFSET: u32 = 10;

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first part, with the transport header.
    First,
    /// A later part, without.
    Later,
}

/// An IPv4 header as read, kept in step with what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Header and payload, in bytes.
    pub total_length: u16,
    /// Identification, in network byte order.
    pub id: [u8; 2],
    /// Which part of a datagram this is.
    pub fragment: Fragment,
    /// Where the header lies in the frame.
    offset: u32,
    /// Header length in bytes, options included.
    header_length: u32,
    /// Header checksum, as it lies in memory.
    checksum: u16,
}

impl Ipv4 {
    /// The header of an untagged IPv4 frame; `None` for any other frame, or one
    /// too short to hold it.
    #[inline(always)]
    pub fn of_frame<P: Packet>(packet: &P) -> Option<Self> {
        let [link, w0, w1, w2, w3, w4] = packet.first_words();
        let [_, _, e0, e1] = link.to_ne_bytes();
        if [e0, e1] != [0x08, 0x00] {
            return None;
        }
        Self::decode([w0, w1, w2, w3, w4], L3_OFFSET)
    }

    /// The header at `offset`: the packet that an ICMP error quotes.
    #[inline(always)]
    pub fn quoted_at<P: Packet>(packet: &P, offset: u32) -> Option<Self> {
        let bytes = packet.load::<{ MIN_HEADER as usize }>(offset)?;
        let mut words = [0; 5];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        Self::decode(words, offset)
    }

    /// Words as they lie in memory.
    #[inline(always)]
    fn decode([w0, w1, w2, w3, w4]: [u32; 5], offset: u32) -> Option<Self> {
        let [version, tos, t0, t1] = w0.to_ne_bytes();
        let [i0, i1, f0, f1] = w1.to_ne_bytes();
        let [ttl, protocol, c0, c1] = w2.to_ne_bytes();
        let header_length = u32::from(version & 0x0f) * 4;
        if version >> 4 != 4 || header_length < MIN_HEADER {
            return None;
        }
        let flags = u16::from_be_bytes([f0, f1]);
        let fragment = if flags & 0x1fff != 0 {
            Fragment::Later
        } else if flags & 0x2000 != 0 {
            Fragment::First
        } else {
            Fragment::Whole
        };
        Some(Self {
            source: Address::from_be(w3),
            destination: Address::from_be(w4),
            protocol,
            ttl,
            tos,
            total_length: u16::from_be_bytes([t0, t1]),
            id: [i0, i1],
            fragment,
            offset,
            header_length,
            checksum: u16::from_ne_bytes([c0, c1]),
        })
    }

    /// Where the transport header begins in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn l4_offset(&self) -> u32 {
        self.offset + self.header_length
    }

    /// Where the datagram ends in the frame: what follows is Ethernet padding.
    #[inline(always)]
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.offset + self.total_length as u32
    }

    /// Whether the header carries options.
    #[inline(always)]
    #[must_use]
    pub const fn has_options(&self) -> bool {
        self.header_length != MIN_HEADER
    }

    /// Writes both addresses, and returns what that changed in the header
    /// checksum, which is corrected along.
    ///
    /// # Errors
    /// [`DropReason::WriteError`].
    #[inline(always)]
    pub fn rewrite_addresses<P: Packet>(
        &mut self,
        packet: &mut P,
        source: Address,
        destination: Address,
    ) -> Result<Difference, DropReason> {
        let addresses = Difference::of_address(self.source.to_be(), source.to_be()).and(
            Difference::of_address(self.destination.to_be(), destination.to_be()),
        );
        let checksum = addresses.apply(self.checksum);
        let [c0, c1] = checksum.to_ne_bytes();
        let [s0, s1, s2, s3] = source.bytes();
        let [d0, d1, d2, d3] = destination.bytes();
        packet
            .store(
                self.offset + CHECKSUM_OFFSET,
                &[c0, c1, s0, s1, s2, s3, d0, d1, d2, d3],
            )
            .map_err(|_| DropReason::WriteError)?;
        let change = addresses.and(Difference::of_word(self.checksum, checksum));
        self.checksum = checksum;
        self.source = source;
        self.destination = destination;
        Ok(change)
    }

    /// Takes one off the TTL, as forwarding does (RFC 1812, section 5.3.1).
    ///
    /// # Errors
    /// [`DropReason::WriteError`].
    #[inline(always)]
    pub fn decrement_ttl<P: Packet>(&mut self, packet: &mut P) -> Result<(), DropReason> {
        let old = u16::from_ne_bytes([self.ttl, self.protocol]);
        self.ttl = self.ttl.wrapping_sub(1);
        let new = u16::from_ne_bytes([self.ttl, self.protocol]);
        self.checksum = Difference::of_word(old, new).apply(self.checksum);
        let [c0, c1] = self.checksum.to_ne_bytes();
        packet
            .store(self.offset + 8, &[self.ttl, self.protocol, c0, c1])
            .map_err(|_| DropReason::WriteError)
    }
}
