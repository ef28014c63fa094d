//! Effects on one Linux node.
//!
//! The primitives, which the providers use as well: [`netlink`], [`namespace`],
//! [`cgroup`], [`process`], [`node_mounts`], [`sysctl`].

pub mod cgroup;
pub mod namespace;
pub mod netlink;
pub mod node_mounts;
pub mod process;
pub mod sysctl;
