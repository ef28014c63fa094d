//! Cloud images: a qcow2 by path or URL, its checksum required and checked while it streams.
//!
//! Machines of such an image boot by its own boot loader; cloud-init tells them who they are.

mod seed;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256, Sha512};

use crate::build::{self, BuildError, Built, Program, Progress};
use crate::store::{self, Boot, Digest, Document, Store};

pub use seed::SeedError;
pub(crate) use seed::{USER, write_seed};

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

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = match self.algorithm {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        };
        write!(formatter, "{algorithm}:{}", self.hex)
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
    /// Takes a cloud image into the store. An interrupted or failed import leaves nothing.
    ///
    /// # Errors
    /// When it cannot be fetched, is not what the checksum says, or is no qcow2 of one file.
    pub fn import(
        &self,
        source: &Source,
        interrupt: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Built, BuildError> {
        let digest = Digest::of(Sha256::new_with_prefix(source.checksum.to_string()));
        let lock = self.build_lock(&digest, interrupt, &mut || progress(Progress::Waiting))?;
        let _lock = lock.ok_or(BuildError::Interrupted)?;
        if let Some(image) = self.find(&digest)? {
            return Ok(Built::Already(self.name(image, &source.name)?));
        }
        let unfinished = self.begin(&digest)?;
        let disk = unfinished.folder().join("disk.qcow2");
        progress(Progress::Step(format!("fetch {}", source.location)));
        fetch(source, &disk, interrupt)?;
        build::protect(&disk)?;
        let document = Document {
            name: source.name.clone(),
            digest,
            boot: Boot::BootLoader,
            kernels: Vec::new(),
            made_at: build::now(),
        };
        Ok(Built::New(self.finish(&unfinished, document)?))
    }
}

const CURL: Program = Program {
    name: "curl",
    package: "curl",
};

/// Copies the source to `disk`, hashing it on the way.
fn fetch(source: &Source, disk: &Path, interrupt: &AtomicBool) -> Result<(), BuildError> {
    let mut file = File::create(disk).map_err(build::in_file("create", disk))?;
    let mut stream = Stream::open(&source.location)?;
    let mut hasher = Hasher::new(source.checksum.algorithm);
    let mut buffer = vec![0; 1 << 20];
    let mut head = Vec::new();
    loop {
        if interrupt.load(Ordering::SeqCst) {
            return Err(BuildError::Interrupted);
        }
        let length = stream
            .read(&mut buffer)
            .map_err(build::in_file("read", source.location.as_ref()))?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        hasher.update(bytes);
        let missing = HEADER.saturating_sub(head.len());
        head.extend(bytes.iter().take(missing));
        file.write_all(bytes)
            .map_err(build::in_file("write", disk))?;
    }
    stream.finish(&source.location)?;
    let found = hasher.finish();
    if found != source.checksum {
        return Err(BuildError::Checksum {
            location: source.location.clone(),
            expected: source.checksum.to_string(),
            found: found.to_string(),
        });
    }
    if !stands_alone(&head) {
        return Err(BuildError::NoImage {
            location: source.location.clone(),
        });
    }
    Ok(())
}

/// Bytes of a qcow2 header that are looked at.
const HEADER: usize = 80;

/// Whether a file begins as a qcow2 that needs no other file (docs/interop/qcow2.txt): one that
/// names another would let its machine read any file of this user's.
fn stands_alone(head: &[u8]) -> bool {
    let number = |at: usize| {
        head.get(at..at + 8)?
            .try_into()
            .ok()
            .map(u64::from_be_bytes)
    };
    let version = head.get(4..8);
    let external_data = match version {
        Some([0, 0, 0, 2]) => Some(0),
        Some([0, 0, 0, 3]) => number(72).map(|incompatible| incompatible & 0b100),
        _ => None,
    };
    head.starts_with(b"QFI\xfb") && number(8) == Some(0) && external_data == Some(0)
}

enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Checksum {
        let (algorithm, hex) = match self {
            Self::Sha256(hasher) => (Algorithm::Sha256, store::hex(&hasher.finalize())),
            Self::Sha512(hasher) => (Algorithm::Sha512, store::hex(&hasher.finalize())),
        };
        Checksum { algorithm, hex }
    }
}

/// Bytes from a file, or from curl.
enum Stream {
    File(File),
    Curl(Child),
}

impl Stream {
    fn open(location: &str) -> Result<Self, BuildError> {
        if !["https:", "http:", "file:"]
            .iter()
            .any(|scheme| location.starts_with(scheme))
        {
            let file = File::open(location).map_err(build::in_file("open", location.as_ref()))?;
            return Ok(Self::File(file));
        }
        let mut command = CURL.require()?.command();
        command.args(["--fail", "--silent", "--show-error", "--location"]);
        command.args([
            "--proto",
            "=https,http,file",
            "--proto-redir",
            "=https,http",
        ]);
        command
            .args(["--url", location])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn();
        child.map(Self::Curl).map_err(|source| BuildError::Run {
            program: CURL.name,
            source,
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Curl(child) => child
                .stdout
                .as_mut()
                .map_or(Ok(0), |output| output.read(buffer)),
        }
    }

    /// Fails if curl did: what came before was not all.
    fn finish(mut self, location: &str) -> Result<(), BuildError> {
        let Self::Curl(child) = &mut self else {
            return Ok(());
        };
        let fault = |source| BuildError::Run {
            program: CURL.name,
            source,
        };
        let mut said = String::new();
        if let Some(mut error) = child.stderr.take() {
            error.read_to_string(&mut said).map_err(fault)?;
        }
        let status = child.wait().map_err(fault)?;
        if status.success() {
            return Ok(());
        }
        let (what, said) = (format!("fetch {location}"), said.trim().to_owned());
        Err(BuildError::Program {
            what,
            program: CURL.name,
            status,
            said,
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Self::Curl(child) = self {
            // It has ended, unless the import was interrupted.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

#[cfg(test)]
mod tests;
