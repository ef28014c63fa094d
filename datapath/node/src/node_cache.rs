//! What node-cache does to its node's network: an interface that has the cache's
//! addresses, and iptables rules that keep what goes there out of conntrack.
//!
//! [`LocalNetwork::ensure`] makes them, or mends them: whatever is there of an earlier
//! process, also of one that was killed, comes to the same. [`LocalNetwork::remove`]
//! takes them away. Both act on the namespace of the process that calls.

mod rules;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_dns::metrics::SetupError;
use lab_model::node_state::NodeCache;

use crate::iptables::{IptablesError, restore_text, saved_text};
use crate::netlink::{LinkChange, LinkEnd, Netlink, NetlinkError, Request, Scope};

/// The interface and rules of one cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalNetwork {
    /// Name of the interface, where one is to be made.
    pub interface: Option<String>,
    /// Addresses of the cache.
    pub addresses: Vec<Ipv4Addr>,
    /// Port of the cache's health checks, where rules are to be made.
    pub rules: Option<u16>,
}

/// What did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum NodeCacheError {
    /// The interface could not be made.
    #[error("make the interface {name}: {source}")]
    AddInterface {
        /// Its name.
        name: String,
        /// What the kernel answered.
        source: NetlinkError,
    },
    /// Interfaces could not be looked at.
    #[error("look at the interface {name}: {source}")]
    CheckInterface {
        /// Its name.
        name: String,
        /// What the kernel answered.
        source: NetlinkError,
    },
    /// The rules could not be made.
    #[error(transparent)]
    Iptables(#[from] IptablesError),
}

impl NodeCacheError {
    /// How `coredns_nodecache_setup_errors_total` counts it.
    #[must_use]
    pub fn counted_as(&self) -> SetupError {
        match self {
            Self::AddInterface { .. } => SetupError::InterfaceAdd,
            Self::CheckInterface { .. } => SetupError::InterfaceCheck,
            Self::Iptables(IptablesError::Refused { complaint, .. })
                if complaint.contains("xtables lock") =>
            {
                SetupError::IptablesLock
            }
            Self::Iptables(_) => SetupError::Iptables,
        }
    }
}

impl LocalNetwork {
    /// What a node-cache with these arguments makes.
    #[must_use]
    pub fn of(cache: &NodeCache) -> Self {
        Self {
            interface: cache.setup_interface.then(|| cache.interface.clone()),
            addresses: cache.local_ips.clone(),
            rules: cache.setup_iptables.then_some(cache.health_port),
        }
    }

    /// Makes what is not there, the interface first, and says whether anything was not.
    ///
    /// # Errors
    /// When the kernel or a command refuses.
    pub fn ensure(&self) -> Result<bool, NodeCacheError> {
        let made = match &self.interface {
            Some(name) => self.ensure_interface(name)?,
            None => false,
        };
        let Some(health_port) = self.rules else {
            return Ok(made);
        };
        let wanted = rules::rules(&self.addresses, health_port);
        match rules::changes(&saved_text()?, &wanted) {
            Some(input) => restore_text(&input).map(|()| true),
            None => Ok(made),
        }
        .map_err(NodeCacheError::from)
    }

    fn ensure_interface(&self, name: &str) -> Result<bool, NodeCacheError> {
        let check = |source| NodeCacheError::CheckInterface {
            name: name.to_owned(),
            source,
        };
        let add = |source| NodeCacheError::AddInterface {
            name: name.to_owned(),
            source,
        };
        let mut netlink = Netlink::open().map_err(check)?;
        let (mut there, mut made) = (netlink.link(name).map_err(check)?, false);
        if there.is_none() {
            netlink.add_dummy(&LinkEnd::named(name)).map_err(add)?;
            (there, made) = (netlink.link(name).map_err(check)?, true);
        }
        let Some(link) = there else { return Ok(made) };
        let present = netlink.addresses().map_err(check)?;
        for address in &self.addresses {
            let address = Ipv4Net::from(*address);
            let is_it = |it: &crate::netlink::Address| {
                it.device == link.index && it.address.addr() == address.addr()
            };
            if !present.iter().any(is_it) {
                let request = Request::AddAddress {
                    device: link.index,
                    address,
                    scope: Scope::Universe,
                };
                netlink.execute(&request).map_err(add)?;
                made = true;
            }
        }
        if !link.up {
            let request = Request::SetLink {
                name: name.to_owned(),
                change: LinkChange::up(),
            };
            netlink.execute(&request).map_err(add)?;
            made = true;
        }
        Ok(made)
    }

    /// Takes the interface and the rules away, as far as they are there.
    ///
    /// # Errors
    /// When the kernel or a command refuses; the interface is tried in any case.
    pub fn remove(&self) -> Result<(), NodeCacheError> {
        let removed = match &self.interface {
            Some(name) => remove_interface(name),
            None => Ok(()),
        };
        if self.rules.is_some()
            && let Some(input) = rules::changes(&saved_text()?, &[])
        {
            restore_text(&input)?;
        }
        removed
    }
}

fn remove_interface(name: &str) -> Result<(), NodeCacheError> {
    let check = |source| NodeCacheError::CheckInterface {
        name: name.to_owned(),
        source,
    };
    let mut netlink = Netlink::open().map_err(check)?;
    if netlink.link(name).map_err(check)?.is_some() {
        let name = name.to_owned();
        netlink
            .execute(&Request::DeleteLink { name })
            .map_err(check)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
