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
mod error;
mod execute;
mod limits;
mod lock;
mod namespaces;
mod node;
mod observe;
mod parallel;
mod places;
mod record;
mod servers;
mod target;
#[cfg(test)]
mod tests;
mod undo;

use std::path::PathBuf;

use lab_node::api::Client;
use lab_node::cgroup;

pub use error::{ExecuteError, ProviderError};
pub use execute::Event;
pub use lock::{LabLock, Wait};
use places::{Places, Roots};
pub use record::{NodeRecord, Record};
pub use target::Target;

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
        Record::read(&self.places(lab)?)
    }

    /// The folder that holds the lab's state. It goes with the lab.
    ///
    /// # Errors
    /// When no lab can have that name.
    pub fn folder(&self, lab: &str) -> Result<PathBuf, ProviderError> {
        Ok(self.places(lab)?.folder().to_owned())
    }

    /// The node's folder, `/run/labctl` to the node itself: `agent.sock`,
    /// `agent.log` and `serve.log` are in it.
    ///
    /// # Errors
    /// When no lab can have that name.
    pub fn node_folder(&self, lab: &str, node: &str) -> Result<PathBuf, ProviderError> {
        Ok(self.places(lab)?.node(node))
    }

    /// A connection to the agent of a node.
    ///
    /// # Errors
    /// [`ProviderError::Agent`] when nobody listens.
    pub fn agent(&self, lab: &str, node: &str) -> Result<Client, ProviderError> {
        agents::connect(&self.places(lab)?, node).map_err(|error| {
            let (what, why) = ("answer", error.to_string());
            ProviderError::Agent {
                node: node.to_owned(),
                what,
                why,
            }
        })
    }

    fn places(&self, lab: &str) -> Result<Places, ProviderError> {
        self.roots.lab(lab)
    }
}
