//! Labs on machines: virtual ones, and hosts that are there already.
//!
//! ```text
//! plan ── backend: machines made, found, removed (QEMU, Vagrant, none)
//!      └─ SSH ── `labctl node machine` on each: looks, and changes what is within
//! ```
//!
//! A lab's folder is `$XDG_STATE_HOME/labctl/labs/<lab>` (by default
//! `~/.local/state/labctl/labs/<lab>`, 0700): what every lab has, the lab's SSH keys
//! and the hosts' public keys in `ssh/`, and a folder per machine.

mod backend;
mod executable;
mod execute;
mod hosts;
mod keys;
mod link;
mod observe;
mod qemu;
mod run;
mod vagrant;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lab_model::lab::{ProviderKind, Role};
use lab_node::machine::api::Owner;
use tokio::runtime::Runtime;

use crate::error::ProviderError;
use crate::lab_folder::LabFolder;
use crate::lock::{LabLock, Wait};
use crate::record::Record;
pub use vagrant::VagrantError;

use backend::Backend;
use executable::Executable;
use link::Link;

/// How labs on machines are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which machines.
    pub kind: ProviderKind,
    /// The labctl binary, to be installed on machines.
    pub labctl: PathBuf,
    /// Image of virtual machines, by name or digest.
    pub image: Option<String>,
    /// Kernel of the image.
    pub kernel: Option<String>,
    /// Whether machines are booted even where they could go on from a template.
    pub cold: bool,
    /// Told what takes long.
    pub remark: fn(&str),
}

/// The provider.
pub struct Machines {
    options: Options,
    root: PathBuf,
    backend: Box<dyn Backend>,
    runtime: Runtime,
    executable: OnceLock<Executable>,
    links: Mutex<BTreeMap<(String, String), SharedLink>>,
}

/// The connection to one machine, when there is one.
type SharedLink = Arc<Mutex<Option<Link>>>;

impl fmt::Debug for Machines {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Machines")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Machines {
    /// A provider of such machines, for this user.
    ///
    /// # Errors
    /// When there is no folder for state, or the binary is not there.
    pub fn new(options: Options) -> Result<Self, ProviderError> {
        let root = state_root()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|source| ProviderError::file("start threads for", &options.labctl, source))?;
        let backend: Box<dyn Backend> = match options.kind {
            ProviderKind::Ssh => Box::new(hosts::Hosts),
            ProviderKind::Vagrant => Box::new(vagrant::Vagrant::new(&options)),
            ProviderKind::Qemu | ProviderKind::Netns => {
                Box::new(qemu::Qemu::new(&options, runtime.handle()))
            }
        };
        Ok(Self {
            options,
            root,
            backend,
            runtime,
            executable: OnceLock::new(),
            links: Mutex::default(),
        })
    }

    /// Which machines its labs are on.
    #[must_use]
    pub const fn kind(&self) -> ProviderKind {
        self.options.kind
    }

    /// Names of all labs of this user's that are on such machines.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn labs(&self) -> Result<Vec<String>, ProviderError> {
        let mut labs = Vec::new();
        for (lab, kind) in labs_of_user()? {
            if kind == self.options.kind {
                labs.push(lab);
            }
        }
        Ok(labs)
    }

    /// What the last `up` wrote down about the lab; none when it has no state.
    ///
    /// # Errors
    /// When the record cannot be read, or was not written by a labctl like this.
    pub fn record(&self, lab: &str) -> Result<Option<Record>, ProviderError> {
        Record::read(&self.lab_folder(lab)?)
    }

    /// The folder that holds the lab's state. It goes with the lab.
    ///
    /// # Errors
    /// When no lab can have that name.
    pub fn folder(&self, lab: &str) -> Result<PathBuf, ProviderError> {
        Ok(self.lab_folder(lab)?.path().to_owned())
    }

    /// Takes the lock of the lab, which need not exist.
    ///
    /// # Errors
    /// [`ProviderError::Locked`], [`ProviderError::Interrupted`], or when the
    /// lab's folder cannot be made.
    pub fn lock(&self, lab: &str, wait: Wait<'_>) -> Result<LabLock, ProviderError> {
        LabLock::take(self.lab_folder(lab)?, wait)
    }

    fn lab_folder(&self, lab: &str) -> Result<LabFolder, ProviderError> {
        LabFolder::new(&self.root, lab)
    }

    fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The executable for machines, read when it is first needed.
    fn executable(&self) -> Result<&Executable, ProviderError> {
        if let Some(executable) = self.executable.get() {
            return Ok(executable);
        }
        let executable = Executable::read(&self.options.labctl)?;
        Ok(self.executable.get_or_init(|| executable))
    }

    /// Does `work` over the connection to a machine, which is made if there is
    /// none, and made anew, once, when it turns out to be broken.
    fn with_link<T>(
        &self,
        folder: &LabFolder,
        node: &str,
        interrupt: &AtomicBool,
        mut work: impl FnMut(&mut Link) -> Result<T, ProviderError>,
    ) -> Result<T, ProviderError> {
        let link = self.link(folder, node);
        let mut link = link.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &mut *link {
            match work(open) {
                Err(error) if error.is_disconnect() => *link = None,
                done => return done,
            }
        }
        self.backend.await_up(folder, node, interrupt)?;
        let destination = self.backend.destination(folder, node)?;
        let open = Link::open(self.runtime.handle(), &destination)?;
        work(link.insert(open))
    }

    fn link(&self, folder: &LabFolder, node: &str) -> SharedLink {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (folder.lab().to_owned(), node.to_owned());
        Arc::clone(links.entry(key).or_default())
    }

    /// Lets go of the connection to a machine that goes.
    fn forget(&self, folder: &LabFolder, node: &str) {
        let link = self.link(folder, node);
        *link.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn owner_of(&self, folder: &LabFolder, node: &str, role: Role) -> Owner {
        Owner {
            lab: folder.lab().to_owned(),
            node: node.to_owned(),
            role,
            owner: keys::owner(),
        }
    }
}

/// The folder of all of this user's labs on machines.
fn state_root() -> Result<PathBuf, ProviderError> {
    let folder = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
        .ok_or(ProviderError::NoHome)?;
    Ok(state.join("labctl/labs"))
}

/// This user's labs on machines, and which machines, in alphabetical order. A lab
/// whose record is lost is taken to be on virtual machines, whose remains are found
/// without it.
///
/// # Errors
/// When a folder cannot be read.
pub fn labs_of_user() -> Result<Vec<(String, ProviderKind)>, ProviderError> {
    let mut labs = Vec::new();
    // Without a home there is no place where any could be.
    let Ok(root) = state_root() else {
        return Ok(labs);
    };
    let entries = match std::fs::read_dir(&root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(labs),
        entries => entries.map_err(|source| ProviderError::file("list", &root, source))?,
    };
    for entry in entries {
        let entry = entry.map_err(|source| ProviderError::file("list", &root, source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(folder) = LabFolder::new(&root, &name) else {
            continue;
        };
        if folder.is_bare() {
            continue;
        }
        let record = Record::read(&folder).unwrap_or_default();
        labs.push((name, record.map_or(ProviderKind::Qemu, |it| it.provider)));
    }
    labs.sort();
    Ok(labs)
}
