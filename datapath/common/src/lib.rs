#![no_std]
//! What the kernel programs, the node agent and host tests share: map names
//! and layouts, and the packet logic itself.
//!
//! The logic is generic over [`kernel::Kernel`], so that `cargo test` runs the
//! very code that the verifier loads: on the host over a byte vector and hash
//! maps, in the kernel over an skb and BPF maps. `docs/datapath.md` tells what
//! it decides, in which order, and where it differs from Cilium.
//!
//! Addresses and ports in maps are in network byte order ([`Address`],
//! [`Port`]); everything else is in the machine's.

pub mod address;
pub mod arp;
pub mod checksum;
pub mod conntrack;
pub mod dns;
pub mod drop_reason;
pub mod endpoint;
pub mod fragment;
pub mod hooks;
pub mod ipv4;
pub mod kernel;
pub mod maps;
pub mod nat;
#[cfg(feature = "aya")]
mod pod;
pub mod programs;
pub mod service;
pub mod settings;
pub mod trace;
pub mod transport;
pub mod tunnel;
pub mod tuple;

pub use address::{Address, Port};
pub use drop_reason::DropReason;
pub use tuple::{Direction, Tuple, protocol};
