//! `node`: the node agent.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use lab_node::agent::{self, AgentOptions};

use crate::args::NodeArgs;
use crate::exit::{Exit, Failure, OrExit};

pub(crate) fn run(args: NodeArgs) -> Result<Exit, Failure> {
    let mut options = AgentOptions::new(args.dir, args.bpffs).or_exit(Exit::LabFailed)?;
    options.datapath_object = args.datapath.datapath_object;
    options.ready = args.ready_fd.map(inherited).transpose()?;
    agent::run(options).or_exit(Exit::LabFailed)?;
    Ok(Exit::Success)
}

/// The descriptor that the parent left open for readiness.
fn inherited(fd: RawFd) -> Result<OwnedFd, Failure> {
    let open = Path::new("/proc/self/fd").join(fd.to_string()).is_symlink();
    if fd <= 2 || !open {
        let message = format!("--ready-fd {fd} is not a descriptor opened for that purpose");
        return Err(Failure::usage(message));
    }
    // SAFETY: it is open, and nothing in this process owns it: it was inherited, and
    // `main` has opened nothing yet that could have its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
