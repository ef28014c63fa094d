//! Names of the programs; all are `classifier` (tc) programs.

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

/// Object `outside`, at ingress of the world's interface towards a node.
pub const OUTSIDE_IN: &str = "outside_in";
/// Object `outside`, at egress of the world's interface towards a node.
pub const OUTSIDE_OUT: &str = "outside_out";

/// Object `rewind`, for measurements: restores the packet, then calls the program
/// in its array `measured`.
pub const REWIND: &str = "rewind";
/// How much of the packet that restores, in bytes: Ethernet, IPv4 and TCP headers,
/// and some payload.
pub const REWOUND_BYTES: usize = 64;
