//! Where everything of a lab is: folders, mounts, cgroups.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lab_node::cgroup::Cgroup;

use crate::error::ProviderError;
use crate::lab_folder::{LabFolder, entries_in, folders_in, is_in_use};

/// State of all labs.
const STATE: &str = "/run/labctl";
/// The segment's file among the nodes' namespaces. No node has this name, since
/// a host name has no underscore.
const FABRIC: &str = "_fabric";

/// What all labs are in.
#[derive(Clone, Debug)]
pub(super) struct Roots {
    state: PathBuf,
    cgroup: Cgroup,
}

impl Roots {
    pub(super) fn new(cgroup2: &Path) -> Self {
        Self {
            state: STATE.into(),
            cgroup: Cgroup::at(cgroup2.join("labctl")),
        }
    }

    /// Where the lab `name` is or would be.
    pub(super) fn lab(&self, name: &str) -> Result<Places, ProviderError> {
        Ok(Places {
            folder: LabFolder::new(&self.state, name)?,
            cgroup: self.cgroup.child(name),
            roots: self.clone(),
        })
    }

    /// Labs of which there is a folder, a cgroup or a mount.
    pub(super) fn labs(&self) -> Result<Vec<String>, ProviderError> {
        let mut labs = folders_in(&self.state)?;
        labs.extend(
            self.cgroup
                .children()?
                .iter()
                .filter_map(|it| name_of(it.path())),
        );
        for mount in mounts_below(&self.state)? {
            let below = mount.strip_prefix(&self.state).ok();
            let first = below.and_then(|path| path.components().next());
            labs.extend(first.map(|it| it.as_os_str().to_string_lossy().into_owned()));
        }
        Ok(labs.into_iter().collect())
    }

    /// Removes the cgroup of all labs when the last lab is gone.
    pub(super) fn remove_cgroup_if_empty(&self) -> Result<(), ProviderError> {
        // EBUSY for a cgroup with children, which is another lab's.
        match fs::remove_dir(self.cgroup.path()) {
            Err(error) if !is_in_use(&error) => {
                Err(ProviderError::file("remove", self.cgroup.path(), error))
            }
            _ => Ok(()),
        }
    }
}

/// Where one lab is.
#[derive(Clone, Debug)]
pub(super) struct Places {
    folder: LabFolder,
    cgroup: Cgroup,
    roots: Roots,
}

impl Places {
    pub(super) fn lab(&self) -> &str {
        self.folder.lab()
    }

    pub(super) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// State of the lab.
    pub(super) fn folder(&self) -> &LabFolder {
        &self.folder
    }

    /// Folder of the network namespaces.
    pub(super) fn netns_folder(&self) -> PathBuf {
        self.folder.path().join("netns")
    }

    /// A node's network namespace.
    pub(super) fn netns(&self, node: &str) -> PathBuf {
        self.netns_folder().join(node)
    }

    /// The segment's network namespace.
    pub(super) fn fabric(&self) -> PathBuf {
        self.netns(FABRIC)
    }

    /// Folder of all nodes' folders.
    pub(super) fn nodes(&self) -> PathBuf {
        self.folder.nodes()
    }

    /// A node's folder.
    pub(super) fn node(&self, node: &str) -> PathBuf {
        self.folder.node(node)
    }

    /// The cgroup of all processes of the lab.
    pub(super) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The cgroup of all processes of a node.
    pub(super) fn node_cgroup(&self, node: &str) -> Cgroup {
        self.cgroup.child(node)
    }

    /// The cgroup of one kind of processes of a node.
    pub(super) fn cgroup_of(&self, node: &str, kind: Kind) -> Cgroup {
        self.node_cgroup(node).child(kind.as_str())
    }

    /// Whether anything of the lab was ever made. The folder alone says nothing:
    /// taking the lock makes it.
    pub(super) fn exist(&self) -> bool {
        self.cgroup.exists() || self.nodes().exists() || self.netns_folder().exists()
    }

    /// Everything that is or was a node: what has a folder, a namespace or a cgroup.
    pub(super) fn node_names(&self) -> Result<BTreeSet<String>, ProviderError> {
        let mut names = folders_in(&self.nodes())?;
        names.extend(
            entries_in(&self.netns_folder())?
                .into_iter()
                .filter(|it| it != FABRIC),
        );
        names.extend(
            self.cgroup
                .children()?
                .iter()
                .filter_map(|it| name_of(it.path())),
        );
        Ok(names)
    }
}

/// Kinds of processes on a node, each in a cgroup of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The process that holds the namespaces.
    Pause,
    /// The node agent.
    Agent,
    /// The node's server.
    Serve,
    /// What users run.
    Exec,
    /// Pods, in cgroups below.
    Pods,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Pause,
        Self::Agent,
        Self::Serve,
        Self::Exec,
        Self::Pods,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Agent => "agent",
            Self::Serve => "serve",
            Self::Exec => "exec",
            Self::Pods => "pods",
        }
    }
}

/// Mount points below `folder`, deepest first.
pub(super) fn mounts_below(folder: &Path) -> Result<Vec<PathBuf>, ProviderError> {
    let path = Path::new("/proc/thread-self/mountinfo");
    let text =
        fs::read_to_string(path).map_err(|source| ProviderError::file("read", path, source))?;
    // proc_pid_mountinfo(5): the fifth field. No path here has a character that
    // would be escaped: names of labs and nodes are DNS labels.
    let points = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from);
    let mut below: Vec<_> = points.filter(|point| point.starts_with(folder)).collect();
    below.reverse();
    Ok(below)
}

fn name_of(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}
