//! An image of the store: its document, its files, and what is based on it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Digest, StoreError, files, users};

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

/// How an image boots, and who tells its machines who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// By one of its kernels, given to QEMU; the machine then asks for its identity.
    Kernel,
    /// As its maker meant it: by its own boot loader (or by a kernel, if it has any here), with
    /// its own process 1; cloud-init reads its identity from a seed.
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
        Ok(files::size(&self.folder)? - files::size(&self.templates())?)
    }

    /// The machines' disks that are based on it or on a template of it.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn users(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut users = users::of(&self.folder)?;
        for template in files::entries(&self.templates())? {
            users.extend(users::of(&template)?);
        }
        Ok(users)
    }

    /// # Errors
    /// [`StoreError::InUse`] while a disk is based on it.
    pub(crate) fn refuse_if_used(&self) -> Result<(), StoreError> {
        let users = self.users()?;
        if users.is_empty() {
            return Ok(());
        }
        Err(StoreError::InUse {
            image: self.name().to_owned(),
            users,
        })
    }

    /// Its kernel of that name or release; its first for none.
    ///
    /// # Errors
    /// [`StoreError::NoSuchKernel`].
    pub fn kernel(&self, asked: Option<&str>) -> Result<&Kernel, StoreError> {
        let matches = |kernel: &&Kernel| {
            asked.is_none_or(|asked| kernel.name == asked || kernel.release == asked)
        };
        self.kernels()
            .iter()
            .find(matches)
            .ok_or_else(|| StoreError::NoSuchKernel {
                kernel: asked.unwrap_or("(any)").to_owned(),
                image: self.name().to_owned(),
                there: self
                    .kernels()
                    .iter()
                    .map(|kernel| kernel.name.clone())
                    .collect(),
            })
    }

    /// Its disk, read only, and the disk's format.
    #[must_use]
    pub fn disk(&self) -> (PathBuf, &'static str) {
        let built = self.folder.join("disk.raw");
        if built.exists() {
            (built, "raw")
        } else {
            (self.folder.join("disk.qcow2"), "qcow2")
        }
    }

    /// The user whom a machine's identity lets log in; one that is not root may use sudo.
    #[must_use]
    pub fn ssh_user(&self) -> &'static str {
        match self.boot() {
            Boot::Kernel => "root",
            Boot::BootLoader => crate::import::USER,
        }
    }

    /// The folder of a kernel: `vmlinux` (or `vmlinuz`, if that is all there is) and `initramfs`.
    #[must_use]
    pub fn kernel_folder(&self, kernel: &Kernel) -> PathBuf {
        self.folder.join("kernels").join(&kernel.release)
    }

    pub(crate) fn templates(&self) -> PathBuf {
        self.folder.join("templates")
    }

    pub(super) fn prune_templates(&self) -> Result<u64, StoreError> {
        let mut freed = 0;
        for template in files::entries(&self.templates())? {
            if users::of(&template)?.is_empty() {
                freed += files::size(&template)?;
                files::remove_folder(&template)?;
            }
        }
        Ok(freed)
    }
}
