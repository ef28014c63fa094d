//! TCX links (Linux 6.6), pinned: a link lasts as long as its pin.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::SchedClassifier;
use aya::programs::links::{FdLink, LinkError, LinkOrder, PinnedLink};
use aya::programs::tc::TcAttachOptions;

use super::attach::Hook;
use super::{DatapathError, chain};

/// The pinned links of a node, `<program>-<interface>` in one folder.
pub(super) struct Links {
    folder: PathBuf,
}

impl Links {
    /// Those of that folder, which is made if it is not there.
    pub(super) fn open(folder: PathBuf) -> Result<Self, DatapathError> {
        fs::create_dir_all(&folder).map_err(|source| DatapathError::File {
            what: "make",
            path: folder.clone(),
            source,
        })?;
        Ok(Self { folder })
    }

    /// A link that an earlier agent pinned gets the new program in the old one's place,
    /// without a gap.
    pub(super) fn attach(
        &self,
        program: &mut SchedClassifier,
        hook: Hook,
        interface: &str,
    ) -> Result<(), String> {
        let pin = self.pin(hook, interface);
        match PinnedLink::from_pin(&pin) {
            Ok(pinned) => {
                let link = FdLink::from(pinned)
                    .try_into()
                    .map_err(|error: LinkError| chain(&error))?;
                match program.attach_to_link(link) {
                    // The link stays pinned; letting go of ours changes nothing.
                    Ok(_) => return Ok(()),
                    // The interface it was on is gone (ENOLINK), or it is no link
                    // of ours: start over.
                    Err(_) => fs::remove_file(&pin).map_err(|error| error.to_string())?,
                }
            }
            Err(LinkError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(chain(&error)),
        }
        attach_anew(program, hook, interface, &pin)
    }

    /// Whether the program with that id is there now.
    pub(super) fn has(hook: Hook, interface: &str, program: u32) -> bool {
        SchedClassifier::query_tcx(interface, hook.attach_type())
            .is_ok_and(|(_, programs)| programs.iter().any(|it| it.id() == program))
    }

    /// Removes the pins of all interfaces but these.
    pub(super) fn retain(&self, keep: &BTreeSet<&str>) -> Result<(), DatapathError> {
        let fault = |what, path: &Path, source| DatapathError::File {
            what,
            path: path.to_owned(),
            source,
        };
        let pins = fs::read_dir(&self.folder);
        for pin in pins.map_err(|error| fault("list", &self.folder, error))? {
            let path = pin
                .map_err(|error| fault("list", &self.folder, error))?
                .path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some((_, interface)) = name.and_then(|name| name.split_once('-')) else {
                continue;
            };
            if !keep.contains(interface) {
                fs::remove_file(&path).map_err(|error| fault("remove", &path, error))?;
            }
        }
        Ok(())
    }

    fn pin(&self, hook: Hook, interface: &str) -> PathBuf {
        self.folder.join(format!("{}-{interface}", hook.program()))
    }
}

/// Behind all programs that are there.
fn attach_anew(
    program: &mut SchedClassifier,
    hook: Hook,
    interface: &str,
    pin: &Path,
) -> Result<(), String> {
    let order = TcAttachOptions::TcxOrder(LinkOrder::default());
    let link = program
        .attach_with_options(interface, hook.attach_type(), order)
        .and_then(|id| program.take_link(id))
        .map_err(|error| chain(&error))?;
    let link = FdLink::try_from(link).map_err(|error| chain(&error))?;
    link.pin(pin).map(drop).map_err(|error| chain(&error))
}
