//! `inspect`: everything that is known about a lab, a node or a pod.

use std::fs;

use lab_model::node_state::{NodeState, Pod};
use lab_node::api::{Client, SOCKET, STATE_FILE, Status};
use lab_providers::netns::{Netns, Record, Target};
use serde::Serialize;

use super::exec::find;
use crate::args::InspectArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::live::{choose, provider, record_of};
use crate::output::{Format, print_as};

pub(crate) fn run(args: &InspectArgs) -> Result<Exit, Failure> {
    let netns = provider(None)?;
    let lab = choose(&netns, args.lab.lab.as_deref())?;
    match &args.target {
        None => {
            let record = record_of(&netns, &lab)?;
            let nodes = record
                .nodes
                .iter()
                .map(|node| NodeView::read(&netns, &lab, &node.name));
            let nodes = nodes.collect::<Result<_, _>>()?;
            show(args.output, &LabView { record, nodes })
        }
        Some(target) => match find(&netns, &lab, target)? {
            Target::Node { name } => show(args.output, &NodeView::read(&netns, &lab, &name)?),
            pod @ Target::Pod { .. } => show(args.output, &PodView::read(&netns, &lab, &pod)?),
        },
    }
}

/// A table would leave most of it out: it is YAML then.
fn show(format: Format, document: &impl Serialize) -> Result<Exit, Failure> {
    let format = if format == Format::Table {
        Format::Yaml
    } else {
        format
    };
    print_as(format, document, String::new)?;
    Ok(Exit::Success)
}

/// A lab: its record, and each node.
#[derive(Serialize)]
struct LabView {
    #[serde(flatten)]
    record: Record,
    #[serde(rename = "nodeStates")]
    nodes: Vec<NodeView>,
}

/// A node: what it was told to be, and what its agent says.
#[derive(Serialize)]
struct NodeView {
    node: String,
    /// The document that the agent last applied; absent for nodes without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<NodeState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum AgentView {
    /// What it answers.
    Status(Box<Status>),
    /// Why it doesn't.
    Unreachable(String),
}

impl NodeView {
    fn read(netns: &Netns, lab: &str, node: &str) -> Result<Self, Failure> {
        let folder = netns.node_folder(lab, node).or_exit(Exit::LabFailed)?;
        let text = fs::read(folder.join(STATE_FILE)).ok();
        let state = text.and_then(|text| serde_json::from_slice::<NodeState>(&text).ok());
        let socket = folder.join(SOCKET);
        let agent = socket.exists().then(|| {
            match Client::connect(&socket).and_then(|mut client| client.status()) {
                // The document stands above; twice would be too much of it.
                Ok(status) => AgentView::Status(Box::new(Status {
                    applied: None,
                    ..status
                })),
                Err(error) => AgentView::Unreachable(error.to_string()),
            }
        });
        Ok(Self {
            node: node.to_owned(),
            state,
            agent,
        })
    }
}

/// A pod, and the node it runs on.
#[derive(Serialize)]
struct PodView {
    node: String,
    #[serde(flatten)]
    pod: Pod,
}

impl PodView {
    fn read(netns: &Netns, lab: &str, target: &Target) -> Result<Self, Failure> {
        let node = target.node().to_owned();
        let state = NodeView::read(netns, lab, &node)?.state;
        let mut pods = state.into_iter().flat_map(|state| state.pods);
        let pod = pods.find(|pod| pod.key() == target.to_string());
        let gone = || Failure::new(Exit::LabFailed, format_args!("{target} is gone meanwhile"));
        Ok(Self {
            node,
            pod: pod.ok_or_else(gone)?,
        })
    }
}
