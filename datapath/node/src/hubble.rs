//! `hubble`: observe the flows of all nodes, with the original's flags and outputs.
//!
//! Runs on a node. It asks the node's own agent over its socket, and the other nodes' over
//! the lab's network, on Hubble's peer port, as Hubble Relay does; lines come merged by
//! time. `docs/flows.md` has what differs.

mod arguments;
mod client;
mod filter;
mod merge;
mod observe;
mod printer;
mod status;

use std::io::Write;
use std::path::Path;

use crate::api::ClientError;
pub use arguments::{Arguments, Command, ObserveArguments, Output, mark_negated};
use client::Nodes;

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum HubbleError {
    /// The command line contradicts itself; the text says how.
    #[error("{0}")]
    Usage(String),
    /// The node's own agent does not answer.
    #[error(transparent)]
    Agent(#[from] ClientError),
    /// The file with saved flows.
    #[error("read {}: {source}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The output cannot be written.
    #[error("write flows: {0}")]
    Write(#[source] std::io::Error),
}

/// Runs `hubble` with `arguments` on the node whose folder is `folder`, writing flows to
/// `out`, and what was missed to `err`.
///
/// # Errors
/// [`HubbleError`].
pub fn run(
    arguments: Arguments,
    folder: &Path,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), HubbleError> {
    match arguments.command {
        Command::Observe(observe) => observe::run(&observe, folder, out, err),
        Command::Status => {
            let nodes = Nodes::of(folder)?;
            let text = status::status(&nodes.via(), &nodes.statuses());
            out.write_all(text.as_bytes()).map_err(HubbleError::Write)
        }
        Command::List {
            what: arguments::List::Nodes,
        } => {
            let nodes = Nodes::of(folder)?;
            let text = status::nodes(&nodes.statuses());
            out.write_all(text.as_bytes()).map_err(HubbleError::Write)
        }
    }
}

#[cfg(test)]
mod tests;
