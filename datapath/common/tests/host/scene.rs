//! One node of the study lab, and packets through its hooks.

use std::net::Ipv4Addr;

use lab_datapath_common::conntrack::CtEntry;
use lab_datapath_common::endpoint::{self, Endpoint, identity};
use lab_datapath_common::hooks::{self, Action, Stage};
use lab_datapath_common::kernel::Route;
use lab_datapath_common::nat::NatEntry;
use lab_datapath_common::service::{overlay, packet};
use lab_datapath_common::settings::{Device, Settings, flag};
use lab_datapath_common::{Address, Direction, DropReason, Port, Tuple, tunnel};

use crate::frame::{Datagram, Socket};
use crate::host::{Host, Node, Skb};

pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 5);
pub(crate) const NEIGHBOUR_POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 6);
pub(crate) const REMOTE_POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 7);
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 100);
pub(crate) const CILIUM_HOST: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
pub(crate) const REMOTE_NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 101);
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 200);
pub(crate) const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// The managed device.
pub(crate) const ETH1: u32 = 2;
/// The node-side interfaces of the two pods.
pub(crate) const LXC: u32 = 10;
pub(crate) const NEIGHBOUR_LXC: u32 = 11;

pub(crate) const POD_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(crate) const LXC_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// Seconds since boot when a test begins.
pub(crate) const START: u32 = 100_000;

/// A node as the study lab has it, forwarding through the stack.
pub(crate) fn node() -> Node {
    let device = Device {
        address: NODE.into(),
        ..Device::default()
    };
    let host = Endpoint {
        flags: endpoint::flag::HOST,
        identity: identity::HOST,
        ..Endpoint::default()
    };
    let pod = |ifindex| Endpoint {
        ifindex,
        identity: 4711,
        mac: POD_MAC,
        node_mac: LXC_MAC,
        ..Endpoint::default()
    };
    let router = Route {
        ifindex: ETH1,
        next_hop: ROUTER.into(),
    };
    let node = Node {
        settings: Settings {
            flags: flag::MASQUERADE
                | flag::EXCLUSION
                | flag::FRAGMENT_TRACKING
                | flag::HOST_LEGACY_ROUTING,
            exclusion: Ipv4Addr::new(10, 244, 0, 0).into(),
            exclusion_mask: Ipv4Addr::new(255, 255, 0, 0).into(),
            port_min: 32768,
            port_max: 65535,
            ..Settings::default()
        },
        devices: [(ETH1, device)].into(),
        endpoints: [
            (NODE.into(), host),
            (CILIUM_HOST.into(), host),
            (POD.into(), pod(LXC)),
            (NEIGHBOUR_POD.into(), pod(NEIGHBOUR_LXC)),
        ]
        .into(),
        identities: [
            (REMOTE_NODE.into(), identity::REMOTE_NODE),
            (WORLD.into(), identity::WORLD),
            (ROUTER.into(), identity::WORLD),
        ]
        .into(),
        routes: [(WORLD.into(), router), (ROUTER.into(), router)].into(),
        mtu: 1500,
        ..Node::default()
    };
    node.now.set(START);
    node
}

/// The same, taking the short way past the stack.
pub(crate) fn redirecting_node() -> Node {
    let mut node = node();
    node.settings.flags &= !flag::HOST_LEGACY_ROUTING;
    node
}

/// A frame that went through, or why it was dropped.
pub(crate) type Sent = Result<Vec<u8>, DropReason>;

impl Node {
    pub(crate) fn set(&mut self, flag: u32) {
        self.settings.flags |= flag;
    }

    pub(crate) fn clear(&mut self, flag: u32) {
        self.settings.flags &= !flag;
    }

    pub(crate) fn wait(&self, seconds: u32) {
        self.now.set(self.now.get() + seconds);
    }

    pub(crate) fn cil_from_container(&self, skb: &mut Skb) -> Result<Action, DropReason> {
        follow(&mut Host { node: self, skb }, hooks::from_container)
    }

    pub(crate) fn cil_to_container(&self, skb: &mut Skb) -> Result<Action, DropReason> {
        follow(&mut Host { node: self, skb }, hooks::to_container)
    }

    pub(crate) fn cil_from_netdev(&self, skb: &mut Skb) -> Result<Action, DropReason> {
        follow(&mut Host { node: self, skb }, hooks::from_netdev)
    }

    pub(crate) fn cil_to_netdev(&self, skb: &mut Skb) -> Result<Action, DropReason> {
        follow(&mut Host { node: self, skb }, hooks::to_netdev)
    }

    pub(crate) fn cil_from_overlay(&self, skb: &mut Skb) -> Result<Action, DropReason> {
        follow(&mut Host { node: self, skb }, tunnel::from_overlay)
    }

    pub(crate) fn cil_to_overlay(&self, skb: &mut Skb) -> Result<Action, DropReason> {
        follow(&mut Host { node: self, skb }, tunnel::to_overlay)
    }

    pub(crate) fn cil_from_host(&self, skb: &mut Skb) -> Result<Action, DropReason> {
        follow(&mut Host { node: self, skb }, tunnel::from_host)
    }

    /// A pod's frame through the stack and out of `eth1`.
    pub(crate) fn pod_sends_frame(&self, frame: Vec<u8>) -> Sent {
        let mut skb = Skb::new(frame, LXC);
        assert_eq!(self.cil_from_container(&mut skb)?, Action::Continue);
        self.frame_leaves(skb.frame)
    }

    /// What a pod sends, through the stack and out of `eth1`.
    pub(crate) fn pod_sends(&self, datagram: &Datagram) -> Sent {
        self.pod_sends_frame(datagram.frame())
    }

    /// A packet that the stack has, with its mark, out of `eth1`.
    pub(crate) fn packet_leaves(&self, skb: Skb) -> Vec<u8> {
        let mut skb = Skb {
            ifindex: ETH1,
            ..skb
        };
        assert_eq!(self.cil_to_netdev(&mut skb), Ok(Action::Continue));
        skb.frame
    }

    /// A frame out of `eth1`.
    pub(crate) fn frame_leaves(&self, frame: Vec<u8>) -> Sent {
        let mut skb = Skb::new(frame, ETH1);
        assert_eq!(self.cil_to_netdev(&mut skb)?, Action::Continue);
        Ok(skb.frame)
    }

    /// What the host itself sends out of `eth1`.
    pub(crate) fn host_sends(&self, datagram: &Datagram) -> Sent {
        self.frame_leaves(datagram.frame())
    }

    /// A frame in through `eth1`, and on through the stack into the pod if it is
    /// for one.
    pub(crate) fn frame_arrives(&self, frame: Vec<u8>) -> Sent {
        let mut skb = Skb::new(frame, ETH1);
        assert_eq!(self.cil_from_netdev(&mut skb)?, Action::Continue);
        let destination: [u8; 4] = skb.frame[30..34].try_into().expect("four bytes");
        let endpoint = self.endpoints.get(&Address::from_bytes(destination));
        if let Some(endpoint) = endpoint.filter(|it| it.ifindex != 0) {
            skb.ifindex = endpoint.ifindex;
            assert_eq!(self.cil_to_container(&mut skb)?, Action::Continue);
        }
        Ok(skb.frame)
    }

    /// What comes in through `eth1`.
    pub(crate) fn arrives(&self, datagram: &Datagram) -> Sent {
        self.frame_arrives(datagram.frame())
    }

    /// The conntrack entry of a flow.
    pub(crate) fn tracked(&self, tuple: Tuple) -> Option<CtEntry> {
        self.ct.borrow().get(&tuple).copied()
    }

    /// The NAT entry under a key.
    pub(crate) fn mapped(&self, tuple: Tuple) -> Option<NatEntry> {
        self.nat.borrow().get(&tuple).copied()
    }

    /// Claims a port of the node towards a remote, for someone else.
    pub(crate) fn take(&self, protocol: u8, remote: Socket, port: u16) {
        let key = tuple(protocol, remote, (NODE, port), Direction::In);
        let entry = NatEntry {
            created: START,
            address: NEIGHBOUR_POD.into(),
            port: Port::new(port),
            needs_ct: 0,
        };
        self.nat.borrow_mut().insert(key, entry);
    }
}

pub(crate) fn tuple(
    protocol: u8,
    source: Socket,
    destination: Socket,
    direction: Direction,
) -> Tuple {
    Tuple {
        source: source.0.into(),
        destination: destination.0.into(),
        source_port: Port::new(source.1),
        destination_port: Port::new(destination.1),
        protocol,
        direction: direction as u8,
        padding: [0; 2],
    }
}

/// The source of an IPv4 frame with ports.
pub(crate) fn source_of(frame: &[u8]) -> Socket {
    let address: [u8; 4] = frame[26..30].try_into().expect("four bytes");
    let header = usize::from(frame[14] & 0xf) * 4;
    let at = 14 + header + if frame[23] == 1 { 4 } else { 0 };
    let port = u16::from_be_bytes([frame[at], frame[at + 1]]);
    (address.into(), port)
}

/// A hook, and the programs that it and those after it call.
fn follow<'n>(
    host: &mut Host<'n>,
    hook: impl FnOnce(&mut Host<'n>) -> Result<Action, DropReason>,
) -> Result<Action, DropReason> {
    let mut outcome = hook(host);
    // The kernel ends a chain after 33 calls (`MAX_TAIL_CALL_CNT`).
    for _ in 0..33 {
        outcome = match outcome {
            Ok(Action::Call(Stage::ServiceFromOutside)) => packet::from_outside(host),
            Ok(Action::Call(Stage::ServiceFromPod)) => packet::from_pod(host),
            Ok(Action::Call(Stage::FromNetdev)) => hooks::from_netdev(host),
            Ok(Action::Call(Stage::FromContainer)) => hooks::from_container(host),
            Ok(Action::Call(Stage::ErrorLeaving)) => packet::error_leaving(host),
            Ok(Action::Call(Stage::Masquerade)) => hooks::to_netdev_past_services(host),
            Ok(Action::Call(Stage::ToOtherNode)) => packet::to_other_node(host),
            Ok(Action::Call(Stage::IntoTunnel)) => overlay::into_tunnel(host),
            Ok(Action::Call(Stage::ErrorToPod)) => packet::error_to_pod(host),
            Ok(Action::Call(Stage::Unmasquerade)) => hooks::from_netdev_to_node(host),
            done => return done,
        };
    }
    Err(DropReason::MissedTailCall)
}
