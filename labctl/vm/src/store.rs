//! Images by content: one folder each, named by the digest of what it was made from; an index
//! of names; and what is based on each, so that nothing in use is removed.

mod files;
mod lock;
mod users;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use sha2::Sha256;

pub(crate) use files::{
    create_folder, read_json, remove_folder, rename, write_json, write_private,
};
pub(crate) use lock::{Lock, try_acquire};
pub(crate) use users::register;

/// A SHA-256, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    pub(crate) fn of(hasher: Sha256) -> Self {
        use sha2::Digest as _;
        Self(hex(&hasher.finalize()))
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

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
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
        files::create_folder(root)?;
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
        self.names()?
            .values()
            .map(|digest| self.at_digest(digest))
            .collect()
    }

    /// The image of that name, or whose digest begins so (eight digits at least).
    ///
    /// # Errors
    /// [`StoreError::NoSuchImage`], or when the store cannot be read.
    pub fn image(&self, name: &str) -> Result<Image, StoreError> {
        let names = self.names()?;
        let begins = |digest: &&Digest| name.len() >= 8 && digest.0.starts_with(name);
        let digest = names.get(name).or_else(|| names.values().find(begins));
        self.at_digest(digest.ok_or_else(|| StoreError::NoSuchImage(name.to_owned()))?)
    }

    /// Removes an image, its templates with it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a disk is based on it or on a template of it.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let image = self.image(name)?;
        let _lock = self.lock()?;
        image.refuse_if_used()?;
        let mut names = self.names()?;
        names.retain(|_, digest| digest != image.digest());
        self.write_names(&names)?;
        files::remove_folder(&image.folder)
    }

    /// Removes the templates that no disk is based on, and images that no name leads to and no
    /// disk is based on; says how many bytes became free.
    ///
    /// # Errors
    /// When the store cannot be read or changed.
    pub fn prune(&self) -> Result<u64, StoreError> {
        let _lock = self.lock()?;
        let names = self.names()?;
        let mut freed = 0;
        for folder in files::entries(&self.root)? {
            let Some(image) = self.read(&folder)? else {
                continue;
            };
            let users = image.users()?;
            let named = names.values().any(|digest| digest == image.digest());
            if !named && users.is_empty() {
                freed += files::size(&folder)?;
                files::remove_folder(&folder)?;
                continue;
            }
            freed += image.prune_templates()?;
        }
        Ok(freed)
    }

    /// The image of that digest, if it is there whole.
    pub(crate) fn find(&self, digest: &Digest) -> Result<Option<Image>, StoreError> {
        self.read(&self.root.join(&digest.0))
    }

    /// Takes the build lock of that digest. None when `interrupt` is set while waiting for it.
    pub(crate) fn build_lock(
        &self,
        digest: &Digest,
        interrupt: &AtomicBool,
        waiting: &mut dyn FnMut(),
    ) -> Result<Option<Lock>, StoreError> {
        let locks = self.root.join("locks");
        files::create_folder(&locks)?;
        lock::acquire(&locks.join(&digest.0), interrupt, waiting)
    }

    /// An empty folder to make that digest's image in; what a killed build left is removed.
    /// The digest's build lock must be held.
    pub(crate) fn begin(&self, digest: &Digest) -> Result<Unfinished, StoreError> {
        let folder = self.root.join(format!("building-{digest}"));
        drop(Unfinished {
            folder: folder.clone(),
        });
        files::create_folder(&folder)?;
        Ok(Unfinished { folder })
    }

    /// Moves a finished folder into its place and gives it its name.
    pub(crate) fn finish(
        &self,
        unfinished: &Unfinished,
        document: Document,
    ) -> Result<Image, StoreError> {
        files::write_json(&unfinished.folder.join("image.json"), &document)?;
        let _lock = self.lock()?;
        let folder = self.root.join(&document.digest.0);
        if let Some(old) = self.read(&folder)? {
            old.refuse_if_used()?;
            files::remove_folder(&folder)?;
        }
        files::rename(&unfinished.folder, &folder)?;
        let mut names = self.names()?;
        names.insert(document.name.clone(), document.digest.clone());
        self.write_names(&names)?;
        Ok(Image { folder, document })
    }

    /// Gives an image that is there a name, which may be another image's until now.
    pub(crate) fn name(&self, image: Image, name: &str) -> Result<Image, StoreError> {
        let _lock = self.lock()?;
        let mut names = self.names()?;
        if names.get(name) != Some(image.digest()) {
            names.insert(name.to_owned(), image.digest().clone());
            self.write_names(&names)?;
        }
        Ok(image)
    }

    fn at_digest(&self, digest: &Digest) -> Result<Image, StoreError> {
        let found = self.find(digest)?;
        found.ok_or_else(|| StoreError::NoSuchImage(digest.to_string()))
    }

    fn read(&self, folder: &Path) -> Result<Option<Image>, StoreError> {
        let document = files::read_json(&folder.join("image.json"))?;
        Ok(document.map(|document| Image {
            folder: folder.to_owned(),
            document,
        }))
    }

    fn lock(&self) -> Result<Lock, StoreError> {
        static NEVER: AtomicBool = AtomicBool::new(false);
        // Held for the time of a few file operations only.
        let lock = lock::acquire(&self.root.join("lock"), &NEVER, &mut || ())?;
        lock.ok_or(StoreError::NoHome)
    }

    fn names(&self) -> Result<BTreeMap<String, Digest>, StoreError> {
        Ok(files::read_json(&self.root.join("names.json"))?.unwrap_or_default())
    }

    fn write_names(&self, names: &BTreeMap<String, Digest>) -> Result<(), StoreError> {
        files::write_json(&self.root.join("names.json"), names)
    }
}

/// A folder in which an image is made; removed unless it was moved into its place.
#[derive(Debug)]
pub(crate) struct Unfinished {
    folder: PathBuf,
}

impl Unfinished {
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a link to further folders is kept, so that they go with this one.
    pub(crate) fn scratch_link(&self) -> PathBuf {
        self.folder.join("scratch")
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Ok(scratch) = std::fs::read_link(self.scratch_link()) {
            let _gone = std::fs::remove_dir_all(scratch);
        }
        let _gone = std::fs::remove_dir_all(&self.folder);
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

    fn prune_templates(&self) -> Result<u64, StoreError> {
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

#[cfg(test)]
mod tests;
