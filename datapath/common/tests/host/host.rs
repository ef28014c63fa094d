//! A packet and a node, as the logic asks for them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};

use lab_datapath_common::arp::{L2Responder, L2ResponderKey};
use lab_datapath_common::conntrack::{self, CtEntry, Tracked};
use lab_datapath_common::endpoint::{Endpoint, IpcacheEntry};
use lab_datapath_common::fragment::{FragmentKey, Ports};
use lab_datapath_common::ipv4::Ipv4;
use lab_datapath_common::kernel::{Maps, Packet, Refused, Route, csum};
use lab_datapath_common::nat::NatEntry;
use lab_datapath_common::nat::decision::Target;
use lab_datapath_common::nat::mapping::{self, PortRange};
use lab_datapath_common::service::packet::{self, Asked, Chosen, Leaving};
use lab_datapath_common::service::{
    Affinity, AffinityKey, AffinityMatch, Backend, Config, ReverseNat, Service, ServiceKey,
    Services, SkipKey, SourceRangeKey,
};
use lab_datapath_common::settings::{Device, Settings};
use lab_datapath_common::trace::Event;
use lab_datapath_common::transport::{self, Datagram, Transport};
use lab_datapath_common::tunnel::TunnelKey;
use lab_datapath_common::{Address, DropReason, Tuple};

use crate::frame::sum;

/// What the kernel knows about a packet's checksum (`ip_summed`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Summed {
    /// Nothing, or that it was right.
    None,
    /// The sum of everything from the IP header on, by the device.
    Complete(u16),
    /// The transport's is left to the device.
    Partial,
}

/// A packet.
#[derive(Clone, Debug)]
pub(crate) struct Skb {
    pub(crate) frame: Vec<u8>,
    pub(crate) ifindex: u32,
    pub(crate) gso_size: u32,
    pub(crate) is_for_this_host: bool,
    pub(crate) mark: u32,
    pub(crate) tunnel_key: Option<TunnelKey>,
    pub(crate) tc_index: u16,
    pub(crate) summed: Summed,
    /// The write, counted from 0, that is refused.
    pub(crate) refuse: Option<u32>,
    pub(crate) writes: u32,
}

impl Skb {
    pub(crate) fn new(frame: Vec<u8>, ifindex: u32) -> Self {
        Self {
            frame,
            ifindex,
            gso_size: 0,
            is_for_this_host: true,
            mark: 0,
            tunnel_key: None,
            tc_index: 0,
            summed: Summed::None,
            refuse: None,
            writes: 0,
        }
    }

    /// Whether the write that was to be refused came.
    pub(crate) fn was_refused(&self) -> bool {
        self.refuse.is_some_and(|write| write < self.writes)
    }

    fn writable(&mut self, offset: u32, length: usize) -> Result<&mut [u8], Refused> {
        self.writes += 1;
        if self.was_refused() && self.refuse == Some(self.writes - 1) {
            return Err(Refused);
        }
        let start = offset as usize;
        self.frame.get_mut(start..start + length).ok_or(Refused)
    }
}

/// What a NAT map was asked to do, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum NatWrite {
    Create(Tuple),
    Replace(Tuple),
    Delete(Tuple),
}

/// The maps of services.
#[derive(Default)]
pub(crate) struct ServiceMaps {
    pub(crate) config: Config,
    pub(crate) services: HashMap<ServiceKey, Service>,
    pub(crate) backends: HashMap<u32, Backend>,
    pub(crate) reverse_nat: HashMap<u16, ReverseNat>,
    pub(crate) affinity: RefCell<HashMap<AffinityKey, Affinity>>,
    pub(crate) matches: Vec<AffinityMatch>,
    pub(crate) skips: Vec<SkipKey>,
    /// Clients that a source range of the service holds.
    pub(crate) in_source_range: Vec<SourceRangeKey>,
}

/// Clock, randomness, routes and maps of one node.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) now: Cell<u32>,
    /// Drawn first; after them comes a sequence that is the same in every run.
    pub(crate) draws: RefCell<VecDeque<u32>>,
    pub(crate) seed: Cell<u64>,
    pub(crate) settings: Settings,
    pub(crate) devices: HashMap<u32, Device>,
    pub(crate) endpoints: HashMap<Address, Endpoint>,
    pub(crate) identities: HashMap<Address, u32>,
    pub(crate) tunnel_endpoints: HashMap<Address, Address>,
    pub(crate) l2_responders: HashMap<L2ResponderKey, L2Responder>,
    pub(crate) non_masquerade: Vec<Address>,
    pub(crate) routes: HashMap<Address, Route>,
    pub(crate) services: ServiceMaps,
    /// MTU of every route.
    pub(crate) mtu: u16,
    pub(crate) ct: RefCell<HashMap<Tuple, CtEntry>>,
    pub(crate) nat: RefCell<HashMap<Tuple, NatEntry>>,
    pub(crate) nat_writes: RefCell<Vec<NatWrite>>,
    /// No new entry fits.
    pub(crate) ct_is_full: Cell<bool>,
    /// How many entries fit, if there is a limit.
    pub(crate) nat_room: Cell<Option<usize>>,
    pub(crate) fragments: RefCell<HashMap<FragmentKey, Ports>>,
    pub(crate) retries: RefCell<BTreeMap<u32, u32>>,
    pub(crate) signals: Cell<u32>,
    /// What was reported, and not taken out yet.
    pub(crate) events: RefCell<Vec<Event>>,
}

impl Node {
    fn nat_is_full(&self, key: &Tuple) -> bool {
        let nat = self.nat.borrow();
        !nat.contains_key(key) && self.nat_room.get().is_some_and(|room| nat.len() >= room)
    }
}

/// What a hook runs on.
pub(crate) struct Host<'a> {
    pub(crate) node: &'a Node,
    pub(crate) skb: &'a mut Skb,
}

impl Packet for Host<'_> {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = offset as usize;
        self.skb.frame.get(start..start + N)?.try_into().ok()
    }

    fn first_words(&self) -> [u32; 6] {
        let bytes = self.load::<24>(10).unwrap_or([0; 24]);
        std::array::from_fn(|word| {
            let at = word * 4;
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        })
    }

    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), Refused> {
        self.skb.writable(offset, N)?.copy_from_slice(bytes);
        Ok(())
    }

    /// As `bpf_l4_csum_replace` and `inet_proto_csum_replace4` in
    /// `net/core/filter.c` and `net/core/utils.c`. Sums of big-endian words
    /// instead of the machine's, which comes to the same (RFC 1071, section 2).
    fn l4_csum_replace(
        &mut self,
        offset: u32,
        from: u32,
        to: u32,
        flags: u64,
    ) -> Result<(), Refused> {
        let summed = self.skb.summed;
        let is_pseudo = flags & csum::PSEUDO_HDR != 0;
        let field = self.skb.writable(offset, 2)?;
        let old = u16::from_be_bytes([field[0], field[1]]);
        if flags & csum::MARK_MANGLED_0 != 0 && old == 0 {
            return Ok(());
        }
        let (from, to) = match flags & 0xf {
            csum::SIZE_2 => (
                sum(&(from as u16).to_ne_bytes()),
                sum(&(to as u16).to_ne_bytes()),
            ),
            csum::DIFFERENCE => (0, sum(&(to as u16).to_ne_bytes())),
            csum::SIZE_4 => (sum(&from.to_ne_bytes()), sum(&to.to_ne_bytes())),
            size => panic!("no change has size {size}"),
        };
        let mut new = match summed {
            Summed::Partial if is_pseudo => add(add(old, !from), to),
            Summed::Partial => old,
            Summed::None | Summed::Complete(_) => !add(add(!old, !from), to),
        };
        if flags & csum::MARK_MANGLED_0 != 0 && new == 0 {
            new = 0xffff;
        }
        field.copy_from_slice(&new.to_be_bytes());
        if let Summed::Complete(total) = summed
            && is_pseudo
        {
            self.skb.summed = Summed::Complete(add(add(total, from), !to));
        }
        Ok(())
    }

    fn length(&self) -> u32 {
        self.skb.frame.len() as u32
    }

    fn gso_size(&self) -> u32 {
        self.skb.gso_size
    }

    fn is_for_this_host(&self) -> bool {
        self.skb.is_for_this_host
    }

    fn set_for_this_host(&mut self) -> Result<(), Refused> {
        self.skb.is_for_this_host = true;
        Ok(())
    }

    fn ifindex(&self) -> u32 {
        self.skb.ifindex
    }

    fn mark(&self) -> u32 {
        self.skb.mark
    }

    fn set_mark(&mut self, mark: u32) {
        self.skb.mark = mark;
    }

    fn tunnel_key(&self) -> Option<TunnelKey> {
        self.skb.tunnel_key
    }

    fn set_tunnel_key(&mut self, key: &TunnelKey) -> Result<(), Refused> {
        self.skb.tunnel_key = Some(*key);
        Ok(())
    }

    fn set_tc_index(&mut self, note: u16) {
        self.skb.tc_index = note;
    }

    fn tc_index(&self) -> u16 {
        self.skb.tc_index
    }
}

fn add(a: u16, b: u16) -> u16 {
    sum(&[a.to_be_bytes(), b.to_be_bytes()].concat())
}

impl Services for Host<'_> {
    fn config(&self) -> Config {
        self.node.services.config
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.node.services.services.get(key).copied()
    }

    fn backend(&self, id: u32) -> Option<Backend> {
        self.node.services.backends.get(&id).copied()
    }

    fn reverse_nat(&self, id: u16) -> Option<ReverseNat> {
        self.node.services.reverse_nat.get(&id).copied()
    }

    fn affinity(&self, key: &AffinityKey) -> Option<Affinity> {
        self.node.services.affinity.borrow().get(key).copied()
    }

    fn set_affinity(&self, key: &AffinityKey, value: &Affinity) {
        let mut affinity = self.node.services.affinity.borrow_mut();
        affinity.insert(*key, *value);
    }

    fn forget_affinity(&self, key: &AffinityKey) {
        self.node.services.affinity.borrow_mut().remove(key);
    }

    fn is_affinity_match(&self, key: &AffinityMatch) -> bool {
        self.node.services.matches.contains(key)
    }

    fn is_skipped(&self, key: &SkipKey) -> bool {
        self.node.services.skips.contains(key)
    }

    fn identity_of(&self, address: Address) -> Option<u32> {
        self.identity(address)
    }

    fn seconds(&self) -> u32 {
        self.now()
    }
}

impl Maps for Host<'_> {
    fn now_ns(&self) -> u64 {
        u64::from(self.node.now.get()) * 1_000_000_000
    }

    fn random(&self) -> u32 {
        if let Some(draw) = self.node.draws.borrow_mut().pop_front() {
            return draw;
        }
        // Knuth's MMIX generator; its high bits are the good ones.
        let next = self.node.seed.get().wrapping_mul(6_364_136_223_846_793_005);
        let next = next.wrapping_add(1_442_695_040_888_963_407);
        self.node.seed.set(next);
        (next >> 32) as u32
    }

    fn settings(&self) -> Settings {
        self.node.settings
    }

    fn device(&self, ifindex: u32) -> Option<Device> {
        self.node.devices.get(&ifindex).copied()
    }

    fn endpoint(&self, address: Address) -> Option<Endpoint> {
        self.node.endpoints.get(&address).copied()
    }

    fn ipcache(&self, address: Address) -> Option<IpcacheEntry> {
        let tunnel_endpoint = self.node.tunnel_endpoints.get(&address).copied();
        Some(IpcacheEntry {
            identity: *self.node.identities.get(&address)?,
            tunnel_endpoint: tunnel_endpoint.unwrap_or_default(),
        })
    }

    fn l2_responder(&self, key: &L2ResponderKey) -> Option<L2Responder> {
        self.node.l2_responders.get(key).copied()
    }

    fn is_non_masquerade(&self, address: Address) -> bool {
        self.node.non_masquerade.contains(&address)
    }

    fn is_in_source_range(&self, key: &SourceRangeKey) -> bool {
        self.node.services.in_source_range.contains(key)
    }

    fn route(&self, ip: &Ipv4, length: u16) -> Option<Route> {
        let route = self.node.routes.get(&ip.destination).copied();
        route.filter(|_| length <= self.node.mtu)
    }

    fn ct_update<R>(&self, key: &Tuple, change: impl FnOnce(&mut CtEntry) -> R) -> Option<R> {
        self.node.ct.borrow_mut().get_mut(key).map(change)
    }

    fn ct_create(&self, key: &Tuple, entry: &CtEntry) -> Result<(), Refused> {
        let mut ct = self.node.ct.borrow_mut();
        if self.node.ct_is_full.get() && !ct.contains_key(key) {
            return Err(Refused);
        }
        ct.insert(*key, *entry);
        Ok(())
    }

    fn nat(&self, key: &Tuple) -> Option<NatEntry> {
        self.node.nat.borrow().get(key).copied()
    }

    fn nat_create(&self, key: &Tuple, entry: &NatEntry) -> Result<(), Refused> {
        let mut writes = self.node.nat_writes.borrow_mut();
        writes.push(NatWrite::Create(*key));
        if self.node.nat.borrow().contains_key(key) || self.node.nat_is_full(key) {
            return Err(Refused);
        }
        self.node.nat.borrow_mut().insert(*key, *entry);
        Ok(())
    }

    fn nat_replace(&self, key: &Tuple, entry: &NatEntry) -> Result<(), Refused> {
        let mut writes = self.node.nat_writes.borrow_mut();
        writes.push(NatWrite::Replace(*key));
        if self.node.nat_is_full(key) {
            return Err(Refused);
        }
        self.node.nat.borrow_mut().insert(*key, *entry);
        Ok(())
    }

    fn nat_delete(&self, key: &Tuple) {
        let mut writes = self.node.nat_writes.borrow_mut();
        writes.push(NatWrite::Delete(*key));
        self.node.nat.borrow_mut().remove(key);
    }

    fn fragment_ports(&self, key: &FragmentKey) -> Option<Ports> {
        self.node.fragments.borrow().get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, ports: &Ports) {
        self.node.fragments.borrow_mut().insert(*key, *ports);
    }

    fn count_retries(&self, retries: u32) {
        *self.node.retries.borrow_mut().entry(retries).or_default() += 1;
    }

    fn signal_nat_fill_up(&self) {
        self.node.signals.set(self.node.signals.get() + 1);
    }

    fn transport(&self, datagram: &Datagram) -> Transport {
        // By the words that the kernel's function takes and gives.
        let datagram = Datagram::from_word(datagram.ends(), datagram.to_word());
        Transport::from_word(transport::read(self, &datagram).to_word())
    }

    fn track(&self, tuple: &Tuple, task: conntrack::Task) -> Result<Tracked, DropReason> {
        conntrack::track(self, tuple, task)
    }

    fn ensure(&self, tuple: &Tuple, task: conntrack::Task) -> Result<(), DropReason> {
        conntrack::ensure(self, tuple, task)
    }

    fn choose(&self, tuple: &Tuple, asked: Asked, chosen: &mut Chosen) -> u8 {
        packet::choose(self, tuple, asked, chosen)
    }

    fn mapping(
        &self,
        forward: &Tuple,
        target: Target,
        range: PortRange,
    ) -> Result<NatEntry, DropReason> {
        mapping::find_or_create(self, forward, target, range)
    }

    fn leaving(&mut self) -> Result<Leaving, DropReason> {
        packet::leaving(self)
    }

    fn report(&self, source: Address, destination: Address, what: u32, ifindex: u32) {
        lab_datapath_common::trace::report(self, source, destination, what, ifindex);
    }

    fn event(&self, fill: impl FnOnce(&mut Event)) {
        let mut event = Event::default();
        fill(&mut event);
        let captured = self.skb.frame.len().min(event.head.len());
        event.head[..captured].copy_from_slice(&self.skb.frame[..captured]);
        event.captured = captured as u16;
        event.length = self.length();
        self.node.events.borrow_mut().push(event);
    }
}
