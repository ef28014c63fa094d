//! `dns:`: cluster DNS, and the cache of each node.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Resolver, names};
use crate::document::At;
use crate::lab::{Dns, NodeLocalDns, NodeLocalVia};

/// Cluster DNS.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsEntry {
    /// Search domains of the nodes, which pods have behind the cluster's own.
    #[serde(default)]
    search: Vec<String>,
    /// A DNS cache on every node (NodeLocal DNSCache).
    #[serde(rename = "nodeLocal")]
    node_local: Option<NodeLocalEntry>,
}

/// The DNS cache of each node.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NodeLocalEntry {
    /// Address of the cache, the same on every node; link-local, and 169.254.20.10 unless given.
    address: Option<Ipv4Addr>,
    /// How queries for kube-dns get to it: `redirect`, by a CiliumLocalRedirectPolicy
    /// (the default where `localRedirectPolicies` are enabled), or `interface`, by an
    /// interface of the node that has both addresses.
    via: Option<NodeLocalVia>,
}

/// The address that the documentation of Kubernetes uses.
const USUAL_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);

/// Search domains of a pod are at most this many, with the cluster's three (kubelet).
const MAX_SEARCH: usize = 32 - 3;

impl Resolver<'_> {
    /// Cluster DNS, as far as it has no faults.
    pub(super) fn dns(&mut self) -> Option<Dns> {
        let entry = self.file.dns.as_ref()?;
        let at = self.root.key("dns");
        self.check_search(&at.key("search"), &entry.search);
        let node_local = entry.node_local.as_ref();
        Some(Dns {
            search: entry.search.clone(),
            node_local: node_local.map(|entry| self.node_local(&at.key("nodeLocal"), entry)),
        })
    }

    fn check_search(&mut self, at: &At<'_>, domains: &[String]) {
        if domains.len() > MAX_SEARCH {
            let message =
                format!("a pod can have {MAX_SEARCH} search domains beside the cluster's");
            self.faults.push(at.index(MAX_SEARCH).fault(message));
        }
        for (index, domain) in domains.iter().enumerate() {
            if let Err(error) = names::domain(domain) {
                let message = format!("search domain `{domain}` {error}");
                self.faults.push(at.index(index).fault(message));
            }
        }
    }

    fn node_local(&mut self, at: &At<'_>, entry: &NodeLocalEntry) -> NodeLocalDns {
        let address = entry.address.unwrap_or(USUAL_ADDRESS);
        if !address.is_link_local() {
            let message = format!("{address} may be somebody's: the cache's address is link-local");
            let help = format!("use one of 169.254.0.0/16, like {USUAL_ADDRESS}");
            let fault = at.key("address").fault(message).with_help(help);
            self.faults.push(fault);
        }
        let redirects = self.file.values.redirects_locally();
        let via = entry.via.unwrap_or(if redirects {
            NodeLocalVia::Redirect
        } else {
            NodeLocalVia::Interface
        });
        if via == NodeLocalVia::Redirect && !redirects {
            let message = "no local redirect policy is obeyed in this lab";
            let help =
                "use localRedirectPolicies: {enabled: true} in `values`, or `via: interface`";
            self.faults
                .push(at.key("via").fault(message).with_help(help));
        }
        NodeLocalDns { address, via }
    }
}
