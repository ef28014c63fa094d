#![no_std]
#![no_main]
//! The outside of a lab: every node has the same address on `eth0`, so the
//! world tells them apart by the interface their packets come in through, and
//! gives each a distinct address.

mod runtime;
mod skb;

use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;
use lab_datapath_common::kernel::Packet as _;
use lab_datapath_common::maps::OUTSIDE_NODE_ADDRESS;
use lab_datapath_common::nat::one_to_one::replace;
use lab_datapath_common::nat::rewrite::Side;
use lab_datapath_common::{Address, DropReason};

use crate::skb::{CONTINUE, DROP, Skb};

/// Distinct address of the node behind each interface.
#[btf_map(name = "outside_addresses")]
static OUTSIDE_ADDRESSES: HashMap<u32, Address, 4096> = HashMap::new();

/// Ingress from a node.
#[classifier]
fn outside_in(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let Some(address) = address_of(&skb) else {
        return CONTINUE;
    };
    finish(replace(
        &mut skb,
        Side::Source,
        OUTSIDE_NODE_ADDRESS,
        address,
    ))
}

/// Egress towards a node.
#[classifier]
fn outside_out(context: TcContext) -> i32 {
    let mut skb = Skb::new(context);
    let Some(address) = address_of(&skb) else {
        return CONTINUE;
    };
    finish(replace(
        &mut skb,
        Side::Destination,
        address,
        OUTSIDE_NODE_ADDRESS,
    ))
}

#[inline(always)]
fn address_of(skb: &Skb) -> Option<Address> {
    // SAFETY: copied at once; programs never write the map.
    unsafe { OUTSIDE_ADDRESSES.get(skb.ifindex()) }.copied()
}

#[inline(always)]
const fn finish(outcome: Result<(), DropReason>) -> i32 {
    match outcome {
        Ok(()) => CONTINUE,
        Err(_) => DROP,
    }
}
