//! The datapath off a machine, without an agent.

use std::fs;
use std::io;
use std::path::Path;

use aya::programs::tc::{TcError, qdisc_detach_program};
use nix::net::if_::if_nameindex;

use super::attach::{Hook, mode};
use super::{DatapathError, FOLDER, chain};
use crate::api::AttachMode;

/// Takes the programs off all interfaces of this network namespace, and removes
/// what is pinned in `bpffs`. A TCX link ends with its pin; a clsact filter has
/// none, and goes by name.
pub(crate) fn remove(bpffs: &Path) -> Result<(), DatapathError> {
    let folder = bpffs.join(FOLDER);
    let fault = |what, source| DatapathError::File {
        what,
        path: folder.clone(),
        source,
    };
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(fault("remove", error));
        }
        _ => {}
    }
    if mode() == AttachMode::Tcx {
        return Ok(());
    }
    let interfaces = if_nameindex();
    let interfaces = interfaces.map_err(|errno| fault("list interfaces beside", errno.into()))?;
    for interface in &interfaces {
        let interface = interface.name().to_string_lossy().into_owned();
        for hook in Hook::NETDEV {
            detach(&interface, hook)?;
        }
    }
    Ok(())
}

fn detach(interface: &str, hook: Hook) -> Result<(), DatapathError> {
    match qdisc_detach_program(interface, hook.side(), hook.program()) {
        Ok(()) => Ok(()),
        Err(TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // No qdisc, or the interface went meanwhile.
        Err(TcError::NetlinkError(_)) => Ok(()),
        Err(error) => Err(DatapathError::Attach {
            program: hook.program(),
            interface: interface.to_owned(),
            reason: format!("it stays there: {}", chain(&error)),
        }),
    }
}
