//! Node agents, spoken to through their sockets.

use std::sync::Arc;

use lab_model::node_state::NodeState;
use lab_model::plan::ObservedAgent;
use lab_node::agent;
use lab_node::api::{Client, ClientError, SOCKET};

use super::places::{Kind, Places};
use crate::error::ProviderError;
use crate::execute::StepFault;
use crate::parallel::overlapping;

/// What agents are to apply: place in the plan, node, state.
pub(super) type Applications<'p> = Vec<(usize, &'p String, &'p Arc<NodeState>)>;

/// The agent of a node as it is; none when none was ever started.
pub(super) fn observe(places: &Places, node: &str) -> Result<Option<ObservedAgent>, ProviderError> {
    let runs = !places.cgroup_of(node, Kind::Agent).own_pids()?.is_empty();
    let folder = places.node(node);
    agent::observe(&folder, runs).map_err(|source| ProviderError::file("read", &folder, source))
}

/// What the agent last applied, also when it does not run.
pub(super) fn applied(places: &Places, node: &str) -> Result<Option<NodeState>, ProviderError> {
    let folder = places.node(node);
    agent::applied(&folder).map_err(|source| ProviderError::file("read", &folder, source))
}

/// Has each agent apply its state, several at once, and waits for all. Each attachment with TCX
/// waits for an RCU grace period, in which another's programs are verified.
pub(super) fn apply(places: &Places, states: Applications<'_>) -> Result<(), StepFault> {
    let outcomes = overlapping(states, |(position, node, state)| {
        let applied = connect(places, node).and_then(|mut client| client.apply(state));
        applied.map(drop).map_err(|error| {
            let (what, why) = ("apply its state", error.to_string());
            StepFault::at(position)(ProviderError::Agent {
                node: node.clone(),
                what,
                why,
            })
        })
    });
    outcomes.into_iter().collect()
}

/// A connection to the agent of a node.
pub(super) fn connect(places: &Places, node: &str) -> Result<Client, ClientError> {
    Client::connect(&places.node(node).join(SOCKET))
}
