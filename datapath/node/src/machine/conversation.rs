//! `labctl node machine`: requests on one stream, answers on another.

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;

use lab_model::plan::Action;

use super::api::{Answer, Failure, Hello, Owner, Request, Response};
use super::before::Claimed;
use super::{HOME, Machine, MachineError, prepare, release, systemd};
use crate::api::{Client, SOCKET};

/// Answers the requests on `from`, a line each, until it ends.
///
/// # Errors
/// When a stream breaks. What goes wrong with a request is its answer.
pub fn converse(from: impl BufRead, mut to: impl Write) -> io::Result<()> {
    for line in from.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let response = match serde_json::from_str(&line) {
            Ok(request) => answer(request).map_or_else(Response::Failed, Response::Ok),
            Err(error) => Response::Failed(Failure {
                position: None,
                message: format!("read the request: {error}"),
            }),
        };
        let mut line = serde_json::to_vec(&response)?;
        line.push(b'\n');
        to.write_all(&line)?;
        to.flush()?;
    }
    Ok(())
}

fn answer(request: Request) -> Result<Answer, Failure> {
    let whole = |error: MachineError| failure(None, &error);
    match request {
        Request::Hello => hello()
            .map(|hello| Answer::Hello(hello.into()))
            .map_err(whole),
        Request::Prepare => {
            prepare::prepare().map_err(whole)?;
            Ok(Answer::Done)
        }
        Request::Claim(claim) => {
            Machine::claim(&claim).map_err(whole)?;
            Ok(Answer::Done)
        }
        Request::Observe => {
            let node = claimed().and_then(|machine| machine.observe());
            Ok(Answer::Observed(node.map_err(whole)?.into()))
        }
        Request::Perform { actions } => perform(&actions).map(|()| Answer::Done),
        Request::AgentStatus => agent_status(),
        Request::Release { owner } => {
            release(owner.as_ref()).map_err(whole)?;
            Ok(Answer::Done)
        }
    }
}

fn failure(position: Option<usize>, error: &MachineError) -> Failure {
    Failure {
        position,
        message: error.to_string(),
    }
}

fn claimed() -> Result<Machine, MachineError> {
    Machine::open()?.ok_or(MachineError::Unclaimed)
}

fn perform(actions: &[Action]) -> Result<(), Failure> {
    let machine = claimed().map_err(|error| failure(None, &error))?;
    let performed = machine.perform(actions);
    performed.map_err(|(position, error)| failure(Some(position), &error))
}

fn hello() -> Result<Hello, MachineError> {
    let kernel = nix::sys::utsname::uname();
    let kernel = kernel.map(|it| it.release().to_string_lossy().into_owned());
    Ok(Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        digest: digest_on_file()?,
        kernel: kernel.unwrap_or_default(),
        owner: owner()?,
        has_systemd: systemd::runs(),
        uid: nix::unistd::geteuid().as_raw(),
    })
}

/// Whose node this is. Somebody who is not root cannot look into labctl's folder,
/// and is told so when they ask for more.
fn owner() -> Result<Option<Owner>, MachineError> {
    let hidden = |error: &MachineError| match error {
        MachineError::File { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        _ => false,
    };
    match Claimed::read() {
        Err(error) if hidden(&error) => Ok(None),
        claimed => Ok(claimed?.map(|claimed| claimed.owner)),
    }
}

/// Not calculated from the program: where instructions are emulated, that takes
/// longer than all else that is done when a lab comes up.
fn digest_on_file() -> Result<String, MachineError> {
    let path = Path::new(HOME).join("bin/labctl.sha256");
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read
            .map(|text| text.trim().to_owned())
            .map_err(MachineError::file("read", &path)),
    }
}

fn agent_status() -> Result<Answer, Failure> {
    let socket = Path::new(HOME).join(SOCKET);
    let status = Client::connect(&socket).and_then(|mut agent| agent.status());
    status
        .map(|status| Answer::Agent(status.into()))
        .map_err(|error| Failure {
            position: None,
            message: error.to_string(),
        })
}
