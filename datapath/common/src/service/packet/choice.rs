//! Which backend a packet to a service gets.

use super::super::lookup::{self, Found, Origin};
use super::super::{AffinityKey, Backend, Service, ServiceKey, SourceRangeKey, flag, flag2, scope};
use crate::address::Address;
use crate::conntrack;
use crate::drop_reason::DropReason;
use crate::kernel::Kernel;
use crate::tuple::Tuple;

/// A backend, and the number of the service it stands for; 0 when there is no service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen {
    pub(super) backend: Backend,
    pub(super) rev_nat_index: u16,
    padding: u16,
}

/// What else decides about a packet's backend.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub(super) tcp_flags: u8,
    pub(super) origin: Origin,
    pub(super) is_exempt: bool,
}

impl Asked {
    const OUTSIDE: u32 = 1 << 8;
    const EXEMPT: u32 = 1 << 9;

    /// As one argument of a function of the kernel's.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(self) -> u32 {
        let mut word = self.tcp_flags as u32;
        if matches!(self.origin, Origin::Outside) {
            word |= Self::OUTSIDE;
        }
        if self.is_exempt {
            word |= Self::EXEMPT;
        }
        word
    }

    /// What [`Asked::to_word`] made of it.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        Self {
            tcp_flags: word as u8,
            origin: if word & Self::OUTSIDE != 0 {
                Origin::Outside
            } else {
                Origin::Cluster
            },
            is_exempt: word & Self::EXEMPT != 0,
        }
    }
}

/// What [`Maps::choose`](crate::kernel::Maps::choose) does: the backend for a packet that may
/// be addressed to a service, in `chosen`; 0 or the code of a drop reason.
///
/// Zeros stand for what is not there, rather than options: LLVM would carry the unset half
/// of those along, which the verifier refuses. No service and no backend has the number 0.
#[inline(always)]
pub fn choose<K: Kernel>(k: &K, tuple: &Tuple, asked: Asked, chosen: &mut Chosen) -> u8 {
    match choice(k, tuple, asked, chosen) {
        Ok(()) => 0,
        Err(reason) => reason.code(),
    }
}

#[inline(always)]
fn choice<K: Kernel>(
    k: &K,
    tuple: &Tuple,
    asked: Asked,
    chosen: &mut Chosen,
) -> Result<(), DropReason> {
    let Asked {
        tcp_flags,
        origin,
        is_exempt,
    } = asked;
    let mut key = ServiceKey::new(tuple.destination, tuple.destination_port, tuple.protocol);
    let mut service = k.service(&key).unwrap_or_default();
    if matches!(origin, Origin::Cluster) && service.has2(flag2::TWO_SCOPES) {
        key = key.in_scope(scope::INT);
        service = k.service(&key).unwrap_or_default();
    }
    if is_exempt && service.has2(flag2::LOCAL_REDIRECT) {
        key = key.in_scope(scope::UNREDIRECTED);
        service = k.service(&key).unwrap_or_default();
    }
    let rev_nat_index = service.rev_nat_index;
    chosen.rev_nat_index = rev_nat_index;
    if rev_nat_index == 0 {
        return Ok(());
    }
    if matches!(origin, Origin::Outside) {
        if !is_for(k, &service, tuple.source) {
            return Err(DropReason::NotInSourceRange);
        }
        if !service.has(flag::ROUTABLE) {
            return Err(DropReason::IsClusterIp);
        }
    }
    let known = conntrack::service_backend(k, tuple, tcp_flags, rev_nat_index).unwrap_or_default();
    if known != 0 {
        chosen.backend = k.backend(known).unwrap_or_default();
    }
    if chosen.backend.address.is_unspecified() {
        let client = AffinityKey {
            client: u64::from(tuple.source.to_be()),
            rev_nat_index,
            is_netns: 0,
            padding: [0; 5],
        };
        let found = Found { key, service };
        let (id, backend) = lookup::select(k, &found, &client, k.random()).unwrap_or_default();
        if id == 0 {
            return Err(DropReason::NoService);
        }
        conntrack::open_service(k, tuple, tcp_flags, id, rev_nat_index)?;
        chosen.backend = backend;
    }
    Ok(())
}

/// Whether the service is there for a client from outside (`lb4_src_range_ok`).
#[inline(always)]
fn is_for<K: Kernel>(k: &K, service: &Service, client: Address) -> bool {
    if !service.has(flag::SOURCE_RANGE) {
        return true;
    }
    let key = SourceRangeKey::new(service.rev_nat_index, client);
    k.is_in_source_range(&key) != service.has2(flag2::SOURCE_RANGE_DENY)
}
