//! What any node of any lab needs first, and what takes longest: done ahead in a machine that
//! becomes a template.

use std::path::Path;

use super::places::BPFFS;
use super::{MachineError, base, files};
use crate::datapath::Datapath;

/// Has the kernel verify the datapath's programs, and pins them. Nothing of it says whose node
/// the machine will be.
pub(super) fn prepare() -> Result<(), MachineError> {
    let _turn = files::turn()?;
    base::mount_bpffs()?;
    Ok(Datapath::verify_ahead(Path::new(BPFFS))?)
}
