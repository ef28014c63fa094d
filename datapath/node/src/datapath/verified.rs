//! Programs that the kernel has verified, pinned: an agent that starts again with the same
//! object takes them over. To verify them is most of what the start of an agent takes, and on
//! an emulated machine nearly all of it, so machines' templates have them verified already.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::pin::PinError;
use aya::programs::ProgramError;
use sha2::{Digest as _, Sha256};

use super::{DatapathError, FOLDER, chain};

/// Folder of the pinned programs in [`FOLDER`]: `<object>/<start of its SHA-256>/<program>`.
const PROGRAMS: &str = "programs";

/// The pinned programs of one object.
pub(super) struct Verified {
    folder: PathBuf,
}

/// What is done to one program.
pub(super) trait Verifiable {
    /// Becomes the one that is pinned there.
    fn take_over(&mut self, pin: &Path) -> Result<(), ProgramError>;
    /// Has the kernel verify it.
    fn verify(&mut self) -> Result<(), ProgramError>;
    /// Pins it.
    fn pin(&mut self, pin: &Path) -> Result<(), PinError>;
}

impl Verified {
    /// Those of `object`, which is called `name`. What is pinned of others by that name goes:
    /// links and calls hold what is in use.
    pub(super) fn of(bpffs: &Path, name: &str, object: &[u8]) -> Result<Self, DatapathError> {
        let digest = Sha256::digest(object);
        let digest: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let of_name = bpffs.join(FOLDER).join(PROGRAMS).join(name);
        let folder = of_name.join(&digest);
        if !folder.exists() {
            remove(&of_name)?;
            fs::create_dir_all(&folder).map_err(|source| DatapathError::File {
                what: "make",
                path: folder.clone(),
                source,
            })?;
        }
        Ok(Self { folder })
    }

    /// Forgets all of them. A program goes on with the maps it was verified with: those that
    /// are made anew need it verified anew.
    pub(super) fn forget_all(bpffs: &Path) -> Result<(), DatapathError> {
        remove(&bpffs.join(FOLDER).join(PROGRAMS))
    }

    /// Takes `program` over if it is there, and has it verified and pins it if not.
    pub(super) fn provide(
        &self,
        name: &'static str,
        program: &mut impl Verifiable,
    ) -> Result<(), DatapathError> {
        let pin = self.folder.join(name);
        let fault = |source| DatapathError::Program {
            program: name,
            source,
        };
        if pin.exists() {
            return program.take_over(&pin).map_err(fault);
        }
        program.verify().map_err(fault)?;
        program.pin(&pin).map_err(|error| DatapathError::File {
            what: "pin",
            source: io::Error::other(chain(&error)),
            path: pin,
        })
    }
}

fn remove(folder: &Path) -> Result<(), DatapathError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DatapathError::File {
            what: "remove",
            path: folder.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_another_object_by_that_name_are_forgotten() {
        let bpffs = tempfile::tempdir().expect("a folder");
        let of = |name, object| Verified::of(bpffs.path(), name, object).expect("make");
        let pins = [of("datapath", b"one"), of("sock", b"one")].map(|it| it.folder.join("pin"));
        for pin in &pins {
            fs::write(pin, "").expect("write");
        }
        of("datapath", b"one");
        assert!(pins[0].exists());
        let other = of("datapath", b"two");
        assert!(other.folder.exists());
        assert_eq!(pins.each_ref().map(|pin| pin.exists()), [false, true]);
        Verified::forget_all(bpffs.path()).expect("remove");
        Verified::forget_all(bpffs.path()).expect("nothing to remove");
        assert!(!pins[1].exists());
    }
}
