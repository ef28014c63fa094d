//! What labctl asks of a machine, and what the machine answers: one JSON document
//! a line, over the streams of `labctl node machine`, which an SSH channel carries.

mod client;
#[cfg(test)]
mod tests;

use lab_model::lab::Role;
use lab_model::plan::{Action, Hosts, ObservedNode};
use serde::{Deserialize, Serialize};

use crate::api::Status;

pub use client::{Client, ClientError};

/// What a machine can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Who is there; answers [`Answer::Hello`]. Changes nothing.
    Hello,
    /// Do ahead what any node needs first, and takes longest; answers [`Answer::Done`].
    /// Asked of machines that become templates.
    Prepare,
    /// Make the machine a node of a lab, or take up again what it is; answers
    /// [`Answer::Done`]. Refused while it carries another lab.
    Claim(Claim),
    /// Look; answers [`Answer::Observed`].
    Observe,
    /// Carry out actions in order; answers [`Answer::Done`].
    Perform {
        /// Those of this node alone.
        actions: Vec<Action>,
    },
    /// Ask the node agent for its status; answers [`Answer::Agent`].
    AgentStatus,
    /// Remove everything of labctl, itself included; answers [`Answer::Done`].
    Release {
        /// Whose lab it must be; none for whosever it is, or nobody's.
        owner: Option<Owner>,
    },
}

/// Whose node a machine is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The lab.
    pub lab: String,
    /// Name of the node, which is the host name while the machine is claimed.
    pub node: String,
    /// What the node does.
    pub role: Role,
    /// Who brought the lab up, from where: `alice@laptop`. Two labs of one name
    /// are told apart by it.
    pub owner: String,
}

/// What a machine is to become.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Whose node.
    #[serde(flatten)]
    pub owner: Owner,
    /// Names for `/etc/hosts`.
    pub hosts: Hosts,
}

/// What a machine answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// It was done.
    Ok(Answer),
    /// It was not.
    Failed(Failure),
}

/// An answer to each kind of request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Who is there.
    Hello(Box<Hello>),
    /// The node as it is.
    Observed(Box<ObservedNode>),
    /// What the node agent says.
    Agent(Box<Status>),
    /// There is nothing to say.
    Done,
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the labctl that answers.
    pub version: String,
    /// SHA-256 of its executable, in hex, as written beside it by whoever installed
    /// it whole: whether it is the one that asks. Empty when that is not there.
    pub digest: String,
    /// Kernel release, as of `uname -r`.
    pub kernel: String,
    /// Whose node the machine is, if anybody's.
    pub owner: Option<Owner>,
    /// Whether systemd is the init process.
    pub has_systemd: bool,
    /// Effective user id; all but `hello` needs 0.
    pub uid: u32,
}

/// A request that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Which of the actions failed; those before it are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// Why, as a fragment that fits after "failed to".
    pub message: String,
}
