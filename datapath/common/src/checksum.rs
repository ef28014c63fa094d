//! The Internet checksum, corrected incrementally (RFC 1071, RFC 1624).
//!
//! Words are taken as they lie in memory. Ones' complement sums come out right
//! in either byte order as long as every word is read in the same one.

/// What changed: a ones' complement sum of new words minus old words.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference(u32);

impl Difference {
    /// No change.
    pub const NONE: Self = Self(0);

    /// A 16-bit word changed.
    #[inline(always)]
    #[must_use]
    pub const fn of_word(old: u16, new: u16) -> Self {
        Self((!old) as u32 + new as u32)
    }

    /// A 32-bit word changed.
    #[inline(always)]
    #[must_use]
    pub const fn of_address(old: u32, new: u32) -> Self {
        let old = !old;
        Self((old & 0xffff) + (old >> 16) + (new & 0xffff) + (new >> 16))
    }

    /// Bytes from an even offset on became others; of an odd number the last is the first
    /// half of a word.
    #[must_use]
    pub fn of_bytes(old: &[u8], new: &[u8]) -> Self {
        let words = |bytes: &[u8]| {
            let words = bytes.chunks(2).map(|word| match *word {
                [first, second] => [first, second],
                _ => [word[0], 0],
            });
            words.fold(Self::NONE, |sum, word| {
                sum.and(Self::of_word(0xffff, u16::from_ne_bytes(word)))
            })
        };
        let old = fold(words(old).0);
        words(new).and(Self::of_word(old, 0))
    }

    /// The change as a sum: what `bpf_l4_csum_replace` takes without a size.
    #[inline(always)]
    #[must_use]
    pub const fn sum(self) -> u32 {
        fold(self.0) as u32
    }

    /// Both changes.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(fold(self.0) as u32 + fold(other.0) as u32)
    }

    /// The checksum after the change: `HC' = ~(~HC + ~m + m')`, RFC 1624 (3).
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold((!checksum) as u32 + fold(self.0) as u32)
    }
}

/// Adds the carries back in: any sum of up to 65537 words.
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
