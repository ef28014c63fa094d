//! labctl called as `cilium` or `cilium-dbg`, on a node.

use std::io::{self, ErrorKind};
use std::path::Path;

use lab_node::api::{Client, SOCKET};
use lab_node::cilium_dbg::{self, Answer, CiliumDbgError};

use crate::exit::{Exit, Failure};
use crate::output::print;

/// Where the node agent's folder is, as a node sees it.
pub(super) const NODE_FOLDER: &str = "/run/labctl";

/// Runs the command that the arguments ask for.
pub(crate) fn run(called: &str) -> Result<Exit, Failure> {
    let folder = std::env::var_os("LABCTL_NODE_DIR").unwrap_or_else(|| NODE_FOLDER.into());
    let connect = || Client::connect(&Path::new(&folder).join(SOCKET));
    let answer = cilium_dbg::run(called, std::env::args_os().skip(1), connect);
    let answer = answer.and_then(|answer| match answer {
        Answer::Text(text) => Ok(Some(text)),
        Answer::Monitor(events) => events.write_to(&mut io::stdout().lock()).map(|()| None),
    });
    match answer {
        Ok(text) => print(&text.unwrap_or_default()).map(|()| Exit::Success),
        // `cilium-dbg monitor | head -1`: what was not read was not wanted.
        Err(CiliumDbgError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => {
            Ok(Exit::Success)
        }
        Err(CiliumDbgError::Usage(text)) => Err(Failure::Usage(text)),
        Err(error) => Err(Failure::new(
            Exit::LabFailed,
            format_args!("failed to {error}"),
        )),
    }
}
