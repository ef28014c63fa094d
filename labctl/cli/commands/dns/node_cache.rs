//! What node-cache does to its node beside answering: an interface with its addresses
//! before it listens, iptables rules once it answers, and a look at both now and then.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lab_dns::metrics::Registry;
use lab_node::node_cache::{LocalNetwork, NodeCacheError};

use crate::args::DnsArgs;

/// Keeps the node's network as the cache needs it.
pub(super) struct Keeper {
    network: LocalNetwork,
    interval: Duration,
    leaves_it: bool,
    metrics: Arc<Registry>,
}

impl Keeper {
    /// For a cache that is to do anything to its node.
    pub(super) fn new(args: &DnsArgs, metrics: &Arc<Registry>) -> Option<Self> {
        let own = &args.node_cache;
        if own.setup_interface.is_none() && !own.setup_iptables {
            return None;
        }
        metrics.count_setup_errors();
        let addresses = args.local_ip.iter().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        Some(Self {
            network: LocalNetwork {
                interface: own.setup_interface.clone(),
                addresses: addresses.collect(),
                rules: own.setup_iptables.then_some(own.health_port),
            },
            interval: Duration::from_secs(own.sync_interval.into()),
            leaves_it: own.skip_teardown,
            metrics: Arc::clone(metrics),
        })
    }

    /// Without rules yet: a server that fails to start must not leave any.
    pub(super) fn set_interface_up(&self) {
        let alone = LocalNetwork {
            rules: None,
            ..self.network.clone()
        };
        self.note(alone.ensure().map(drop));
    }

    /// Makes the rules, and sees to both until the process ends.
    pub(super) fn keep(self: Arc<Self>) {
        self.note(self.network.ensure().map(drop));
        thread::spawn(move || {
            loop {
                thread::sleep(self.interval);
                match self.network.ensure() {
                    Ok(true) => eprintln!("[INFO] interface or iptables rules were made again"),
                    ensured => self.note(ensured.map(drop)),
                }
            }
        });
    }

    /// Takes away what was made, unless it is to stay.
    pub(super) fn tear_down(&self) {
        if !self.leaves_it {
            self.note(self.network.remove());
        }
    }

    fn note(&self, outcome: Result<(), NodeCacheError>) {
        if let Err(error) = outcome {
            self.metrics.setup_error(error.counted_as());
            eprintln!("[ERROR] failed to {error}");
        }
    }
}
