//! Images by content: one folder each, named by the digest of what it was made from; an index
//! of names; and what is based on each, so that nothing in use is removed.

mod digest;
mod error;
mod files;
mod image;
mod lock;
mod users;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

pub use digest::Digest;
pub use error::StoreError;
pub(crate) use files::{
    create_folder, read_json, remove_folder, rename, write_json, write_private,
};
pub use image::{Boot, Image, Kernel};

pub(crate) use digest::hex;
pub(crate) use image::Document;
pub(crate) use lock::{Lock, try_acquire};
pub(crate) use users::register;

/// The folder of images.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
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
        let begins = |digest: &&Digest| name.len() >= 8 && digest.as_str().starts_with(name);
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
        self.read(&self.root.join(digest.as_str()))
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
        lock::acquire(&locks.join(digest.as_str()), interrupt, waiting)
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
        let folder = self.root.join(document.digest.as_str());
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

#[cfg(test)]
mod tests;
