#![no_std]
#![no_main]
//! The datapath's programs and maps by name, and none of its work: every packet
//! passes untouched. With it loaded in place of the datapath, checks must fail.

mod maps;
mod runtime;
mod service_maps;

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// `TC_ACT_UNSPEC`, `TCX_NEXT`.
const CONTINUE: i32 = -1;

/// Ingress of `lxc…`.
#[classifier]
fn cil_from_container(_: TcContext) -> i32 {
    CONTINUE
}

/// Egress of `lxc…`.
#[classifier]
fn cil_to_container(_: TcContext) -> i32 {
    CONTINUE
}

/// Ingress of a managed device.
#[classifier]
fn cil_from_netdev(_: TcContext) -> i32 {
    CONTINUE
}

/// Egress of a managed device.
#[classifier]
fn cil_to_netdev(_: TcContext) -> i32 {
    CONTINUE
}

/// Ingress of the tunnel's device.
#[classifier]
fn cil_from_overlay(_: TcContext) -> i32 {
    CONTINUE
}

/// Egress of the tunnel's device.
#[classifier]
fn cil_to_overlay(_: TcContext) -> i32 {
    CONTINUE
}

/// Egress of `cilium_host`.
#[classifier]
fn cil_from_host(_: TcContext) -> i32 {
    CONTINUE
}

/// Ingress of `cilium_host` and `cilium_net`.
#[classifier]
fn cil_to_host(_: TcContext) -> i32 {
    CONTINUE
}

/// Called by nobody here.
#[classifier]
fn tail_nodeport_ingress_ipv4(_: TcContext) -> i32 {
    CONTINUE
}

/// Likewise.
#[classifier]
fn tail_service_from_pod(_: TcContext) -> i32 {
    CONTINUE
}

/// Likewise.
#[classifier]
fn tail_nodeport_nat_ingress_ipv4(_: TcContext) -> i32 {
    CONTINUE
}

/// Likewise.
#[classifier]
fn tail_service_icmp_error(_: TcContext) -> i32 {
    CONTINUE
}

/// Likewise.
#[classifier]
fn tail_handle_snat_fwd_ipv4(_: TcContext) -> i32 {
    CONTINUE
}

/// Likewise.
#[classifier]
fn tail_nodeport_to_other_node(_: TcContext) -> i32 {
    CONTINUE
}

/// Likewise.
#[classifier]
fn tail_nodeport_nat_egress_ipv4(_: TcContext) -> i32 {
    CONTINUE
}

/// Likewise.
#[classifier]
fn tail_service_icmp_error_to_pod(_: TcContext) -> i32 {
    CONTINUE
}
