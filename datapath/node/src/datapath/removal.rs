//! The datapath off a machine, without an agent.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::clsact::Filters;
use super::{DatapathError, FOLDER, QDISCS};

/// Takes the programs off all interfaces of this network namespace, and removes what is
/// pinned in `bpffs`, however they were attached: a TCX link ends with its pin, a clsact
/// filter has none and goes by its name.
pub(crate) fn remove(bpffs: &Path) -> Result<(), DatapathError> {
    let folder = bpffs.join(FOLDER);
    Filters::open(folder.join(QDISCS))?.retain(&BTreeSet::new())?;
    match fs::remove_dir_all(&folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DatapathError::File {
            what: "remove",
            path: folder,
            source,
        }),
        _ => Ok(()),
    }
}
