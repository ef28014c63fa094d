//! Templates in check files: minijinja, in strict mode, over the facts of a lab.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;

use ipnet::Ipv4Net;
use lab_model::diagnostic::nearest;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde::{Deserialize, Serialize};

/// What templates can ask about a lab that is up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// Nodes, by which `node('k8s-ctr')` is answered.
    pub nodes: Vec<NodeFacts>,
    /// Pods, by which `pod('curl-pod')` and `pods('app=webpod')` are answered.
    pub pods: Vec<PodFacts>,
    /// Services, by which `service('webpod')` is answered.
    pub services: Vec<ServiceFacts>,
}

/// A node as templates see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeFacts {
    /// Node name.
    pub name: String,
    /// `control-plane`, `worker`, `router` or `world`.
    pub role: String,
    /// Address of `eth1`; the world has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Range of its pods' addresses; cluster nodes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<Ipv4Net>,
    /// Address of `cilium_host`; cluster nodes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cilium_host: Option<Ipv4Addr>,
    /// Addresses of its dummy interfaces, by interface name.
    pub dummies: BTreeMap<String, Ipv4Addr>,
    /// Its way to the outside, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<OutsideFacts>,
}

/// A node's way to the outside as templates see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsideFacts {
    /// The node's own address there.
    #[serde(rename(deserialize = "prefsrc"))]
    pub address: Ipv4Addr,
    /// Who takes its packets.
    pub gateway: Ipv4Addr,
    /// The interface that they leave by.
    #[serde(rename(deserialize = "dev"))]
    pub interface: String,
}

/// A pod as templates see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodFacts {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Name of the Deployment it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Node that it runs on.
    pub node: String,
    /// Address of its `eth0`.
    pub ip: Ipv4Addr,
    /// Name of its interface on the node's side.
    pub interface: String,
    /// Its security identity.
    pub identity: u32,
    /// Labels as in its manifest.
    pub labels: BTreeMap<String, String>,
}

/// A service as templates see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceFacts {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Service name.
    pub name: String,
    /// Its ClusterIP; a headless service has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_ip: Option<Ipv4Addr>,
    /// Its ports, in the manifest's order.
    pub ports: Vec<ServicePortFacts>,
    /// The node port of its first port that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
    /// The first of its LoadBalancer addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer_ip: Option<Ipv4Addr>,
    /// `externalIPs`
    pub external_ips: Vec<Ipv4Addr>,
}

/// A port of a service as templates see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServicePortFacts {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// The port of the service's addresses.
    pub port: u16,
    /// The port of the nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
}

impl Context {
    /// The service of that name (`webpod`, `default/webpod`); a bare name is
    /// looked for in every namespace, in `default` first.
    fn service(&self, name: &str) -> Result<&ServiceFacts, String> {
        let (namespace, bare) = match name.split_once('/') {
            Some((namespace, bare)) => (Some(namespace), bare),
            None => (None, name),
        };
        let is_it = |service: &&ServiceFacts| {
            service.name == bare && namespace.is_none_or(|it| it == service.namespace)
        };
        let mut all: Vec<&ServiceFacts> = self.services.iter().filter(is_it).collect();
        all.sort_by_key(|service| service.namespace != "default");
        all.first().copied().ok_or_else(|| {
            let names = self.services.iter().map(|service| service.name.as_str());
            unknown("service", name, names)
        })
    }

    /// The node of that name.
    pub(super) fn node(&self, name: &str) -> Result<&NodeFacts, String> {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .ok_or_else(|| {
                let names = || self.nodes.iter().map(|node| node.name.as_str());
                unknown("node", name, names())
            })
    }

    /// The one pod of that name (`curl-pod`, `default/curl-pod`), or of that Deployment; on a
    /// given node where a Deployment has several.
    pub(super) fn pod(&self, name: &str, on: Option<&str>) -> Result<&PodFacts, String> {
        let named = |pod: &&PodFacts| {
            pod.name == name
                || name
                    .split_once('/')
                    .is_some_and(|(namespace, name)| pod.namespace == namespace && pod.name == name)
                || pod.owner.as_deref() == Some(name)
        };
        let all: Vec<&PodFacts> = self.pods.iter().filter(named).collect();
        let here: Vec<&PodFacts> = all
            .iter()
            .copied()
            .filter(|pod| on.is_none_or(|node| pod.node == node))
            .collect();
        match (&here[..], on) {
            ([pod], _) => Ok(pod),
            ([], Some(node)) if !all.is_empty() => {
                Err(format!("no pod of `{name}` runs on `{node}`"))
            }
            ([], _) => {
                let names = self
                    .pods
                    .iter()
                    .flat_map(|pod| [Some(pod.name.as_str()), pod.owner.as_deref()]);
                Err(unknown("pod", name, names.flatten()))
            }
            (several, _) => {
                let nodes: Vec<&str> = several.iter().map(|pod| pod.node.as_str()).collect();
                Err(format!(
                    "`{name}` has {} pods, on {}: choose one with pod('{name}', on='{}')",
                    several.len(),
                    nodes.join(", "),
                    nodes[0]
                ))
            }
        }
    }

    /// The pods that have every label of `selector`, which is written as `app=webpod,tier=web`.
    fn pods(&self, selector: &str) -> Result<Vec<&PodFacts>, String> {
        let mut wanted = Vec::new();
        for term in selector.split(',') {
            let pair = term.split_once('=');
            wanted.push(
                pair.ok_or_else(|| format!("`{selector}` is not a selector such as app=webpod"))?,
            );
        }
        let pods: Vec<&PodFacts> = self
            .pods
            .iter()
            .filter(|pod| {
                wanted
                    .iter()
                    .all(|(key, value)| pod.labels.get(*key).is_some_and(|is| is == value))
            })
            .collect();
        if pods.is_empty() {
            Err(format!("no pod has the labels `{selector}`"))
        } else {
            Ok(pods)
        }
    }
}

fn unknown<'a>(what: &str, name: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, names) {
        Some(near) => format!("the lab has no {what} `{name}`; did you mean `{near}`?"),
        None => format!("the lab has no {what} `{name}`"),
    }
}

/// Functions that templates can call.
const FUNCTIONS: [&str; 4] = ["node", "pod", "pods", "service"];

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

/// Renders templates with the facts of one lab.
pub(super) struct Renderer {
    environment: Environment<'static>,
}

impl Renderer {
    pub(super) fn new(context: &Context) -> Self {
        let mut environment = environment();
        let fail = |message: String| Error::new(ErrorKind::InvalidOperation, message);
        let context = Arc::new(context.clone());
        let facts = Arc::clone(&context);
        environment.add_function("node", move |name: String| {
            facts
                .node(&name)
                .map(|facts| Value::from(Serde(facts)))
                .map_err(fail)
        });
        let facts = Arc::clone(&context);
        environment.add_function("pod", move |name: String, options: Kwargs| {
            let on: Option<String> = options.get("on")?;
            options.assert_all_used()?;
            facts
                .pod(&name, on.as_deref())
                .map(|facts| Value::from(Serde(facts)))
                .map_err(fail)
        });
        let facts = Arc::clone(&context);
        environment.add_function("service", move |name: String| {
            facts
                .service(&name)
                .map(|facts| Value::from(Serde(facts)))
                .map_err(fail)
        });
        environment.add_function("pods", move |selector: String| {
            context
                .pods(&selector)
                .map(|facts| Value::from(Serde(facts)))
                .map_err(fail)
        });
        Self { environment }
    }

    /// `text` with its templates replaced.
    pub(super) fn render(&self, text: &str) -> Result<String, String> {
        if !is_template(text) {
            return Ok(text.to_owned());
        }
        self.environment
            .render_str(text, ())
            .map_err(|error| message(&error))
    }
}

fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// What is wrong with a template, and where in it: syntax, and names that nothing defines.
pub(super) fn fault(text: &str) -> Option<(String, Option<Range<usize>>)> {
    if !is_template(text) {
        return None;
    }
    let environment = environment();
    let template = match environment.template_from_str(text) {
        Ok(template) => template,
        Err(error) => return Some((message(&error), error.range())),
    };
    let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    names.sort();
    let name = names.into_iter().find(|name| {
        !FUNCTIONS.contains(&name.as_str())
            && !environment.globals().any(|(global, _)| global == name)
    })?;
    let place = text.find(&name).map(|start| start..start + name.len());
    let known = FUNCTIONS
        .map(|function| format!("{function}(…)"))
        .join(", ");
    Some((
        format!("template uses `{name}`, but there are only {known}"),
        place,
    ))
}

/// minijinja's message without its name and line, which mean nothing for one line of YAML.
fn message(error: &Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}
