//! Machines that Vagrant makes, on VirtualBox or libvirt, from the repository's Vagrantfile.
//!
//! `vagrant/` in the lab's folder has all that Vagrant works with: that Vagrantfile, the lab
//! file as it was when machines were last made (so that `down` needs no other), Vagrant's own
//! state, what `vagrant ssh-config` said, and Vagrant's output.
//!
//! Trust in the machines' host keys is Vagrant's own: it asks for none, over the NAT network
//! between this host and its machines. labctl reads each key through `vagrant ssh` once, when
//! the machine is new, and from then on accepts no other.

mod command;
mod folder;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use lab_ssh::config::resolve_in;
use lab_ssh::keys::public_key;
use lab_ssh::{Destination, known_hosts};

use super::backend::{Backend, Birth, Outcomes, Presence};
use super::{Options, keys};
use crate::error::ProviderError;
use crate::lab_folder::{LabFolder, remove_folder};
use crate::parallel::at_once;
use crate::record::Record;
use command::Vagrant as Command;
pub use command::VagrantError;
use folder::VagrantFolder;

/// Where a machine has its host key: that of the type which every OpenSSH since 6.5 makes.
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key.pub";

/// The backend.
pub(super) struct Vagrant {
    remark: fn(&str),
}

impl Vagrant {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            remark: options.remark,
        }
    }

    fn make(
        &self,
        folder: &LabFolder,
        nodes: &[&str],
        interrupt: &AtomicBool,
    ) -> Result<(), ProviderError> {
        let record = Record::read(folder)?.ok_or_else(|| ProviderError::NoLab {
            lab: folder.lab().to_owned(),
            known: Vec::new(),
        })?;
        let own = VagrantFolder::of(folder);
        own.write(&record.file)?;
        (self.remark)(&format!(
            "vagrant makes {}, which takes minutes; its output is in {}",
            nodes.join(", "),
            own.log().display()
        ));
        let vagrant = Command::new(folder.lab(), &own);
        vagrant.up(nodes, interrupt)?;
        own.write_ssh_config(&vagrant.ssh_config()?)?;
        let pinned = at_once(nodes.to_vec(), |node| pin(folder, &vagrant, node));
        pinned.into_iter().collect()
    }

    fn destroy(folder: &LabFolder, nodes: &[&str]) -> Result<(), ProviderError> {
        let own = VagrantFolder::of(folder);
        let there = own.machines()?;
        let doomed: Vec<&str> = nodes
            .iter()
            .copied()
            .filter(|node| there.iter().any(|machine| machine == node))
            .collect();
        if !doomed.is_empty() {
            Command::new(folder.lab(), &own).destroy(&doomed)?;
        }
        for node in nodes {
            keys::forget_host(folder, node)?;
            remove_folder(&folder.node(node))?;
        }
        Ok(())
    }
}

impl Backend for Vagrant {
    fn machines(&self, folder: &LabFolder) -> Result<BTreeMap<String, Presence>, ProviderError> {
        // Whether one runs shows when it is asked something; asking Vagrant takes a second.
        let machines = VagrantFolder::of(folder).machines()?.into_iter();
        Ok(machines.map(|name| (name, Presence::Running)).collect())
    }

    fn create(&self, folder: &LabFolder, births: &[Birth<'_>], interrupt: &AtomicBool) -> Outcomes {
        let nodes: Vec<_> = births.iter().map(|birth| birth.node).collect();
        match self.make(folder, &nodes, interrupt) {
            Ok(()) => births.iter().map(|_| Ok(())).collect(),
            // One run made them all, and its output says which one it failed at.
            Err(error) => vec![Err(error)],
        }
    }

    fn delete(&self, folder: &LabFolder, nodes: &[&str]) -> Outcomes {
        match Self::destroy(folder, nodes) {
            Ok(()) => nodes.iter().map(|_| Ok(())).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn destination(&self, folder: &LabFolder, node: &str) -> Result<Destination, ProviderError> {
        let config = VagrantFolder::of(folder).ssh_config()?;
        let config = config.ok_or_else(|| ProviderError::NotRunning {
            target: node.to_owned(),
            why: "Vagrant has not made it; `labctl up` does".to_owned(),
        })?;
        let mut destination = resolve_in(node, node, &config)?.with_sudo();
        // Vagrant's own configuration accepts any host key.
        destination.known_hosts = vec![keys::known_hosts(folder)];
        destination.host_key_alias = Some(node.to_owned());
        Ok(destination)
    }

    fn remove_lab(&self, folder: &LabFolder) -> Result<(), ProviderError> {
        let left = VagrantFolder::of(folder).machines()?;
        let left: Vec<_> = left.iter().map(String::as_str).collect();
        Self::destroy(folder, &left)
    }
}

/// Puts the host key of a new machine on file.
fn pin(folder: &LabFolder, vagrant: &Command<'_>, node: &str) -> Result<(), ProviderError> {
    let line = vagrant.on_machine(node, &format!("cat {HOST_KEY}"))?;
    let key = public_key(line.trim()).ok_or_else(|| VagrantError::HostKey {
        node: node.to_owned(),
        said: line.trim().to_owned(),
    })?;
    known_hosts::record(&keys::known_hosts(folder), &[(node.to_owned(), &key)])?;
    Ok(())
}
