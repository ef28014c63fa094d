//! labctl called as `cilium` or `cilium-dbg`, on a node.

use std::path::Path;

use lab_node::api::{Client, SOCKET};
use lab_node::cilium_dbg::{self, CiliumDbgError};

use crate::exit::{Exit, Failure};
use crate::output::print;

/// Where the node agent's folder is, as a node sees it.
pub(super) const NODE_FOLDER: &str = "/run/labctl";

/// Runs the command that the arguments ask for.
pub(crate) fn run(called: &str) -> Result<Exit, Failure> {
    let folder = std::env::var_os("LABCTL_NODE_DIR").unwrap_or_else(|| NODE_FOLDER.into());
    let connect = || Client::connect(&Path::new(&folder).join(SOCKET));
    match cilium_dbg::run(called, std::env::args_os().skip(1), connect) {
        Ok(text) => print(&text).map(|()| Exit::Success),
        Err(CiliumDbgError::Usage(text)) => Err(Failure::Usage(text)),
        Err(error) => Err(Failure::new(
            Exit::LabFailed,
            format_args!("failed to {error}"),
        )),
    }
}
