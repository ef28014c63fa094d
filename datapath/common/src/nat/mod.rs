//! IPv4 masquerading (SNAT) and its reverse.
//!
//! Leaving a managed device: [`decision`] says whether, [`mapping`] says to
//! which address and port, [`rewrite`] and [`icmp_error`] write it. Coming in:
//! [`reverse`]. One map holds both directions of every mapping.

pub mod decision;
pub mod egress;
pub mod icmp_error;
pub mod mapping;
pub mod one_to_one;
pub mod reverse;
pub mod rewrite;

use crate::address::{Address, Port};

/// Value of `cilium_snat_v4_external`. Under an OUT key: the source that
/// replaces the packet's; under an IN key: the destination that does.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatEntry {
    /// When the entry was made, in seconds of `CLOCK_MONOTONIC`.
    pub created: u32,
    /// Address to write.
    pub address: Address,
    /// Port, or ICMP echo identifier, to write.
    pub port: Port,
    /// 1 when the NAT program itself keeps the flow's conntrack entry (host
    /// traffic, whose port is only reserved), else 0 (pods).
    pub needs_ct: u16,
}

/// Tries to find a free port before a packet is dropped; also the highest
/// index of `cilium_snat_v4_alloc_retries`, where failures are counted.
pub const COLLISION_RETRIES: u32 = 32;

/// More retries than this wake the agent's garbage collection.
pub const SIGNAL_THRESHOLD: u32 = 16;
