//! What is written down about a lab: the record, and the journal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lab_model::lab::{Lab, MachineSpec, Node, ProviderKind, Role};
use lab_model::plan::Step;
use serde::{Deserialize, Serialize};

use crate::error::ProviderError;
use crate::lab_folder::LabFolder;
use crate::target::Target;

/// Shape of the record; another one is not read.
const VERSION: u32 = 1;

/// A lab as the last `up` resolved it: for commands that have no lab file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// Name of the lab.
    pub lab: String,
    /// Where it was made.
    #[serde(default)]
    pub provider: ProviderKind,
    /// The lab file, absolute.
    pub file: PathBuf,
    /// Its nodes, in the order of the file.
    pub nodes: Vec<NodeRecord>,
    /// Its pods.
    #[serde(default)]
    pub pods: Vec<Target>,
    /// What lab-cluster gave out, to be kept by the next `up`.
    pub allocations: serde_json::Value,
}

/// A node of a [`Record`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Name of the node.
    pub name: String,
    /// What it does, as lab files say it.
    pub role: String,
    /// Address of `eth1`.
    pub address: Option<Ipv4Addr>,
    /// What it is as a machine.
    #[serde(default)]
    pub machine: MachineSpec,
}

impl Record {
    /// The record of `lab`, read from `file` and made by `provider`. Where nodes are
    /// machines, none of them plays the world.
    #[must_use]
    pub fn new(
        lab: &Lab,
        file: &Path,
        provider: ProviderKind,
        pods: Vec<Target>,
        allocations: serde_json::Value,
    ) -> Self {
        let there = |node: &&Node| provider == ProviderKind::Netns || node.role != Role::World;
        let nodes = lab.nodes.iter().filter(there).map(|node| NodeRecord {
            name: node.name.clone(),
            role: node.role.to_string(),
            address: node.address,
            machine: node.machine.clone(),
        });
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let lab = lab.name.clone();
        Self {
            version: VERSION,
            lab,
            provider,
            file,
            nodes: nodes.collect(),
            pods,
            allocations,
        }
    }

    pub(crate) fn read(folder: &LabFolder) -> Result<Option<Self>, ProviderError> {
        let path = folder.record();
        let Some(text) = read_if_there(&path)? else {
            return Ok(None);
        };
        let fault = |source: io::Error| ProviderError::file("read", &path, source);
        let record: Self = serde_json::from_slice(&text).map_err(|error| fault(error.into()))?;
        if record.version != VERSION {
            let other = format!("it is of version {}, not {VERSION}", record.version);
            return Err(fault(io::Error::other(other)));
        }
        Ok(Some(record))
    }

    pub(crate) fn write(&self, folder: &LabFolder) -> Result<(), ProviderError> {
        let path = folder.record();
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| ProviderError::file("write", &path, error.into()))?;
        write_whole(&path, &text)
    }
}

/// Puts back what was read before; nothing when there was nothing.
pub(crate) fn restore(folder: &LabFolder, before: Option<&Record>) -> Result<(), ProviderError> {
    let path = folder.record();
    match before {
        Some(record) if folder.path().exists() => record.write(folder),
        Some(_) => Ok(()),
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ProviderError::file("remove", &path, error))
            }
            _ => Ok(()),
        },
    }
}

/// The content of a file; none when it is not there.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ProviderError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read
            .map(Some)
            .map_err(|source| ProviderError::file("read", path, source)),
    }
}

/// Writes a file so that a reader sees the old content or the new, never half.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), ProviderError> {
    let beside = path.with_extension("new");
    fs::write(&beside, content)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|source| ProviderError::file("write", path, source))
}

/// The role as the record and a node's folder name it.
pub(crate) fn role(word: &str) -> Option<Role> {
    Role::ALL
        .into_iter()
        .find(|role| role.as_str() == word.trim())
}

/// What was done to a lab, for whoever asks afterwards what happened: one JSON
/// object a line. Nothing reads it to decide anything, so what cannot be written
/// is let go.
#[derive(Debug)]
pub(crate) struct Journal(Option<File>);

impl Journal {
    /// Opens the journal. The lab's folder must be there.
    pub(crate) fn open(folder: &LabFolder) -> Self {
        Self(
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(folder.journal())
                .ok(),
        )
    }

    /// Notes that steps are about to be taken.
    pub(crate) fn doing(&mut self, steps: &[Step]) {
        let lines = steps.iter().map(
            |step| serde_json::json!({"doing": step.action.to_string(), "because": step.reason}),
        );
        self.note(lines);
    }

    /// Notes how it ended.
    pub(crate) fn ended(&mut self, how: &str) {
        self.note([serde_json::json!({"ended": how})].into_iter());
    }

    fn note(&mut self, lines: impl Iterator<Item = serde_json::Value>) {
        let Some(file) = &mut self.0 else { return };
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mut text = String::new();
        for mut line in lines {
            line["at"] = now.as_millis().to_string().into();
            line["pid"] = std::process::id().into();
            text.push_str(&format!("{line}\n"));
        }
        // One write: lines of two processes would else mix.
        if file.write_all(text.as_bytes()).is_err() {
            self.0 = None;
        }
    }
}
