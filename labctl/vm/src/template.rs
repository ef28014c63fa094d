//! Templates: a machine stopped right before it is told who it is, to go on from there in any
//! number of machines. Made once per image, kernel, memory, processors, QEMU and caller's key.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::machine::{Identity, Machine, MachineError};
use crate::store::{Image, Store, StoreError};

/// What a template is made from.
#[derive(Clone, Debug)]
pub struct TemplateSpec {
    /// The image.
    pub image: Image,
    /// Its kernel, by name or release; default: its first.
    pub kernel: Option<String>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// What `prepare` puts into it, in the caller's words: a different text is a different template.
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
    /// The caller could not prepare it.
    #[error("prepare a template: {0}")]
    Prepare(Box<dyn Error + Send + Sync>),
}

impl Store {
    /// The template, if it is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn template(&self, spec: &TemplateSpec) -> Result<Option<Template>, TemplateError> {
        let _ = spec;
        Ok(None)
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
        prepare: &mut dyn FnMut(&Machine) -> Result<(), Box<dyn Error + Send + Sync>>,
    ) -> Result<Template, TemplateError> {
        let _ = (spec, deadline, interrupt, prepare);
        Err(StoreError::NoHome.into())
    }
}

impl Template {
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
