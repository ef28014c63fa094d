//! Labs in namespaces of this host's kernel.
//!
//! Nothing of a lab is in the host's own network namespace. A node is a `pause`
//! process with a network, a mount and a UTS namespace; the segment is a bridge
//! in a namespace of its own. Everything carries the lab's name, in
//! `/run/labctl/<lab>/` and in `<cgroup2>/labctl/<lab>/`, so that whatever a
//! killed run left is found again by name alone, and nothing else is touched.
//!
//! ```text
//! lock ── observe ── (lab_model::plan) ── execute ── journal, events
//!                                            └─ on failure: undo, backwards
//! ```

mod agents;
mod cables;
mod down;
mod execute;
mod limits;
mod namespaces;
mod node;
mod observe;
mod places;
mod servers;
mod target;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use lab_node::api::SOCKET;
use lab_node::cgroup;

use crate::error::ProviderError;
use crate::lock::{LabLock, Wait};
use crate::provider::{AgentView, Log, log_files};
use crate::record::{self, Record};
use crate::target::Target;

use places::{Places, Roots};

/// How labs are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The labctl binary, which every process of a lab executes.
    pub labctl: PathBuf,
    /// An eBPF object for the node agents to load in the place of their own.
    pub datapath_object: Option<PathBuf>,
}

/// The provider.
#[derive(Clone, Debug)]
pub struct Netns {
    options: Options,
    roots: Roots,
}

impl Netns {
    /// A provider for this host.
    ///
    /// # Errors
    /// When no cgroup2 hierarchy is mounted, or a path of `options` leads nowhere.
    pub fn new(options: Options) -> Result<Self, ProviderError> {
        let absolute = |path: PathBuf| {
            path.canonicalize()
                .map_err(|source| ProviderError::file("find", &path, source))
        };
        let options = Options {
            labctl: absolute(options.labctl)?,
            datapath_object: options.datapath_object.map(absolute).transpose()?,
        };
        Ok(Self {
            options,
            roots: Roots::new(&cgroup::mount_point()?),
        })
    }

    /// Names of all labs of which anything is there, in alphabetical order.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn labs(&self) -> Result<Vec<String>, ProviderError> {
        self.roots.labs()
    }

    /// What the last `up` wrote down about the lab; none when it has no state.
    ///
    /// # Errors
    /// When the record cannot be read, or was not written by a labctl like this.
    pub fn record(&self, lab: &str) -> Result<Option<Record>, ProviderError> {
        Record::read(self.places(lab)?.folder())
    }

    /// The folder that holds the lab's state. It goes with the lab.
    ///
    /// # Errors
    /// When no lab can have that name.
    pub fn folder(&self, lab: &str) -> Result<PathBuf, ProviderError> {
        Ok(self.places(lab)?.folder().path().to_owned())
    }

    /// What the agent of a node says of itself.
    ///
    /// # Errors
    /// When no lab can have that name.
    pub fn agent_view(&self, lab: &str, node: &str) -> Result<AgentView, ProviderError> {
        let places = self.places(lab)?;
        let socket = places.node(node).join(SOCKET);
        let status = socket.exists().then(|| {
            let status = agents::connect(&places, node).and_then(|mut client| client.status());
            status.map_err(|error| error.to_string())
        });
        let applied = agents::applied(&places, node)?;
        Ok(AgentView { applied, status })
    }

    /// What a node's services, or a pod, have written.
    ///
    /// # Errors
    /// When a log that is there cannot be read.
    pub fn logs(&self, lab: &str, target: &Target) -> Result<Vec<Log>, ProviderError> {
        let folder = self.places(lab)?.node(target.node());
        let mut logs = Vec::new();
        for file in log_files(target) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let written = record::read_if_there(&folder.join(&file))?;
            logs.extend(written.map(|bytes| Log {
                name: name.into_owned(),
                text: String::from_utf8_lossy(&bytes).into_owned(),
            }));
        }
        Ok(logs)
    }

    /// Takes the lock of the lab, which need not exist.
    ///
    /// # Errors
    /// [`ProviderError::Locked`], [`ProviderError::Interrupted`], or when the
    /// lab's folder cannot be made.
    pub fn lock(&self, lab: &str, wait: Wait<'_>) -> Result<LabLock, ProviderError> {
        LabLock::take(self.places(lab)?.folder().clone(), wait)
    }

    fn places(&self, lab: &str) -> Result<Places, ProviderError> {
        self.roots.lab(lab)
    }
}
