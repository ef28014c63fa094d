//! A network namespace as it is now.

use std::net::Ipv4Addr;

use crate::netlink::{Address, Link, Netlink, NetlinkError, Route, Scope};

/// Interfaces, addresses and routes at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeView {
    pub(crate) links: Vec<Link>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) routes: Vec<Route>,
}

impl NodeView {
    /// Reads all three.
    pub(crate) fn read(netlink: &mut Netlink) -> Result<Self, NetlinkError> {
        Ok(Self {
            links: netlink.links()?,
            addresses: netlink.addresses()?,
            routes: netlink.routes()?,
        })
    }

    /// The interface of that name.
    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The name of the interface with that index.
    pub(crate) fn name_of(&self, index: u32) -> Option<String> {
        self.links
            .iter()
            .find(|link| link.index == index)
            .map(|link| link.name.clone())
    }

    /// The first global address of an interface: what flows that leave through
    /// it are masqueraded to.
    pub(crate) fn address_of(&self, index: u32) -> Option<Ipv4Addr> {
        let own = self
            .addresses
            .iter()
            .filter(|address| address.device == index);
        own.clone()
            .find(|address| address.scope == Scope::Universe)
            .or_else(|| own.clone().next())
            .map(|address| address.address.addr())
    }
}
