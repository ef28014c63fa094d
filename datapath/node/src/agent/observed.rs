//! An agent as it is seen from its folder, whether it runs or not.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use lab_model::node_state::NodeState;
use lab_model::plan::ObservedAgent;

use crate::api::{Client, SOCKET, STATE_FILE};

/// The agent of `folder`, of which a process is there or not; none when none was
/// ever started.
///
/// # Errors
/// When the folder cannot be read.
pub fn observe(folder: &Path, runs: bool) -> io::Result<Option<ObservedAgent>> {
    let applied = applied(folder)?;
    if !runs && applied.is_none() {
        return Ok(None);
    }
    // An agent that does not answer is as good as none: it is started anew.
    let ask = || Client::connect(&folder.join(SOCKET)).and_then(|mut client| client.drift());
    let drift = runs.then(ask).and_then(Result::ok);
    Ok(Some(ObservedAgent {
        alive: drift.is_some(),
        applied: applied.map(Arc::new),
        drift: drift.unwrap_or_default(),
    }))
}

/// What the agent of `folder` last applied, also when it does not run.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn applied(folder: &Path) -> io::Result<Option<NodeState>> {
    match fs::read(folder.join(STATE_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // What cannot be parsed was not written by an agent like this one: it has
        // applied nothing that could be compared with anything.
        read => read.map(|text| serde_json::from_slice(&text).ok()),
    }
}
