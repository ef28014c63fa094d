#![no_std]
#![no_main]
//! The datapath: one thin program per hook around the logic of
//! `lab-datapath-common`.

mod action;
mod events;
mod functions;
mod kernel;
mod maps;
mod runtime;
mod service_maps;
mod services;
mod skb;

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use lab_datapath_common::hooks;
use lab_datapath_common::maps::{METRIC_EGRESS, METRIC_INGRESS};
use lab_datapath_common::service::{overlay, packet};
use lab_datapath_common::tunnel;

use crate::skb::Skb;

/// Ingress of `lxc…`.
#[classifier]
fn cil_from_container(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = hooks::from_container(&mut skb);
    skb.finish(outcome, METRIC_EGRESS)
}

/// Egress of `lxc…`.
#[classifier]
fn cil_to_container(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = hooks::to_container(&mut skb);
    skb.finish(outcome, METRIC_INGRESS)
}

/// Ingress of a managed device.
#[classifier]
fn cil_from_netdev(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = hooks::from_netdev(&mut skb);
    skb.finish(outcome, METRIC_INGRESS)
}

/// Egress of a managed device.
#[classifier]
fn cil_to_netdev(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = hooks::to_netdev(&mut skb);
    skb.finish(outcome, METRIC_EGRESS)
}

/// Ingress of the tunnel's device.
#[classifier]
fn cil_from_overlay(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = tunnel::from_overlay(&mut skb);
    skb.finish(outcome, METRIC_INGRESS)
}

/// Egress of the tunnel's device.
#[classifier]
fn cil_to_overlay(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = tunnel::to_overlay(&mut skb);
    skb.finish(outcome, METRIC_EGRESS)
}

/// Egress of `cilium_host`.
#[classifier]
fn cil_from_host(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = tunnel::from_host(&mut skb);
    skb.finish(outcome, METRIC_EGRESS)
}

/// Ingress of `cilium_host` and `cilium_net`.
#[classifier]
fn cil_to_host(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = tunnel::to_host(&mut skb);
    skb.finish(outcome, METRIC_INGRESS)
}

/// Called by `cil_from_netdev`.
#[classifier]
fn tail_nodeport_ingress_ipv4(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = packet::from_outside(&mut skb);
    skb.finish(outcome, METRIC_INGRESS)
}

/// Called by `cil_from_container`.
#[classifier]
fn tail_service_from_pod(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = packet::from_pod(&mut skb);
    skb.finish(outcome, METRIC_EGRESS)
}

/// Called by `cil_from_netdev`.
#[classifier]
fn tail_nodeport_nat_ingress_ipv4(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = hooks::from_netdev_to_node(&mut skb);
    skb.finish(outcome, METRIC_INGRESS)
}

/// Called by `cil_to_netdev`.
#[classifier]
fn tail_service_icmp_error(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = packet::error_leaving(&mut skb);
    skb.finish(outcome, METRIC_EGRESS)
}

/// Called by `tail_service_icmp_error`.
#[classifier]
fn tail_handle_snat_fwd_ipv4(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = hooks::to_netdev_past_services(&mut skb);
    skb.finish(outcome, METRIC_EGRESS)
}

/// Called by `tail_nodeport_ingress_ipv4`.
#[classifier]
fn tail_nodeport_to_other_node(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = packet::to_other_node(&mut skb);
    skb.finish(outcome, METRIC_INGRESS)
}

/// Called where packets go on into a pod.
#[classifier]
fn tail_service_icmp_error_to_pod(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = packet::error_to_pod(&mut skb);
    skb.finish(outcome, METRIC_INGRESS)
}

/// Called by `cil_to_overlay`.
#[classifier]
fn tail_nodeport_nat_egress_ipv4(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let outcome = overlay::into_tunnel(&mut skb);
    skb.finish(outcome, METRIC_EGRESS)
}
