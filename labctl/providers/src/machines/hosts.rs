//! Hosts that are there already: nothing is made, and everything of labctl's is
//! removed again.
//!
//! `nodes/<node>/host` in the lab's folder has the login of each host that was
//! claimed, so that `down` finds them without the lab file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use lab_ssh::{Destination, config};

use super::backend::{Backend, Birth, Outcomes, Presence};
use crate::error::ProviderError;
use crate::lab_folder::{LabFolder, folders_in, remove_folder};
use crate::record::{read_if_there, write_whole};

/// The backend.
pub(super) struct Hosts;

fn login_file(folder: &LabFolder, node: &str) -> PathBuf {
    folder.node(node).join("host")
}

impl Backend for Hosts {
    fn machines(&self, folder: &LabFolder) -> Result<BTreeMap<String, Presence>, ProviderError> {
        let names = folders_in(&folder.nodes())?;
        Ok(names
            .into_iter()
            .map(|name| (name, Presence::Running))
            .collect())
    }

    fn create(
        &self,
        folder: &LabFolder,
        births: &[Birth<'_>],
        _interrupt: &AtomicBool,
    ) -> Outcomes {
        let write_down = |birth: &Birth<'_>| {
            let Some(host) = &birth.spec.host else {
                return Err(ProviderError::NoHost {
                    node: birth.node.to_owned(),
                });
            };
            let path = folder.node(birth.node);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|source| ProviderError::file("create", &path, source))?;
            write_whole(&login_file(folder, birth.node), host.as_bytes())
        };
        births.iter().map(write_down).collect()
    }

    fn delete(&self, folder: &LabFolder, nodes: &[&str]) -> Outcomes {
        let forget = |node: &&str| remove_folder(&folder.node(node));
        nodes.iter().map(forget).collect()
    }

    fn outlives_lab(&self) -> bool {
        true
    }

    fn destination(&self, folder: &LabFolder, node: &str) -> Result<Destination, ProviderError> {
        let login = read_if_there(&login_file(folder, node))?;
        let login = login.ok_or_else(|| ProviderError::NoHost {
            node: node.to_owned(),
        })?;
        let login = String::from_utf8_lossy(&login);
        Ok(config::resolve(node, login.trim())?.with_sudo())
    }
}
