//! Nodes: their names, roles, interfaces and servers.

use std::path::Path;

use super::{NodeEntry, Resolver, names, suggest_name};
use crate::document::At;
use crate::lab::{MachineSpec, Node, ProviderKind, Role, ZoneFile};

impl Resolver<'_> {
    /// Checks the nodes and returns those that have a role.
    pub(super) fn nodes(&mut self, folder: &Path) -> Vec<Node> {
        self.check_roles();
        let mut nodes = Vec::new();
        for (at, name, entry) in self.entries() {
            self.check_node_name(&at, name, entry);
            self.check_dummy_names(&at, entry);
            self.check_serve(&at, name, entry);
            self.check_zone(&at, name, entry);
            self.check_host(&at, name, entry);
            nodes.extend(entry.role.map(|role| {
                Node {
                    name: name.to_owned(),
                    role,
                    address: entry.address,
                    dummies: entry
                        .dummies
                        .iter()
                        .map(|(name, net)| (name.clone(), *net))
                        .collect(),
                    serve_http: entry.serve.http,
                    zone: entry.zone.as_ref().map(|path| ZoneFile {
                        path: folder.join(path),
                        text: String::new(),
                    }),
                    machine: machine(entry),
                }
            }));
        }
        nodes
    }

    /// At least one control plane, and at most one world.
    fn check_roles(&mut self) {
        let Some(nodes) = &self.file.nodes else {
            return;
        };
        let at = self.root.key("nodes");
        let entries = nodes.iter();
        // A node whose role is misspelt may be the control plane.
        let unknown = at
            .entries()
            .any(|(name, _)| nodes.get(name).is_none_or(|node| node.role.is_none()));
        let has_control_plane = entries
            .clone()
            .any(|(_, node)| node.role == Some(Role::ControlPlane));
        if !has_control_plane && !unknown {
            let fault = at.key_fault("no node is the control plane");
            self.faults
                .push(fault.with_help("give one node `role: control-plane`"));
        }
        let mut worlds = entries
            .filter(|(_, node)| node.role == Some(Role::World))
            .map(|(name, _)| name);
        let Some(first) = worlds.next() else { return };
        for name in worlds {
            let fault = at.key(name).key_fault(format!(
                "`{name}` is a second world, and there is only one outside"
            ));
            self.faults
                .push(fault.with_related(at.key(first).key_span(), "first here"));
        }
    }

    fn check_node_name(&mut self, at: &At<'_>, name: &str, entry: &NodeEntry) {
        if let Err(error) = names::node(name) {
            let fault = at.key_fault(format!("node name `{name}` {error}"));
            self.faults.push(suggest_name(fault, name, names::node));
        }
        // `on: [worker]` must not read as a node that is none.
        let other = Role::ALL.into_iter().find(|role| role.as_str() == name);
        if let (Some(other), Some(role)) = (other, entry.role)
            && other != role
        {
            let message =
                format!("node `{name}` has the name of the role {other}, but is a {role}");
            self.faults.push(at.key_fault(message));
        }
    }

    fn check_dummy_names(&mut self, at: &At<'_>, entry: &NodeEntry) {
        for dummy in entry.dummies.keys() {
            if let Err(error) = names::interface(dummy) {
                let at = at.key("dummies").key(dummy);
                self.faults
                    .push(at.key_fault(format!("interface name `{dummy}` {error}")));
            }
        }
    }

    fn check_host(&mut self, at: &At<'_>, name: &str, entry: &NodeEntry) {
        let is_world = entry.role == Some(Role::World);
        if self.file.provider == ProviderKind::Ssh && entry.host.is_none() && !is_world {
            let fault = at.key_fault(format!("`{name}` has no `host`, and the provider is ssh"));
            let help = "give it the login of a host: `host: user@192.0.2.10`";
            self.faults.push(fault.with_help(help));
        }
        if let (Some(host), true) = (&entry.host, is_world) {
            let message = format!("`{name}` is the world, and no host plays it: `{host}`");
            self.faults.push(at.key("host").fault(message));
        }
    }

    fn check_zone(&mut self, at: &At<'_>, name: &str, entry: &NodeEntry) {
        if let (Some(_), Some(role)) = (&entry.zone, entry.role)
            && role != Role::World
        {
            let message = format!("`{name}` is a {role}, and only the world answers DNS by itself");
            let fault = at.key("zone").key_fault(message);
            self.faults
                .push(fault.with_help("pods get cluster DNS with `dns: {}`"));
        }
    }

    fn check_serve(&mut self, at: &At<'_>, name: &str, entry: &NodeEntry) {
        let (Some(port), Some(role)) = (entry.serve.http, entry.role) else {
            return;
        };
        let at = at.key("serve").key("http");
        if role == Role::World {
            let fault = at.key_fault(format!(
                "`{name}` is the world, which serves HTTP by itself"
            ));
            self.faults.push(fault.with_help("leave `serve` out"));
        }
        let range = self.file.values.node_port.range;
        if role.runs_pods() && range.contains(port) {
            let message = format!("port {port} of `{name}` is in `nodePort.range`, {range}");
            self.faults.push(at.fault(message));
        }
    }
}

fn machine(entry: &NodeEntry) -> MachineSpec {
    let usual = MachineSpec::default();
    MachineSpec {
        memory_mib: entry.memory.unwrap_or(usual.memory_mib),
        cpus: entry.cpus.unwrap_or(usual.cpus),
        host: entry.host.clone(),
    }
}
