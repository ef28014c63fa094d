//! Templates: a machine stopped right before it is told who it is, to go on from there in any
//! number of machines. Made once per image, kernel, memory, processors, QEMU and content.
//!
//! Memory is a file that QEMU maps shared while the template is made, and privately in each copy
//! (`x-ignore-shared`): a copy reads only the pages it uses, and starts in about a second.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::accel;
use crate::machine::{Base, Identity, Machine, MachineError, MachineSpec, QEMU, start_recorded};
use crate::store::{self, Digest, Image, Store, StoreError};

/// What a template is made from.
#[derive(Clone, Debug)]
pub struct TemplateSpec {
    /// The image; one that boots by a kernel of its own choice has no templates.
    pub image: Image,
    /// Its kernel, by name or release; default: its first.
    pub kernel: Option<String>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// What `prepare` puts into it, in the caller's words: a different text is a different
    /// template.
    pub content: String,
    /// Who the machine is while it is prepared; nothing of it stays in the template.
    pub identity: Identity,
}

/// A template of the store.
#[derive(Clone, Debug)]
pub struct Template {
    pub(crate) folder: PathBuf,
    pub(crate) image: Image,
    pub(crate) document: Document,
    ram: PathBuf,
}

/// `template.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) kernel: String,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    /// What the template's digest is of besides: for people.
    qemu: String,
    accelerator: accel::Accelerator,
    content: String,
}

/// Why there is no template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machine it is made from failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// QEMU's version is unknown.
    #[error("run {QEMU}: {0}; it is in Debian's package qemu-system-x86")]
    Qemu(io::Error),
    /// The caller could not prepare it.
    #[error("prepare a template: {0}")]
    Prepare(Box<dyn Error + Send + Sync>),
    /// The caller asked to stop while another process made it.
    #[error("wait for a template: interrupted")]
    Interrupted,
}

/// What puts into a machine what its template is to have: it gets a machine that is ready.
pub type Prepare<'a> = &'a mut dyn FnMut(&Machine) -> Result<(), Box<dyn Error + Send + Sync>>;

const DOCUMENT: &str = "template.json";

/// How the names of folders begin in which templates are made.
const MAKING: &str = "making-";

impl Store {
    /// The template, if it is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn template(&self, spec: &TemplateSpec) -> Result<Option<Template>, TemplateError> {
        let document = spec.document()?;
        Ok(read(&spec.image, &document.digest(&spec.image))?)
    }

    /// The template, made if it is not there: a machine is booted, `prepare` is called on it when
    /// it is ready, then it forgets who it is and is stopped.
    ///
    /// One process makes it; others wait for that.
    ///
    /// # Errors
    /// When the machine cannot be booted, prepared or stopped. Machines can be booted from the
    /// image then.
    pub fn make_template(
        &self,
        spec: &TemplateSpec,
        deadline: Instant,
        interrupt: &AtomicBool,
        prepare: Prepare<'_>,
    ) -> Result<Template, TemplateError> {
        let document = spec.document()?;
        let digest = document.digest(&spec.image);
        let lock = self.build_lock(&digest, interrupt, &mut || ())?;
        let _lock = lock.ok_or(TemplateError::Interrupted)?;
        if let Some(template) = read(&spec.image, &digest)? {
            return Ok(template);
        }
        let golden = Golden::create(spec.image.folder.join(format!("{MAKING}{digest}")))?;
        golden.record(spec, deadline, interrupt, prepare)?;
        store::write_json(&golden.folder.join(DOCUMENT), &document)?;
        store::create_folder(&spec.image.templates())?;
        let folder = spec.image.templates().join(digest.as_str());
        store::rename(&golden.folder, &folder)?;
        Ok(Template::new(folder, spec.image.clone(), document))
    }
}

impl Store {
    /// Removes what processes that were killed in the middle of making a template left
    /// behind, its machine first. Templates that somebody makes now are let alone.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn sweep(&self) -> Result<(), StoreError> {
        for image in self.list()? {
            let making = fs::read_dir(&image.folder).map_err(|source| StoreError::File {
                what: "list",
                path: image.folder.clone(),
                source,
            })?;
            for entry in making.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let Some(digest) = name.strip_prefix(MAKING) else {
                    continue;
                };
                let lock = self.root().join("locks").join(digest);
                if let Some(_lock) = store::try_acquire(&lock)? {
                    let folder = entry.path();
                    drop(Golden { folder });
                }
            }
        }
        Ok(())
    }
}

impl TemplateSpec {
    fn document(&self) -> Result<Document, TemplateError> {
        Ok(Document {
            kernel: self.image.kernel(self.kernel.as_deref())?.release.clone(),
            memory_mib: self.memory_mib,
            cpus: self.cpus,
            qemu: qemu_version().map_err(TemplateError::Qemu)?,
            accelerator: accel::choose().accelerator,
            content: self.content.clone(),
        })
    }
}

impl Document {
    fn digest(&self, image: &Image) -> Digest {
        // Devices' state fits the same devices only, processors among them.
        const DEVICES: u32 = 2;
        let text = serde_json::json!([DEVICES, image.digest(), self]).to_string();
        Digest::of(Sha256::new_with_prefix(text.as_bytes()))
    }
}

fn read(image: &Image, digest: &Digest) -> Result<Option<Template>, StoreError> {
    let folder = image.templates().join(digest.as_str());
    let document = store::read_json(&folder.join(DOCUMENT))?;
    Ok(document.map(|document| Template::new(folder, image.clone(), document)))
}

/// The first line of `qemu --version`: saved state is of one version and its machine types.
fn qemu_version() -> io::Result<String> {
    let output = Command::new(QEMU).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The folder a template is made in; removed unless it was moved into its place.
struct Golden {
    folder: PathBuf,
}

impl Golden {
    fn create(folder: PathBuf) -> Result<Self, StoreError> {
        // What a killed process left, its machine first.
        drop(Self {
            folder: folder.clone(),
        });
        store::create_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Boots the machine, prepares it and saves it.
    fn record(
        &self,
        spec: &TemplateSpec,
        deadline: Instant,
        interrupt: &AtomicBool,
        prepare: Prepare<'_>,
    ) -> Result<(), TemplateError> {
        let machine_folder = self.folder.join("machine");
        let machine = MachineSpec {
            lab: "template".to_owned(),
            name: "template".to_owned(),
            folder: machine_folder.clone(),
            base: Base::Image(spec.image.clone(), spec.kernel.clone()),
            memory_mib: spec.memory_mib,
            cpus: spec.cpus,
            segment: None,
            identity: spec.identity.clone(),
        };
        let ram = self.folder.join("ram");
        let starting = start_recorded(&machine, &ram)?;
        let machine = starting.wait_ready(deadline, interrupt)?;
        prepare(&machine).map_err(TemplateError::Prepare)?;
        let state = self.folder.join("state");
        let file = File::create(&state);
        let file = file.map_err(|source| StoreError::File {
            what: "create",
            path: state,
            source,
        })?;
        machine.save(file.as_fd(), deadline, interrupt)?;
        store::rename(
            &machine_folder.join("disk.qcow2"),
            &self.folder.join("disk.qcow2"),
        )?;
        store::remove_folder(&machine_folder)?;
        Ok(())
    }
}

impl Drop for Golden {
    fn drop(&mut self) {
        for found in crate::machine::find(&self.folder).unwrap_or_default() {
            let _ended = found.kill();
        }
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

impl Template {
    fn new(folder: PathBuf, image: Image, document: Document) -> Self {
        Self {
            ram: folder.join("ram"),
            folder,
            image,
            document,
        }
    }

    pub(crate) fn ram(&self) -> &Path {
        &self.ram
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.join("disk.qcow2")
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
