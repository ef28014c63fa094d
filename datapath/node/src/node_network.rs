//! The network of one node, in the terms of plans: what is there, and actions
//! carried out. Of the namespace that the calling thread is in, or that the
//! socket was opened in; whose namespace that is, providers and machines know.

mod changes;
mod hosts;
mod snapshot;

pub use changes::Interfaces;
pub use hosts::{hosts_file, hosts_in};
pub use snapshot::Snapshot;

use lab_model::plan::MacAddress;

use crate::netlink::Mac;

/// The planner's hardware address as netlink's.
#[must_use]
pub const fn mac(address: MacAddress) -> Mac {
    Mac(address.0)
}
