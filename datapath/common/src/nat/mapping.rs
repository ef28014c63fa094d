//! Which address and port a flow leaves with: an existing mapping, or a new one.

use super::{COLLISION_RETRIES, NatEntry, SIGNAL_THRESHOLD};
use crate::address::Port;
use crate::drop_reason::DropReason;
use crate::kernel::Kernel;
use crate::tuple::{Direction, Tuple};

use super::decision::Target;

/// Source ports to choose from, in host byte order, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First.
    pub min: u16,
    /// Last.
    pub max: u16,
}

impl PortRange {
    /// Any ICMP echo identifier.
    pub const ICMP: Self = Self {
        min: 0,
        max: u16::MAX,
    };

    /// Scales 16 bits onto the range, without a division:
    /// `min + (value * size >> 16)` (`__snat_clamp_port_range`).
    #[inline(always)]
    #[must_use]
    pub const fn clamp(self, value: u16) -> u16 {
        // An inverted range is the agent's mistake; it behaves as one port.
        let size = (self.max.saturating_sub(self.min)) as u32 + 1;
        self.min.wrapping_add(((value as u32 * size) >> 16) as u16)
    }

    #[inline(always)]
    const fn contains(self, port: u16) -> bool {
        self.min <= port && port <= self.max
    }
}

/// The tuple of the reply to `forward` once it leaves as `entry` says.
#[inline(always)]
#[must_use]
pub fn reply_key(forward: &Tuple, entry: &NatEntry) -> Tuple {
    Tuple {
        source: forward.destination,
        destination: entry.address,
        source_port: forward.destination_port,
        destination_port: entry.port,
        protocol: forward.protocol,
        direction: Direction::In as u8,
        padding: [0; 2],
    }
}

/// The mapping of an outgoing flow, found or made: what
/// [`Maps::mapping`](crate::kernel::Maps::mapping) does.
///
/// # Errors
/// [`DropReason::NoNatMapping`] when every try met a taken port.
#[inline(always)]
pub fn find_or_create<K: Kernel>(
    k: &K,
    forward: &Tuple,
    target: Target,
    range: PortRange,
) -> Result<NatEntry, DropReason> {
    let back = NatEntry {
        // Set where an entry is written: an established flow writes none, and
        // the clock costs a helper call.
        created: 0,
        address: forward.source,
        port: forward.source_port,
        needs_ct: u16::from(!target.from_endpoint),
    };
    if let Some(entry) = k.nat(forward) {
        if keeps_working(k, forward, &entry, &back, target) {
            return Ok(entry);
        }
        k.nat_delete(forward);
    }
    allocate(k, forward, made_now(k, &back), target, range)
}

/// Whether an existing mapping still holds. LRU eviction may have taken its
/// reverse entry (cilium/cilium#29305): restored here, unless another flow got
/// the port in the meantime. A mapping to an address that the device no longer
/// has goes, both ways.
#[inline(always)]
fn keeps_working<K: Kernel>(
    k: &K,
    forward: &Tuple,
    entry: &NatEntry,
    back: &NatEntry,
    target: Target,
) -> bool {
    let key = reply_key(forward, entry);
    let reverse = k.nat(&key);
    let is_ours = match reverse {
        Some(reverse) => reverse.address == back.address && reverse.port == back.port,
        None => false,
    };
    if entry.address == target.address && entry.needs_ct == back.needs_ct {
        return is_ours || (reverse.is_none() && k.nat_create(&key, &made_now(k, back)).is_ok());
    }
    if is_ours {
        k.nat_delete(&key);
    }
    false
}

#[inline(always)]
fn made_now<K: Kernel>(k: &K, entry: &NatEntry) -> NatEntry {
    NatEntry {
        created: k.now(),
        ..*entry
    }
}

/// Finds a port that no other flow to the same remote address and port has. The
/// source port is kept when it is in the range and free.
///
/// The reverse entry goes first, because only it can collide: inserting it where
/// nothing is (`BPF_NOEXIST`) is both the test and the claim, on every CPU.
///
/// Cilium draws at random after the first collision and then feeds `port + 1`
/// back through the clamp. In a range much smaller than 2^16 that converges on
/// one port (`p = min + (p * size >> 16)`) after two or three tries; every try
/// draws at random here.
#[inline(always)]
fn allocate<K: Kernel>(
    k: &K,
    forward: &Tuple,
    back: NatEntry,
    target: Target,
    range: PortRange,
) -> Result<NatEntry, DropReason> {
    let wanted = forward.source_port.number();
    let mut port = if range.contains(wanted) {
        wanted
    } else {
        range.clamp(k.random() as u16)
    };
    let mut entry = NatEntry {
        address: target.address,
        ..back
    };
    // Flags beside a value that is always set: of a `Result` built here, LLVM
    // would carry the unset half along, which the verifier refuses.
    let mut is_claimed = false;
    let mut is_mapped = false;
    let tries = k.attempts(COLLISION_RETRIES, || {
        entry.port = Port::new(port);
        let key = reply_key(forward, &entry);
        // Returned from a register: read back from memory, the verifier would not
        // know that it is 0 or 1, and a callback returns nothing else.
        let claims = k.nat_create(&key, &back).is_ok();
        is_claimed = claims;
        if claims {
            is_mapped = k.nat_replace(forward, &entry).is_ok();
            if !is_mapped {
                k.nat_delete(&key);
            }
        } else {
            port = range.clamp(k.random() as u16);
        }
        claims
    });
    let retries = tries - u32::from(is_claimed);
    k.count_retries(retries);
    if retries > SIGNAL_THRESHOLD {
        k.signal_nat_fill_up();
    }
    if is_mapped {
        Ok(entry)
    } else {
        Err(DropReason::NoNatMapping)
    }
}
