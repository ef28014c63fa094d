//! The asking side.

use std::io::{self, BufRead, Write};

use lab_model::plan::{Action, ObservedNode};

use crate::api::Status;

use super::{Answer, Claim, Failure, Hello, Owner, Request, Response};

/// Why a machine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection broke.
    #[error("talk to `labctl node machine`: {0}")]
    Talk(#[from] io::Error),
    /// It ended in the middle.
    #[error("talk to `labctl node machine`: it ended without an answer")]
    Closed,
    /// The answer is none that this version knows.
    #[error("read the answer of `labctl node machine`: {0}")]
    Answer(#[from] serde_json::Error),
    /// The answer is to another question.
    #[error("read the answer of `labctl node machine`: it answers another question")]
    Mismatch,
    /// The machine could not.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A conversation with a machine.
#[derive(Debug)]
pub struct Client<R, W> {
    from: R,
    to: W,
}

impl<R: BufRead, W: Write> Client<R, W> {
    /// Over the standard output and input of `labctl node machine`.
    pub const fn new(from: R, to: W) -> Self {
        Self { from, to }
    }

    /// Asks, and waits for the answer. How long that may take is the streams' to say.
    ///
    /// # Errors
    /// [`ClientError::Failed`] with the machine's words, or when the connection breaks.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.to.write_all(&line)?;
        self.to.flush()?;
        let mut answer = String::new();
        if self.from.read_line(&mut answer)? == 0 {
            return Err(ClientError::Closed);
        }
        match serde_json::from_str(&answer)? {
            Response::Ok(answer) => Ok(answer),
            Response::Failed(failure) => Err(failure.into()),
        }
    }

    /// Who is there.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn hello(&mut self) -> Result<Hello, ClientError> {
        match self.ask(&Request::Hello)? {
            Answer::Hello(hello) => Ok(*hello),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Does ahead what any node needs first.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn prepare(&mut self) -> Result<(), ClientError> {
        self.done(&Request::Prepare)
    }

    /// Makes the machine a node.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn claim(&mut self, claim: Claim) -> Result<(), ClientError> {
        self.done(&Request::Claim(claim))
    }

    /// The node as it is.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn observe(&mut self) -> Result<ObservedNode, ClientError> {
        match self.ask(&Request::Observe)? {
            Answer::Observed(node) => Ok(*node),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Carries out actions of this node, in order. [`Failure::position`] says
    /// which one failed.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn perform(&mut self, actions: Vec<Action>) -> Result<(), ClientError> {
        self.done(&Request::Perform { actions })
    }

    /// What the node agent says of itself.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn agent_status(&mut self) -> Result<Status, ClientError> {
        match self.ask(&Request::AgentStatus)? {
            Answer::Agent(status) => Ok(*status),
            _ => Err(ClientError::Mismatch),
        }
    }

    /// Removes everything of labctl from the machine: of the lab that `owner`
    /// names, or, without one, whosever it is.
    ///
    /// # Errors
    /// As [`Client::ask`]; the message names what is left.
    pub fn release(&mut self, owner: Option<Owner>) -> Result<(), ClientError> {
        self.done(&Request::Release { owner })
    }

    fn done(&mut self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request)? {
            Answer::Done => Ok(()),
            _ => Err(ClientError::Mismatch),
        }
    }
}
