//! `inspect`: everything that is known about a lab, a node or a pod.

use lab_model::node_state::{NodeState, Pod};
use lab_node::api::Status;
use lab_providers::{Provider, Record, Target};
use serde::Serialize;

use super::exec::find;
use crate::args::InspectArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::labs::choose;
use crate::live::record_of;
use crate::output::{Format, print_as};

pub(crate) fn run(args: &InspectArgs) -> Result<Exit, Failure> {
    let (provider, lab) = choose(args.lab.lab.as_deref())?;
    match &args.target {
        None => {
            let record = record_of(&provider, &lab)?;
            let nodes = record
                .nodes
                .iter()
                .map(|node| NodeView::read(&provider, &lab, &node.name));
            let nodes = nodes.collect::<Result<_, _>>()?;
            show(args.output, &LabView { record, nodes })
        }
        Some(target) => match find(&provider, &lab, target)? {
            Target::Node { name } => show(args.output, &NodeView::read(&provider, &lab, &name)?),
            pod @ Target::Pod { .. } => show(args.output, &PodView::read(&provider, &lab, &pod)?),
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
    fn read(provider: &Provider, lab: &str, node: &str) -> Result<Self, Failure> {
        let seen = provider.agent(lab, node).or_exit(Exit::LabFailed)?;
        let agent = seen.status.map(|status| match status {
            // The document stands above; twice would be too much of it.
            Ok(status) => AgentView::Status(Box::new(Status {
                applied: None,
                ..status
            })),
            Err(error) => AgentView::Unreachable(error),
        });
        Ok(Self {
            node: node.to_owned(),
            state: seen.applied,
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
    fn read(provider: &Provider, lab: &str, target: &Target) -> Result<Self, Failure> {
        let node = target.node().to_owned();
        let state = NodeView::read(provider, lab, &node)?.state;
        let mut pods = state.into_iter().flat_map(|state| state.pods);
        let pod = pods.find(|pod| pod.key() == target.to_string());
        let gone = || Failure::new(Exit::LabFailed, format_args!("{target} is gone meanwhile"));
        Ok(Self {
            node,
            pod: pod.ok_or_else(gone)?,
        })
    }
}
