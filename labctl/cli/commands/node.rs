//! `node`: the node agent, and this machine as a node.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use lab_node::agent::{self, AgentOptions};
use lab_node::api::{Client, SOCKET};
use lab_node::machine::{self, Machine, MachineError, Server, run::Leashed};
use lab_node::process::SpawnError;

use crate::args::{AgentArgs, NodeArgs, NodeCommand, NodeServer};
use crate::exit::{Exit, Failure, OrExit};

/// Where a node finds what its agent has.
const AGENT_FOLDER: &str = "/run/labctl";

pub(crate) fn run(args: NodeArgs) -> Result<Exit, Failure> {
    let Some(command) = args.command else {
        return run_agent(args.agent);
    };
    match command {
        NodeCommand::Machine => machine::converse(io::stdin().lock(), io::stdout().lock())
            .map_err(|error| {
                let message = format!("failed to answer: {error}");
                Failure::new(Exit::LabFailed, message)
            })?,
        NodeCommand::Boot => {
            if let Some(machine) = Machine::open().or_exit(Exit::LabFailed)? {
                machine.boot().or_exit(Exit::LabFailed)?;
            }
        }
        NodeCommand::Start { server } => {
            let server = match server {
                NodeServer::Agent => Server::Agent,
                NodeServer::Serve => Server::Serve,
            };
            this_machine()?.start(server).or_exit(Exit::LabFailed)?;
        }
        NodeCommand::Restart { pods } => {
            let socket = Path::new(AGENT_FOLDER).join(SOCKET);
            let restarted = Client::connect(&socket).and_then(|mut agent| agent.restart(pods));
            restarted.or_exit(Exit::LabFailed)?;
        }
        NodeCommand::Release { .. } => machine::release(None).or_exit(Exit::LabFailed)?,
        NodeCommand::Run {
            pod,
            leash,
            command,
        } => return run_command(pod.as_deref(), leash, &command),
    }
    Ok(Exit::Success)
}

fn run_agent(args: AgentArgs) -> Result<Exit, Failure> {
    let mut options = AgentOptions::new(args.dir, args.bpffs).or_exit(Exit::LabFailed)?;
    options.datapath_object = args.datapath.datapath_object;
    options.ready = args.ready_fd.map(inherited).transpose()?;
    agent::run(options).or_exit(Exit::LabFailed)?;
    Ok(Exit::Success)
}

fn this_machine() -> Result<Machine, Failure> {
    let machine = Machine::open().or_exit(Exit::LabFailed)?;
    machine.ok_or_else(|| {
        let error = MachineError::Unclaimed;
        Failure::new(Exit::LabFailed, format_args!("failed to {error}"))
    })
}

/// Becomes the command, or holds it on a leash.
fn run_command(pod: Option<&str>, leash: bool, argv: &[OsString]) -> Result<Exit, Failure> {
    let machine = this_machine()?;
    let [program, arguments @ ..] = argv else {
        return Err(Failure::usage("no command is given"));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let setup = machine.enter(&mut command, pod).or_exit(Exit::LabFailed)?;
    if !leash {
        setup.install(&mut command);
        return Err(not_run(program, &command.exec()));
    }
    let leashed = Leashed::start(command, setup).map_err(|error| match error {
        SpawnError::Spawn { source, .. } => not_run(program, &source),
        error => Failure::new(Exit::LabFailed, format_args!("failed to {error}")),
    })?;
    let code = leashed.hold().map_err(|error| {
        let message = format!("failed to wait for the command: {error}");
        Failure::new(Exit::LabFailed, message)
    })?;
    // Its code is this process's, as if it had become it.
    std::process::exit(code.into())
}

/// As shells have it (POSIX 2.8.2): 127 not found, 126 found and not executable.
fn not_run(program: &OsString, error: &io::Error) -> Failure {
    let program = program.to_string_lossy();
    let message = format!("failed to run {program}: {error}");
    match error.kind() {
        ErrorKind::NotFound => Failure::NotExecuted { code: 127, message },
        ErrorKind::PermissionDenied => Failure::NotExecuted { code: 126, message },
        _ => Failure::new(Exit::LabFailed, message),
    }
}

/// The descriptor that the parent left open for readiness.
pub(super) fn inherited(fd: RawFd) -> Result<OwnedFd, Failure> {
    let open = Path::new("/proc/self/fd").join(fd.to_string()).is_symlink();
    if fd <= 2 || !open {
        let message = format!("--ready-fd {fd} is not a descriptor opened for that purpose");
        return Err(Failure::usage(message));
    }
    // SAFETY: it is open, and nothing in this process owns it: it was inherited, and
    // `main` has opened nothing yet that could have its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
