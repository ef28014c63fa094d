//! IPv4 addresses and ports as they are on the wire and in map keys.

use core::fmt;
use core::net::Ipv4Addr;

/// An IPv4 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u32);

impl Address {
    /// The address whose bytes in memory, and on the wire, are these.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(bytes))
    }

    /// The bytes as they are on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    /// The word as it lies in memory: what checksum arithmetic and the
    /// `__be32` arguments of helpers take.
    #[inline(always)]
    #[must_use]
    pub const fn to_be(self) -> u32 {
        self.0
    }

    /// The inverse of [`Address::to_be`].
    #[inline(always)]
    #[must_use]
    pub const fn from_be(word: u32) -> Self {
        Self(word)
    }

    /// Whether every bit is zero: no address.
    #[inline(always)]
    #[must_use]
    pub const fn is_unspecified(self) -> bool {
        self.0 == 0
    }
}

impl From<Ipv4Addr> for Address {
    #[inline(always)]
    fn from(address: Ipv4Addr) -> Self {
        Self::from_bytes(address.octets())
    }
}

impl From<Address> for Ipv4Addr {
    #[inline(always)]
    fn from(address: Address) -> Self {
        Self::from(address.bytes())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A TCP, UDP or SCTP port, or an ICMP echo identifier, in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(u16);

impl Port {
    /// No port: the far side of an ICMP echo.
    pub const NONE: Self = Self(0);

    /// The port with this number.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// The port's number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u16 {
        u16::from_be(self.0)
    }

    /// The port whose bytes on the wire are these.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_ne_bytes(bytes))
    }

    /// The bytes as they are on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> [u8; 2] {
        self.0.to_ne_bytes()
    }

    /// The word as it lies in memory, for checksum arithmetic.
    #[inline(always)]
    #[must_use]
    pub const fn to_be(self) -> u16 {
        self.0
    }

    /// The inverse of [`Port::to_be`].
    #[inline(always)]
    #[must_use]
    pub const fn from_be(word: u16) -> Self {
        Self(word)
    }
}

impl From<u16> for Port {
    fn from(number: u16) -> Self {
        Self::new(number)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
