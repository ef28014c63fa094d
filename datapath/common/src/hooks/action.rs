//! What a hook decides, and the programs that packets go on in.

use crate::kernel::Route;

/// What is to happen to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// On to the next program, and the stack.
    Continue,
    /// Into the namespace behind the veth of this index (`bpf_redirect_peer`).
    ToPod {
        /// The node-side interface.
        ifindex: u32,
    },
    /// Out, with the neighbour's MAC address (`bpf_redirect_neigh`).
    ToNeighbour(Route),
    /// Into the tunnel's device of this index; the outer header is set (`bpf_redirect`).
    ToTunnel {
        /// `cilium_vxlan` or `cilium_geneve`.
        ifindex: u32,
    },
    /// Into the host's stack, as if it came in through the interface of this index
    /// (`bpf_redirect`, `BPF_F_INGRESS`).
    ToHost {
        /// `cilium_host`.
        ifindex: u32,
    },
    /// Back out of the interface it came in through (`bpf_redirect`).
    Reflect,
    /// On in another program, with this packet (`bpf_tail_call`).
    Call(Stage),
}

/// Parts of the way that are programs of their own: together with the hook before them they
/// would need more stack than a program has. Values are indices of `cilium_calls`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// [`from_outside`](crate::service::packet::from_outside): came in for a service.
    ServiceFromOutside = 0,
    /// [`from_pod`](crate::service::packet::from_pod): a pod sent it to a service.
    ServiceFromPod = 1,
    /// [`from_netdev`](super::from_netdev), with a backend's address by now.
    FromNetdev = 2,
    /// [`from_container`](super::from_container), with a backend's address by now.
    FromContainer = 3,
    /// [`from_netdev_to_node`](super::from_netdev_to_node).
    Unmasquerade = 4,
    /// [`error_leaving`](crate::service::packet::error_leaving): an ICMP error leaves the node.
    ErrorLeaving = 5,
    /// [`to_netdev_past_services`](super::to_netdev_past_services): an ICMP error that is
    /// about no service.
    Masquerade = 6,
    /// [`to_other_node`](crate::service::packet::to_other_node): came in for a service, and
    /// has a backend's address by now.
    ToOtherNode = 7,
    /// [`into_tunnel`](crate::service::overlay::into_tunnel): goes into the tunnel, and no
    /// pod of this node sent it.
    IntoTunnel = 8,
    /// [`error_to_pod`](crate::service::packet::error_to_pod): an ICMP error to a pod of this node.
    ErrorToPod = 9,
}
