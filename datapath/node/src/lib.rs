//! Effects on one Linux node.
//!
//! The primitives, which the providers use as well: [`netlink`], [`namespace`],
//! [`cgroup`], [`process`], [`node_mounts`], [`node_network`], [`sysctl`]. On them stands the node
//! [`agent`], which makes a node match its `NodeState`; [`api`] is how to talk to
//! it, and [`cilium_dbg`] the command that shows what it says. [`flows`] remembers what passes
//! the node, and [`hubble`] is the command that shows that. [`outside`] is the
//! world's half of the links that leave the lab.

pub mod agent;
pub mod api;
pub mod cgroup;
pub mod cilium_dbg;
mod datapath;
pub mod dns_answers;
pub mod ebpf_loader;
pub mod flows;
pub mod gc;
pub mod hubble;
pub mod ip_masq_agent;
pub mod iptables;
mod l2;
pub mod machine;
pub mod namespace;
pub mod netlink;
pub mod node_cache;
pub mod node_mounts;
pub mod node_network;
pub mod outside;
pub mod process;
pub mod server;
mod services;
mod sock_diag;
pub mod sysctl;
mod verifier;
