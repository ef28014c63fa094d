//! Names of the programs; those of the datapath object are all `classifier` (tc)
//! programs.

/// At ingress of `lxc…`: what a pod sends.
pub const FROM_CONTAINER: &str = "cil_from_container";
/// At egress of `lxc…`: what a pod receives through the stack.
pub const TO_CONTAINER: &str = "cil_to_container";
/// At ingress of a managed device.
pub const FROM_NETDEV: &str = "cil_from_netdev";
/// At egress of a managed device.
pub const TO_NETDEV: &str = "cil_to_netdev";
/// At ingress of `cilium_vxlan`: what came in through the tunnel.
pub const FROM_OVERLAY: &str = "cil_from_overlay";
/// At egress of `cilium_vxlan`: what goes into the tunnel.
pub const TO_OVERLAY: &str = "cil_to_overlay";
/// At egress of `cilium_host`: what the stack sends to pods of other nodes.
pub const FROM_HOST: &str = "cil_from_host";
/// At ingress of `cilium_host` and `cilium_net`: what the host gets from pods of other
/// nodes.
pub const TO_HOST: &str = "cil_to_host";

/// Every program of the datapath object.
pub const ALL: [&str; 8] = [
    FROM_CONTAINER,
    TO_CONTAINER,
    FROM_NETDEV,
    TO_NETDEV,
    FROM_OVERLAY,
    TO_OVERLAY,
    FROM_HOST,
    TO_HOST,
];

/// [`Stage::ServiceFromOutside`](crate::hooks::Stage): a packet from outside, to a service.
pub const SERVICE_FROM_OUTSIDE: &str = "tail_nodeport_ingress_ipv4";
/// [`Stage::ServiceFromPod`](crate::hooks::Stage): a pod's packet to a service.
pub const SERVICE_FROM_POD: &str = "tail_service_from_pod";

/// [`Stage::Unmasquerade`](crate::hooks::Stage): a packet from outside, to the node.
pub const UNMASQUERADE: &str = "tail_nodeport_nat_ingress_ipv4";

/// [`Stage::ErrorLeaving`](crate::hooks::Stage): an ICMP error leaves the node.
pub const ERROR_LEAVING: &str = "tail_service_icmp_error";
/// [`Stage::Masquerade`](crate::hooks::Stage): an ICMP error that is about no service.
pub const MASQUERADE: &str = "tail_handle_snat_fwd_ipv4";

/// [`Stage::ToOtherNode`](crate::hooks::Stage): on to a service's backend on another node.
pub const TO_OTHER_NODE: &str = "tail_nodeport_to_other_node";

/// [`Stage::ErrorToPod`](crate::hooks::Stage): an ICMP error to a pod of this node.
pub const ERROR_TO_POD: &str = "tail_service_icmp_error_to_pod";

/// [`Stage::IntoTunnel`](crate::hooks::Stage): into the tunnel, and not from a pod of this node.
pub const INTO_TUNNEL: &str = "tail_nodeport_nat_egress_ipv4";

/// Every program of the datapath object that others call, and that is attached nowhere.
pub const CALLED: [&str; 8] = [
    ERROR_TO_POD,
    TO_OTHER_NODE,
    INTO_TUNNEL,
    SERVICE_FROM_OUTSIDE,
    SERVICE_FROM_POD,
    UNMASQUERADE,
    ERROR_LEAVING,
    MASQUERADE,
];

/// What is behind each index of `cilium_calls` ([`Stage`](crate::hooks::Stage)).
pub const CALLS: [&str; 10] = [
    SERVICE_FROM_OUTSIDE,
    SERVICE_FROM_POD,
    FROM_NETDEV,
    FROM_CONTAINER,
    UNMASQUERADE,
    ERROR_LEAVING,
    MASQUERADE,
    TO_OTHER_NODE,
    INTO_TUNNEL,
    ERROR_TO_POD,
];

/// Object `sock`: programs on the node's cgroup, and so on every socket of the node
/// and its pods.
pub mod sock {
    /// `connect` of an IPv4 socket.
    pub const CONNECT4: &str = "cil_sock4_connect";
    /// `sendmsg` with an address, of an IPv4 UDP socket.
    pub const SENDMSG4: &str = "cil_sock4_sendmsg";
    /// `recvmsg` that asks for the address, of an IPv4 UDP socket.
    pub const RECVMSG4: &str = "cil_sock4_recvmsg";
    /// `getpeername` of an IPv4 socket.
    pub const GETPEERNAME4: &str = "cil_sock4_getpeername";
    /// After `bind` of an IPv4 socket.
    pub const POST_BIND4: &str = "cil_sock4_post_bind";
    /// `connect` of an IPv6 socket, to an IPv4 address.
    pub const CONNECT6: &str = "cil_sock6_connect";
    /// `sendmsg` of an IPv6 socket, to an IPv4 address.
    pub const SENDMSG6: &str = "cil_sock6_sendmsg";
    /// `recvmsg` of an IPv6 socket, from an IPv4 address.
    pub const RECVMSG6: &str = "cil_sock6_recvmsg";
    /// `getpeername` of an IPv6 socket with an IPv4 peer.
    pub const GETPEERNAME6: &str = "cil_sock6_getpeername";

    /// Every program of the object.
    pub const ALL: [&str; 9] = [
        CONNECT4,
        SENDMSG4,
        RECVMSG4,
        GETPEERNAME4,
        POST_BIND4,
        CONNECT6,
        SENDMSG6,
        RECVMSG6,
        GETPEERNAME6,
    ];
}

/// Object `outside`, at ingress of the world's interface towards a node.
pub const OUTSIDE_IN: &str = "outside_in";
/// Object `outside`, at egress of the world's interface towards a node.
pub const OUTSIDE_OUT: &str = "outside_out";

/// Object `dns`, at ingress of the interface through which clients reach a DNS server.
pub const DNS_CACHED: &str = "cil_dns_cached";

/// Object `rewind`, for measurements: restores the packet, then calls the program
/// in its array `measured`.
pub const REWIND: &str = "rewind";
/// How much of the packet that restores, in bytes: Ethernet, IPv4 and TCP headers,
/// and some payload.
pub const REWOUND_BYTES: usize = 64;
