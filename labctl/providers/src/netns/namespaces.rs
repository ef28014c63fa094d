//! Network namespaces of a lab, opened once in a run, each with its netlink
//! socket and what is known of its interfaces.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use lab_node::namespace;
use lab_node::netlink::Netlink;
use lab_node::node_network::Interfaces;

use super::places::Places;
use crate::error::ProviderError;

/// A network namespace of a lab.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The one with the bridge.
    Segment,
    /// A node's.
    Node(String),
}

impl Place {
    pub(super) fn node(name: &str) -> Self {
        Self::Node(name.to_owned())
    }

    fn path(&self, places: &Places) -> PathBuf {
        match self {
            Self::Segment => places.fabric(),
            Self::Node(node) => places.netns(node),
        }
    }
}

/// Index of the first interface that is made on a node: `eth0`, as on any machine.
pub(super) const FIRST_INTERFACE: u32 = 2;
/// Index of the first port, on the segment and in the world. The kernel takes a
/// veth interface with the index of its own peer for a device without one, and
/// may hear of its carrier a second late (link_watch.c, linkwatch_urgent_event).
pub(super) const FIRST_PORT: u32 = 101;

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment => out.write_str("the segment"),
            Self::Node(node) => out.write_str(node),
        }
    }
}

/// An open network namespace.
pub(super) struct Handle {
    /// The namespace; shared, since requests elsewhere refer to it.
    pub(super) netns: Arc<OwnedFd>,
    /// What is in it.
    pub(super) interfaces: Interfaces,
}

impl Handle {
    pub(super) fn new(netns: OwnedFd, interfaces: Interfaces) -> Self {
        Self {
            netns: netns.into(),
            interfaces,
        }
    }

    /// A namespace that was made a moment ago, with nothing in it but `lo`, whose
    /// interfaces are numbered from `next`.
    pub(super) fn fresh(netns: OwnedFd, netlink: Netlink, next: u32) -> Self {
        Self::new(netns, Interfaces::fresh(netlink, next))
    }
}

/// The namespaces that a run has opened.
pub(super) struct Namespaces<'a> {
    places: &'a Places,
    open: BTreeMap<Place, Handle>,
}

impl<'a> Namespaces<'a> {
    pub(super) const fn new(places: &'a Places) -> Self {
        Self {
            places,
            open: BTreeMap::new(),
        }
    }

    /// The namespace of `place`, opened unless it is already.
    pub(super) fn get(&mut self, place: &Place) -> Result<&mut Handle, ProviderError> {
        match self.open.entry(place.clone()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let netns = namespace::open(&place.path(self.places))?;
                let handle = Netlink::open_in(&netns)
                    .and_then(Interfaces::existing)
                    .map(|interfaces| Handle::new(netns, interfaces))
                    .map_err(ProviderError::netlink(&place.to_string()))?;
                Ok(entry.insert(handle))
            }
        }
    }

    /// Takes over a namespace made in this run.
    pub(super) fn adopt(&mut self, place: Place, handle: Handle) {
        self.open.insert(place, handle);
    }

    /// Lets go of a namespace: an open descriptor would keep it alive.
    pub(super) fn close(&mut self, place: &Place) {
        self.open.remove(place);
    }
}
