//! Numbers of services and backends. One that is kept means the same as long as it
//! is used: conntrack, sockets and clients remember it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use lab_model::node_state::Protocol;

use super::entries::Entries;
use super::frontends::{Frontend, Frontends};

/// Address, port and protocol of a backend.
pub(crate) type BackendAddress = (Ipv4Addr, u16, Protocol);

/// Who has which number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) services: BTreeMap<Frontend, u16>,
    pub(crate) backends: BTreeMap<BackendAddress, u32>,
    /// The last numbers given: a number that is free again is the last to be reused.
    last_service: u16,
    last_backend: u32,
}

impl Ids {
    /// The numbers that maps, also those of an earlier agent, hold.
    pub(crate) fn of(entries: &Entries) -> Self {
        let services = entries.frontend_ids();
        let backends = entries.backend_ids();
        Self {
            last_service: services.values().copied().max().unwrap_or_default(),
            last_backend: backends.values().copied().max().unwrap_or_default(),
            services,
            backends,
        }
    }

    /// Gives everything in `frontends` a number, and takes back those that nothing
    /// in it has. What there is no number for is left out.
    pub(crate) fn assign(&mut self, frontends: &Frontends) {
        let wanted: BTreeSet<_> = frontends.keys().map(|(frontend, _)| *frontend).collect();
        self.services.retain(|it, _| wanted.contains(it));
        let taken: BTreeSet<u16> = self.services.values().copied().collect();
        let mut free = Free::new(taken, &mut self.last_service, u16::MAX);
        for frontend in wanted {
            if !self.services.contains_key(&frontend)
                && let Some(id) = free.take()
            {
                self.services.insert(frontend, id);
            }
        }
        let wanted: BTreeSet<BackendAddress> = frontends
            .iter()
            .flat_map(|((frontend, _), balanced)| {
                let backends = balanced.backends.iter();
                backends.map(|(address, port)| (*address, *port, frontend.protocol))
            })
            .collect();
        self.backends.retain(|it, _| wanted.contains(it));
        let taken: BTreeSet<u32> = self.backends.values().copied().collect();
        let mut free = Free::new(taken, &mut self.last_backend, u32::MAX);
        for backend in wanted {
            if !self.backends.contains_key(&backend)
                && let Some(id) = free.take()
            {
                self.backends.insert(backend, id);
            }
        }
    }
}

/// Numbers from 1 on that are not taken, beginning behind the last one given.
struct Free<'a, N> {
    taken: BTreeSet<N>,
    last: &'a mut N,
    max: N,
}

impl<'a, N: Copy + Ord + From<u8> + std::ops::Add<Output = N>> Free<'a, N> {
    const fn new(taken: BTreeSet<N>, last: &'a mut N, max: N) -> Self {
        Self { taken, last, max }
    }

    fn take(&mut self) -> Option<N> {
        let start = *self.last;
        loop {
            let next = if *self.last == self.max {
                N::from(1)
            } else {
                *self.last + N::from(1)
            };
            *self.last = next;
            if self.taken.insert(next) {
                return Some(next);
            }
            if next == start {
                return None;
            }
        }
    }
}
