//! The lab file: what users write, and how it becomes a [`Lab`].
//!
//! [`parse`] reports every fault at once. Those of form (unknown keys, wrong
//! types, misspelt words) come from the types below through
//! [`crate::document`]; those of meaning (addresses outside the network, names
//! that cannot be, routes to nowhere) from the modules of this one, which look
//! at whatever fits, also when something else does not.

mod addresses;
mod dns;
mod names;
mod nodes;
mod routes;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use ipnet::Ipv4Net;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;

use dns::DnsEntry;
pub use names::NameError;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::document::{At, Document, format};
use crate::lab::{Lab, ProviderKind, Role};
use crate::values::Values;

/// A lab: its machines, the network between them, and what runs on it.
//
// Required keys are `Option`s so that a file that lacks one can still be looked
// at; the schema demands them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LabFile {
    /// The lab's name: lower-case letters, digits and `-`, at most 32 bytes.
    #[schemars(required)]
    name: Option<String>,
    /// The network segment that every node but the world has `eth1` on, like 192.168.10.0/24.
    #[schemars(required, schema_with = "format::ipv4_prefix")]
    network: Option<Ipv4Net>,
    /// Where the lab is made: in namespaces of this host's kernel, as virtual
    /// machines on QEMU or by Vagrant, or on hosts that are there already.
    #[serde(default)]
    provider: ProviderKind,
    /// The machines by host name, in the order in which they get their podCIDRs.
    #[schemars(required, with = "IndexMap<String, NodeEntry>")]
    nodes: Option<IndexMap<String, NodeEntry>>,
    /// Static routes.
    #[serde(default)]
    routes: Vec<RouteEntry>,
    /// Cilium's Helm values.
    #[serde(default)]
    values: Values,
    /// Cluster DNS: CoreDNS behind the service kube-dns, 10.96.0.10. Without it, a
    /// lab has none.
    dns: Option<DnsEntry>,
    /// Kubernetes manifests to apply; paths are relative to this file's folder.
    #[serde(default)]
    manifests: Vec<String>,
    /// Check files; paths are relative to this file's folder.
    #[serde(default)]
    checks: Vec<String>,
}

/// A machine of the lab.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NodeEntry {
    /// What the node does.
    #[schemars(required)]
    role: Option<Role>,
    /// Address of `eth1`, out of the lab's network; every node but the world has one.
    address: Option<Ipv4Addr>,
    /// Dummy interfaces by name, each with its address and prefix length.
    #[serde(default)]
    #[schemars(schema_with = "format::ipv4_prefixes_by_name")]
    dummies: IndexMap<String, Ipv4Net>,
    /// What the node itself serves.
    #[serde(default)]
    serve: Serve,
    /// Zone file that the world answers DNS from, on 10.0.2.3; its path is relative to
    /// this file's folder.
    #[schemars(length(min = 1))]
    zone: Option<String>,
    /// RAM of a virtual machine, in MiB.
    #[schemars(range(min = 128, max = 1_048_576))]
    memory: Option<u32>,
    /// Processors of a virtual machine.
    #[schemars(range(min = 1, max = 255))]
    cpus: Option<u32>,
    /// The host that the node is, for the ssh provider: a login like
    /// user@192.0.2.10, or a name that ~/.ssh/config knows.
    #[schemars(length(min = 1))]
    host: Option<String>,
}

/// What a node serves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Serve {
    /// TCP port of an HTTP server that tells who asked.
    #[schemars(range(min = 1, max = 65535))]
    http: Option<u16>,
}

/// A static route.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RouteEntry {
    /// Destination, like 10.10.0.0/16.
    #[schemars(required, schema_with = "format::ipv4_prefix")]
    to: Option<Ipv4Net>,
    /// The node that packets are handed to.
    #[schemars(required)]
    via: Option<String>,
    /// Nodes and roles that have the route.
    #[schemars(required, length(min = 1))]
    on: Option<Vec<String>>,
}

/// Parses and validates a lab file. Relative paths of manifests and checks are
/// resolved against `folder`; whether the files exist is not looked at.
///
/// # Errors
///
/// Every fault of the file.
pub fn parse(file_name: &str, text: &str, folder: &Path) -> Result<Lab, Diagnostics> {
    let document = Document::parse(file_name, text)?;
    let (file, faults) = document.read_partial::<LabFile>()?;
    Resolver {
        file: &file,
        root: document.at(),
        faults,
    }
    .resolve(folder)
}

/// Whether a lab can have that name.
///
/// # Errors
///
/// Why it cannot.
pub fn check_name(name: &str) -> Result<(), NameError> {
    names::lab(name)
}

/// The JSON Schema of lab files, for editors.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<LabFile>();
    schema.insert("title".to_owned(), "labctl lab file".into());
    schema.to_value()
}

/// A file on its way to a lab.
struct Resolver<'a> {
    file: &'a LabFile,
    root: At<'a>,
    faults: Diagnostics,
}

impl<'a> Resolver<'a> {
    /// The nodes that are maps, each with its place.
    fn entries(&self) -> Vec<(At<'a>, &'a str, &'a NodeEntry)> {
        let Some(nodes) = &self.file.nodes else {
            return Vec::new();
        };
        let at = self.root.key("nodes");
        at.entries()
            .filter_map(|(name, at)| Some((at, name, nodes.get(name)?)))
            .collect()
    }

    fn resolve(mut self, folder: &Path) -> Result<Lab, Diagnostics> {
        self.check_name();
        self.check_addresses();
        self.check_devices();
        self.check_values();
        let nodes = self.nodes(folder);
        let dns = self.dns();
        let routes = self.routes();
        let manifests = self.paths("manifests", &self.file.manifests, folder);
        let checks = self.paths("checks", &self.file.checks, folder);
        // Defaults stand in only where a fault has been reported.
        self.faults.or(Lab {
            name: self.file.name.clone().unwrap_or_default(),
            network: self.file.network.unwrap_or_default(),
            provider: self.file.provider,
            nodes,
            routes,
            values: self.file.values.clone(),
            dns,
            manifests,
            checks,
        })
    }

    fn check_name(&mut self) {
        let Some(name) = &self.file.name else { return };
        if let Err(error) = names::lab(name) {
            let fault = self
                .root
                .key("name")
                .fault(format!("lab name `{name}` {error}"));
            self.faults.push(suggest_name(fault, name, names::lab));
        }
    }

    /// Managed devices must be there: `eth1`, and `eth0` where the lab has an outside.
    fn check_devices(&mut self) {
        let Some(nodes) = &self.file.nodes else {
            return;
        };
        let has_world = nodes.values().any(|node| node.role == Some(Role::World));
        let known: &[&str] = if has_world {
            &["eth0", "eth1"]
        } else {
            &["eth1"]
        };
        let at = self.root.key("values").key("devices");
        for (index, device) in self.file.values.devices.iter().enumerate() {
            if !known.contains(&device.as_str()) {
                let fault = at
                    .index(index)
                    .fault(format!("no node has an interface `{device}`"));
                let help = format!("the nodes of this lab have {}", known.join(" and "));
                self.faults.push(fault.with_help(help));
            }
        }
    }

    /// Values that exclude each other, each at the one to change.
    fn check_values(&mut self) {
        let values = self.root.key("values");
        for conflict in self.file.values.conflicts() {
            let at = conflict
                .path
                .split('.')
                .fold(values.clone(), |at, key| at.key(key));
            let fault = at.fault(conflict.message).with_help(conflict.help);
            self.faults.push(fault);
        }
    }

    /// The paths of a list, resolved; each once.
    fn paths(&mut self, key: &str, paths: &[String], folder: &Path) -> Vec<PathBuf> {
        let at = self.root.key(key);
        let mut seen = HashMap::new();
        for (index, path) in paths.iter().enumerate() {
            let at = at.index(index);
            if path.is_empty() {
                self.faults.push(at.fault("a path is empty"));
            } else if let Some(first) = seen.insert(path, at.span()) {
                let fault = at.fault(format!("`{path}` is listed twice"));
                self.faults.push(fault.with_related(first, "first here"));
            }
        }
        paths.iter().map(|path| folder.join(path)).collect()
    }
}

/// Adds the legal name that an illegal one most likely means, if there is one.
fn suggest_name(
    fault: Diagnostic,
    name: &str,
    check: impl Fn(&str) -> Result<(), NameError>,
) -> Diagnostic {
    let legal = names::legal(name);
    if legal != name && check(&legal).is_ok() {
        fault.with_help(format!("did you mean `{legal}`?"))
    } else {
        fault
    }
}

#[cfg(test)]
mod tests;
