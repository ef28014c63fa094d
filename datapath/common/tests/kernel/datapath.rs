//! The object that labs load, verified by this kernel, with maps of its own: what
//! it does with one packet at a time (`BPF_PROG_TEST_RUN`).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::thread;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map, PerCpuHashMap, ProgramArray, RingBuf};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use lab_datapath_common::arp::{L2Responder, L2ResponderKey};
use lab_datapath_common::conntrack::CtEntry;
use lab_datapath_common::endpoint::{self, Endpoint, IpcacheEntry, identity};
use lab_datapath_common::fragment::{FragmentKey, Ports};
use lab_datapath_common::maps::{self, MetricsKey, MetricsValue};
use lab_datapath_common::nat::NatEntry;
use lab_datapath_common::service::{
    Affinity, AffinityKey, AffinityMatch, Backend, ReverseNat, Service, ServiceKey, SourceRangeKey,
};
use lab_datapath_common::settings::{Device, Settings, flag};
use lab_datapath_common::trace::Event;
use lab_datapath_common::{Address, Direction, DropReason, Port, Tuple, programs, protocol};

const OBJECT: &[u8] = aya::include_bytes_aligned!("../../../prebuilt/datapath.bpf.o");

/// A pod of this node.
pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 10);
/// A pod of this node that is exempt by flag.
pub(crate) const EXEMPT_POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 11);
/// A pod of another node.
pub(crate) const REMOTE_POD: Ipv4Addr = Ipv4Addr::new(10, 244, 2, 20);
/// This node, on the managed device.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 100);
/// Another node of the cluster.
pub(crate) const REMOTE_NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 101);
/// Neither pod nor node.
pub(crate) const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
/// The pod's `eth0`.
pub(crate) const POD_MAC: [u8; 6] = [2, 0, 0, 0, 1, 10];
/// The node's end of the pod's veth.
pub(crate) const LXC_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// Where a test run takes place unless told otherwise: loopback, which has this
/// index in every network namespace.
const LOOPBACK: u32 = 1;
/// A pod's veth. Nothing is sent there: a run ends with the program.
const LXC_IFINDEX: u32 = 4242;

/// What a program did with a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// On to the stack, as this frame.
    Passed(Vec<u8>),
    /// Into the pod's namespace, as this frame.
    Redirected(Vec<u8>),
    /// Dropped.
    Dropped,
}

/// The loaded programs.
pub(crate) struct Datapath {
    ebpf: Loaded,
}

/// The object, loaded, and given back with empty maps for the next test: verifying the
/// programs takes longer than most tests, on a machine without KVM some seconds.
struct Loaded(Option<Ebpf>);

static IDLE: Mutex<Vec<Ebpf>> = Mutex::new(Vec::new());

impl Loaded {
    fn take() -> Self {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(Some(idle.unwrap_or_else(|| load(OBJECT))))
    }
}

impl Deref for Loaded {
    type Target = Ebpf;

    fn deref(&self) -> &Ebpf {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for Loaded {
    fn deref_mut(&mut self) -> &mut Ebpf {
        self.0.as_mut().expect("there until it is dropped")
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // What a failed test leaves is nobody's to go on with.
        if thread::panicking() {
            return;
        }
        if let Some(mut ebpf) = self.0.take() {
            empty(&mut ebpf);
            IDLE.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(ebpf);
        }
    }
}

/// Empties every map but the settings, which each test writes whole.
fn empty(ebpf: &mut Ebpf) {
    empty_hash::<u32, Device>(ebpf, maps::DEVICES);
    empty_hash::<Address, Endpoint>(ebpf, maps::LXC);
    empty_hash::<Tuple, CtEntry>(ebpf, maps::CT4_GLOBAL);
    empty_hash::<Tuple, CtEntry>(ebpf, maps::CT_ANY4_GLOBAL);
    empty_hash::<Tuple, NatEntry>(ebpf, maps::SNAT_V4_EXTERNAL);
    empty_hash::<FragmentKey, Ports>(ebpf, maps::IPV4_FRAG_DATAGRAMS);
    empty_hash::<L2ResponderKey, L2Responder>(ebpf, maps::L2_RESPONDER_V4);
    empty_trie::<Address, IpcacheEntry>(ebpf, maps::IPCACHE);
    empty_trie::<Address, u8>(ebpf, maps::IPMASQ_V4);
    empty_trie::<SourceRangeKey, u8>(ebpf, maps::LB4_SOURCE_RANGE);
    empty_hash::<ServiceKey, Service>(ebpf, maps::LB4_SERVICES);
    empty_hash::<u32, Backend>(ebpf, maps::LB4_BACKENDS);
    empty_hash::<u16, ReverseNat>(ebpf, maps::LB4_REVERSE_NAT);
    empty_hash::<AffinityKey, Affinity>(ebpf, maps::LB4_AFFINITY);
    empty_hash::<AffinityMatch, u8>(ebpf, maps::LB_AFFINITY_MATCH);
    let mut metrics: PerCpuHashMap<_, MetricsKey, MetricsValue> = map(ebpf, maps::METRICS);
    let counted: Result<Vec<_>, _> = metrics.keys().collect();
    for key in counted.expect("nothing else changes the map") {
        metrics.remove(&key).expect("the entry is there");
    }
}

fn empty_hash<K: aya::Pod, V: aya::Pod>(ebpf: &mut Ebpf, name: &str) {
    let mut map: HashMap<_, K, V> = map(ebpf, name);
    let keys: Result<Vec<_>, _> = map.keys().collect();
    for key in keys.expect("nothing else changes the map") {
        map.remove(&key).expect("the entry is there");
    }
}

fn empty_trie<K: aya::Pod, V: aya::Pod>(ebpf: &mut Ebpf, name: &str) {
    let mut map: LpmTrie<_, K, V> = map(ebpf, name);
    let keys: Result<Vec<_>, _> = map.keys().collect();
    for key in keys.expect("nothing else changes the map") {
        map.remove(&key).expect("the entry is there");
    }
}

fn map<'a, M>(ebpf: &'a mut Ebpf, name: &str) -> M
where
    M: TryFrom<&'a mut Map, Error: std::fmt::Debug>,
{
    ebpf.map_mut(name)
        .expect("the object has the map")
        .try_into()
        .expect("the map has this layout")
}

impl Datapath {
    /// Loads and fills the maps as an agent would for a node that masquerades what
    /// leaves the pods' network. Forwarding is left to the stack.
    pub(crate) fn masquerading() -> Self {
        Self::with(|_| {})
    }

    /// As [`Datapath::masquerading`], with other settings.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            flags: flag::MASQUERADE
                | flag::EXCLUSION
                | flag::FRAGMENT_TRACKING
                | flag::HOST_LEGACY_ROUTING,
            exclusion: Ipv4Addr::new(10, 244, 0, 0).into(),
            exclusion_mask: Ipv4Addr::new(255, 255, 0, 0).into(),
            port_min: 32768,
            port_max: 65535,
            ..Settings::default()
        };
        change(&mut settings);
        let mut datapath = Self {
            ebpf: Loaded::take(),
        };
        datapath.settings(settings);
        datapath.device(NODE);
        datapath.endpoint(POD, 0);
        datapath.endpoint(EXEMPT_POD, endpoint::flag::NO_SNAT);
        datapath.identity(NODE, identity::HOST);
        datapath.identity(REMOTE_NODE, identity::REMOTE_NODE);
        datapath
    }

    /// Runs one packet through a program.
    pub(crate) fn run(&mut self, program: &str, frame: &[u8]) -> Outcome {
        let mut out = vec![0; frame.len() + 256];
        let result = self
            .program(program)
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ..TestRunOptions::default()
            })
            .expect("the kernel runs the program");
        out.truncate(result.data_size_out as usize);
        // TC_ACT_UNSPEC, TC_ACT_SHOT and TC_ACT_REDIRECT of linux/pkt_cls.h.
        match result.return_value.cast_signed() {
            -1 => Outcome::Passed(out),
            2 => Outcome::Dropped,
            7 => Outcome::Redirected(out),
            other => panic!("the program returned {other}, which none of its actions is"),
        }
    }

    pub(crate) fn program(&mut self, name: &str) -> &SchedClassifier {
        classifier(&mut self.ebpf, name)
    }

    fn settings(&mut self, settings: Settings) {
        let mut map: Array<_, Settings> = self.map(maps::RUNTIME_CONFIG);
        map.set(0, settings, 0).expect("index 0 is there");
    }

    /// Gives the managed device another address.
    pub(crate) fn device(&mut self, address: Ipv4Addr) {
        let device = Device {
            address: address.into(),
            ..Device::default()
        };
        let mut map: HashMap<_, u32, Device> = self.map(maps::DEVICES);
        map.insert(LOOPBACK, device, 0).expect("the map has room");
    }

    /// Puts a pod of this node behind an address.
    pub(crate) fn endpoint(&mut self, address: Ipv4Addr, flags: u32) {
        self.endpoint_behind(LXC_IFINDEX, address, flags);
    }

    /// As [`Datapath::endpoint`], behind the interface that programs run at.
    pub(crate) fn endpoint_here(&mut self, address: Ipv4Addr) {
        self.endpoint_behind(LOOPBACK, address, 0);
    }

    fn endpoint_behind(&mut self, ifindex: u32, address: Ipv4Addr, flags: u32) {
        let endpoint = Endpoint {
            ifindex,
            flags,
            mac: POD_MAC,
            node_mac: LXC_MAC,
            ..Endpoint::default()
        };
        let mut map: HashMap<_, Address, Endpoint> = self.map(maps::LXC);
        map.insert(Address::from(address), endpoint, 0)
            .expect("the map has room");
    }

    fn identity(&mut self, address: Ipv4Addr, identity: u32) {
        let mut map: LpmTrie<_, Address, IpcacheEntry> = self.map(maps::IPCACHE);
        let key = Key::new(32, Address::from(address));
        let entry = IpcacheEntry {
            identity,
            ..IpcacheEntry::default()
        };
        map.insert(&key, entry, 0).expect("the map has room");
    }

    /// Puts an address behind a tunnel to another node.
    pub(crate) fn behind_tunnel(&mut self, address: Ipv4Addr, identity: u32, node: Ipv4Addr) {
        let mut map: LpmTrie<_, Address, IpcacheEntry> = self.map(maps::IPCACHE);
        let key = Key::new(32, Address::from(address));
        let entry = IpcacheEntry {
            identity,
            tunnel_endpoint: node.into(),
        };
        map.insert(&key, entry, 0).expect("the map has room");
    }

    /// Answers ARP requests for an address until a time.
    pub(crate) fn announce(&mut self, address: Ipv4Addr, mac: [u8; 6], valid_until: u64) {
        let key = L2ResponderKey {
            address: address.into(),
            ifindex: LOOPBACK,
        };
        let responder = L2Responder {
            valid_until,
            mac,
            padding: [0; 2],
        };
        let mut map: HashMap<_, L2ResponderKey, L2Responder> = self.map(maps::L2_RESPONDER_V4);
        map.insert(key, responder, 0).expect("the map has room");
    }

    /// Puts a prefix on the ip-masq-agent's list.
    pub(crate) fn non_masquerade(&mut self, address: Ipv4Addr, prefix_length: u32) {
        let mut map: LpmTrie<_, Address, u8> = self.map(maps::IPMASQ_V4);
        let key = Key::new(prefix_length, Address::from(address));
        map.insert(&key, 0, 0).expect("the map has room");
    }

    /// The NAT entry under a key.
    pub(crate) fn nat(&mut self, key: &Tuple) -> Option<NatEntry> {
        let map: HashMap<_, Tuple, NatEntry> = self.map(maps::SNAT_V4_EXTERNAL);
        map.get(key, 0).ok()
    }

    /// Every NAT entry.
    pub(crate) fn nat_entries(&mut self) -> Vec<(Tuple, NatEntry)> {
        let map: HashMap<_, Tuple, NatEntry> = self.map(maps::SNAT_V4_EXTERNAL);
        let entries: Result<_, _> = map.iter().collect();
        entries.expect("nothing else changes the map")
    }

    /// Removes a NAT entry, as LRU eviction does.
    pub(crate) fn evict(&mut self, key: &Tuple) {
        let mut map: HashMap<_, Tuple, NatEntry> = self.map(maps::SNAT_V4_EXTERNAL);
        map.remove(key).expect("the entry is there");
    }

    /// The conntrack entry under a key.
    pub(crate) fn conntrack(&mut self, key: &Tuple) -> Option<CtEntry> {
        let name = match key.protocol {
            protocol::TCP => maps::CT4_GLOBAL,
            _ => maps::CT_ANY4_GLOBAL,
        };
        let map: HashMap<_, Tuple, CtEntry> = self.map(name);
        map.get(key, 0).ok()
    }

    /// Packets that were dropped for this reason, on every CPU.
    pub(crate) fn drops(&mut self, reason: DropReason, direction: u8) -> u64 {
        let map: PerCpuHashMap<_, MetricsKey, MetricsValue> = self.map(maps::METRICS);
        let key = MetricsKey {
            reason: reason.code(),
            direction,
            padding: [0; 2],
        };
        map.get(&key, 0)
            .map_or(0, |values| values.iter().map(|value| value.count).sum())
    }

    /// What was reported since the last time.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let mut ring: RingBuf<_> = self.map(maps::EVENTS);
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            assert_eq!(item.len(), size_of::<Event>());
            // SAFETY: there are as many bytes, and any bytes are an event.
            events.push(unsafe { std::ptr::read_unaligned(item.as_ptr().cast::<Event>()) });
        }
        events
    }

    pub(crate) fn map<'a, M>(&'a mut self, name: &str) -> M
    where
        M: TryFrom<&'a mut Map, Error: std::fmt::Debug>,
    {
        map(&mut self.ebpf, name)
    }
}

/// The tuple of a packet from one socket to another.
pub(crate) fn tuple(
    protocol: u8,
    direction: Direction,
    from: SocketAddrV4,
    to: SocketAddrV4,
) -> Tuple {
    Tuple {
        source: (*from.ip()).into(),
        destination: (*to.ip()).into(),
        source_port: Port::new(from.port()),
        destination_port: Port::new(to.port()),
        protocol,
        direction: direction as u8,
        padding: [0; 2],
    }
}

/// A program of a loaded object.
pub(crate) fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a SchedClassifier {
    let program = ebpf.program(name).expect("the object has the program");
    program.try_into().expect("every program is a classifier")
}

/// Loads an object's programs. Maps are as small as the tests allow: a full one of
/// each kind takes hundreds of MiB.
pub(crate) fn load(object: &[u8]) -> Ebpf {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test loads eBPF programs: run it as root"
    );
    let mut loader = EbpfLoader::new();
    for name in [
        maps::SNAT_V4_EXTERNAL,
        maps::CT4_GLOBAL,
        maps::CT_ANY4_GLOBAL,
        maps::IPV4_FRAG_DATAGRAMS,
        maps::LB4_REVERSE_SK,
        maps::LB4_AFFINITY,
    ] {
        loader.map_max_entries(name, 4096);
    }
    let mut ebpf = loader.load(object).expect("the object is well-formed");
    for (name, program) in ebpf.programs_mut() {
        let program: &mut SchedClassifier =
            program.try_into().expect("every program is a classifier");
        program
            .load()
            .unwrap_or_else(|error| panic!("the verifier refused {name}: {error:?}"));
    }
    fill_calls(&mut ebpf);
    ebpf
}

/// Puts programs where others call them; objects without such have no array of them.
fn fill_calls(ebpf: &mut Ebpf) {
    let Some(map) = ebpf.take_map(maps::CALLS) else {
        return;
    };
    let mut calls = ProgramArray::try_from(map).expect("an array of programs");
    for (index, name) in (0..).zip(programs::CALLS) {
        let program = classifier(ebpf, name).fd().expect("it is loaded");
        calls.set(index, program, 0).expect("a place for it");
    }
    // The kernel empties an array that no process holds.
    std::mem::forget(calls);
}
