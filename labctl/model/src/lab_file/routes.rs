//! Static routes: where to, through whom, and on which nodes.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;

use super::addresses::{host_bits, inside_pods, inside_reserved, is_next_hop};
use super::{NodeEntry, Resolver, RouteEntry};
use crate::document::At;
use crate::lab::{Role, StaticRoute};

impl<'a> Resolver<'a> {
    /// Checks the routes and returns those that lead somewhere.
    pub(super) fn routes(&mut self) -> Vec<StaticRoute> {
        let file = self.file;
        let mut routes = Vec::new();
        let mut seen = HashMap::new();
        for (index, entry) in file.routes.iter().enumerate() {
            let at = self.root.key("routes").index(index);
            let on = self.nodes_with(&at, entry);
            if let Some(to) = entry.to {
                self.check_destination(&at.key("to"), to, &on);
                self.check_once(&at, to, &on, &mut seen);
            }
            let gateway = self.gateway(&at.key("via"), entry);
            if let (Some(to), Some(via), Some(gateway)) = (entry.to, &entry.via, gateway) {
                let on = on.into_iter().map(|(name, _)| name.to_owned()).collect();
                routes.push(StaticRoute {
                    to,
                    via: via.clone(),
                    gateway,
                    on,
                });
            }
        }
        routes
    }

    fn node(&self, name: &str) -> Option<&'a NodeEntry> {
        self.file.nodes.as_ref()?.get(name)
    }

    /// Whether the file has no node of that name, not even one that is all faults.
    fn is_unknown(&self, name: &str) -> bool {
        self.file.nodes.is_some() && !self.root.key("nodes").key(name).exists()
    }

    /// The nodes that `on` means, in the order of the file.
    fn nodes_with(&mut self, at: &At<'_>, entry: &RouteEntry) -> Vec<(&'a str, &'a NodeEntry)> {
        let nodes = || self.file.nodes.iter().flatten();
        let words = entry.on.as_deref().unwrap_or_default();
        for (index, word) in words.iter().enumerate() {
            let role = Role::ALL.into_iter().find(|role| role.as_str() == word);
            let at = at.key("on").index(index);
            if role.is_none() && self.is_unknown(word) {
                let names = nodes().map(|(name, _)| name.as_str());
                let known: Vec<_> = Role::ALL
                    .iter()
                    .map(|role| role.as_str())
                    .chain(names)
                    .collect();
                let fault = at.fault(format!("no node or role is called `{word}`"));
                self.faults
                    .push(fault.with_suggestion(word, known, || None));
            } else if *word == Role::World.as_str()
                || self
                    .node(word)
                    .is_some_and(|node| node.role == Some(Role::World))
            {
                let message =
                    "the world is not on the lab's network and cannot have routes over it";
                self.faults.push(at.fault(message));
            } else if role.is_none() && entry.via.as_ref() == Some(word) {
                let message = format!("`{word}` cannot have a route through itself");
                self.faults.push(at.fault(message));
            }
        }
        let meant = |name: &str, node: &NodeEntry| {
            let role = node.role.map_or("", Role::as_str);
            words.iter().any(|word| word == name || word == role)
                && node.role != Some(Role::World)
                && entry.via.as_deref() != Some(name)
        };
        nodes()
            .filter(|(name, node)| meant(name, node))
            .map(|(name, node)| (name.as_str(), node))
            .collect()
    }

    fn check_destination(&mut self, at: &At<'_>, to: Ipv4Net, on: &[(&str, &NodeEntry)]) {
        if let Some(fault) = host_bits(at, to) {
            self.faults.push(fault);
            return;
        }
        if let Some(network) = self.file.network.filter(|network| network.contains(&to)) {
            let message =
                format!("`{to}` is in the lab's network {network}, where nodes need no route");
            self.faults.push(at.fault(message));
        }
        if let Some((range, owner)) = inside_reserved(to) {
            self.faults
                .push(at.fault(format!("`{to}` is in {range}, {owner}")));
        }
        let in_cluster = |(_, node): &&(&str, &NodeEntry)| node.role.is_some_and(Role::runs_pods);
        if inside_pods(to)
            && let Some((name, _)) = on.iter().find(in_cluster)
        {
            let message = format!("`{to}` is the pods', which `{name}` has routes to by itself");
            let help = "only nodes outside the cluster need routes to pods";
            self.faults.push(at.fault(message).with_help(help));
        }
        let has_world = self
            .file
            .nodes
            .iter()
            .flatten()
            .any(|(_, node)| node.role == Some(Role::World));
        if to.prefix_len() == 0 && has_world {
            let message = "every node has a default route already, to the world";
            self.faults.push(at.fault(message));
        }
    }

    /// A node has one route to a destination.
    fn check_once(
        &mut self,
        at: &At<'_>,
        to: Ipv4Net,
        on: &[(&'a str, &NodeEntry)],
        seen: &mut HashMap<(&'a str, Ipv4Net), Range<usize>>,
    ) {
        let span = at.key("to").span();
        let mut doubles = on
            .iter()
            .filter_map(|(name, _)| Some((name, seen.get(&(*name, to))?.clone())));
        if let Some((name, first)) = doubles.next() {
            let fault = at
                .key("to")
                .fault(format!("`{name}` has a route to {to} already"));
            self.faults.push(fault.with_related(first, "first here"));
        }
        for (name, _) in on {
            seen.entry((name, to)).or_insert_with(|| span.clone());
        }
    }

    fn gateway(&mut self, at: &At<'_>, entry: &RouteEntry) -> Option<Ipv4Addr> {
        let via = entry.via.as_deref()?;
        let Some(node) = self.node(via) else {
            if self.is_unknown(via) {
                let names = self
                    .file
                    .nodes
                    .iter()
                    .flatten()
                    .map(|(name, _)| name.as_str());
                let fault = at.fault(format!("no node is called `{via}`"));
                self.faults.push(fault.with_suggestion(via, names, || None));
            }
            return None;
        };
        let gateway = is_next_hop(node);
        if gateway.is_none() && node.role == Some(Role::World) {
            let message = format!("`{via}` is the world, which is not on the lab's network");
            self.faults.push(at.fault(message));
        }
        gateway
    }
}
