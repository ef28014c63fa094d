//! What conntrack says of a packet.

use crate::trace::reason;

/// What conntrack says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first packet of a flow.
    New,
    /// A packet from the side that opened the flow.
    Established,
    /// A packet from the other side.
    Reply,
}

/// A [`Verdict`], and whether an event about the packet is due. One byte, so that a
/// `Result` around it has no part that is unset when it is an error: the verifier refuses
/// to have such parts moved, even if nothing comes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tracked(u8);

impl Tracked {
    const DUE: u8 = 1 << 7;
    /// Not tracked here: an event is due for each packet.
    pub const UNKNOWN: Self = Self(reason::UNKNOWN | Self::DUE);
    /// An ICMP error: as [`Tracked::UNKNOWN`], and yet known to be about a flow.
    pub const RELATED: Self = Self(reason::RELATED | Self::DUE);

    #[inline(always)]
    pub(super) const fn new(verdict: Verdict, is_due: bool) -> Self {
        let reason = match verdict {
            Verdict::New => reason::NEW,
            Verdict::Established => reason::ESTABLISHED,
            Verdict::Reply => reason::REPLY,
        };
        Self(reason | if is_due { Self::DUE } else { 0 })
    }

    /// One of [`reason`].
    #[inline(always)]
    #[must_use]
    pub const fn reason(self) -> u8 {
        self.0 & !Self::DUE
    }

    /// Whether the packet opens a flow, closes it, has a TCP flag that its side had not
    /// sent before, or is the first of its side in an interval.
    #[inline(always)]
    #[must_use]
    pub const fn is_due(self) -> bool {
        self.0 & Self::DUE != 0
    }

    /// What conntrack said; `None` when the packet is not tracked.
    #[must_use]
    pub const fn verdict(self) -> Option<Verdict> {
        match self.reason() {
            reason::NEW => Some(Verdict::New),
            reason::ESTABLISHED => Some(Verdict::Established),
            reason::REPLY => Some(Verdict::Reply),
            _ => None,
        }
    }

    /// As a number, for [`Tracked::from_bits`].
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// What [`Tracked::bits`] made of it.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
}
