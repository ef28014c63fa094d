//! Node agents, spoken to through their sockets.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Arc;

use lab_model::node_state::NodeState;
use lab_model::plan::ObservedAgent;
use lab_node::api::{Client, ClientError, SOCKET, STATE_FILE};

use super::parallel::parallel;
use super::places::{Kind, Places};
use crate::error::ProviderError;
use crate::execute::StepFault;
use crate::record;

/// What agents are to apply: place in the plan, node, state.
pub(super) type Applications<'p> = Vec<(usize, &'p String, &'p Arc<NodeState>)>;

/// The agent of a node as it is; none when none was ever started.
pub(super) fn observe(places: &Places, node: &str) -> Result<Option<ObservedAgent>, ProviderError> {
    let applied = applied(places, node)?;
    let runs = !places.cgroup_of(node, Kind::Agent).own_pids()?.is_empty();
    if !runs && applied.is_none() {
        return Ok(None);
    }
    // An agent that does not answer is as good as none: it is started anew.
    let drift = if runs {
        connect(places, node).and_then(|mut it| it.drift()).ok()
    } else {
        None
    };
    let alive = drift.is_some();
    let drift = drift.unwrap_or_default();
    Ok(Some(ObservedAgent {
        alive,
        applied: applied.map(Arc::new),
        drift,
    }))
}

/// What the agent last applied, also when it does not run.
pub(super) fn applied(places: &Places, node: &str) -> Result<Option<NodeState>, ProviderError> {
    let path = places.node(node).join(STATE_FILE);
    let text = record::read_if_there(&path)?;
    // What cannot be read was not written by an agent like this one: it has
    // applied nothing that could be compared with anything.
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Has each agent apply its state, several at once, and waits for all.
pub(super) fn apply(places: &Places, states: Applications<'_>) -> Result<(), StepFault> {
    let outcomes = parallel(states, |(position, node, state)| {
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
    /// `sun_path` of unix(7), with the zero byte that ends it.
    const LONGEST: usize = 108;
    let folder = places.node(node);
    let path = folder.join(SOCKET);
    if path.as_os_str().len() < LONGEST {
        return Client::connect(&path);
    }
    // Names of lab and node may be too long together; the folder has a short one.
    let folder = File::open(&folder).map_err(|source| ClientError::Connect {
        path: path.clone(),
        source,
    })?;
    let short = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
    Client::connect(Path::new(&short)).map_err(|error| match error {
        ClientError::Connect { source, .. } => ClientError::Connect { path, source },
        other => other,
    })
}
