//! `cilium_calls`: the programs that others call, and what earlier agents' programs call.
//!
//! The kernel empties an array of programs that no process and no pin holds, whichever programs
//! use it. An agent that needs a larger one sets that of the earlier agent aside, under
//! another name, until none of that agent's programs is attached: they go on calling, also
//! while the new ones are verified, and if the agent ends meanwhile.

use std::fs;
use std::io;
use std::path::Path;

use aya::Ebpf;
use aya::maps::ProgramArray;
use lab_datapath_common::{maps, programs};

use super::{Datapath, DatapathError, FOLDER, classifier};

/// Beginning of the names of arrays that were set aside; their numbers follow.
const ASIDE: &str = "cilium_calls_before_";

/// Puts the programs where others call them. Those of an earlier agent, which share the array,
/// go on to the new ones from here.
pub(super) fn fill(ebpf: &mut Ebpf) -> Result<(), DatapathError> {
    let fault = |source| DatapathError::Map {
        map: maps::CALLS,
        source,
    };
    let map = ebpf.take_map(maps::CALLS);
    let map = map.ok_or(DatapathError::Missing(maps::CALLS))?;
    let mut calls = ProgramArray::try_from(map).map_err(fault)?;
    for (index, program) in (0..).zip(programs::CALLS) {
        let loaded = classifier(ebpf, program)?.fd();
        let loaded = loaded.map_err(|source| DatapathError::Program { program, source })?;
        calls.set(index, loaded, 0).map_err(fault)?;
    }
    Ok(())
}

/// Keeps the array that is pinned at `path`, with that number, for the programs that use it.
pub(super) fn set_aside(path: &Path, id: u32) -> Result<(), DatapathError> {
    fs::rename(path, path.with_file_name(format!("{ASIDE}{id}"))).map_err(|source| {
        DatapathError::File {
            what: "rename",
            path: path.to_owned(),
            source,
        }
    })
}

impl Datapath {
    /// Lets go of what was set aside, once this agent's programs are the only ones.
    pub(crate) fn forget_earlier_calls(&self) -> Result<(), DatapathError> {
        let folder = self.bpffs.join(FOLDER);
        let fault = |source: io::Error| DatapathError::File {
            what: "remove earlier calls from",
            path: folder.clone(),
            source,
        };
        for entry in fs::read_dir(&folder).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            if entry.file_name().to_string_lossy().starts_with(ASIDE) {
                fs::remove_file(entry.path()).map_err(fault)?;
            }
        }
        Ok(())
    }
}
