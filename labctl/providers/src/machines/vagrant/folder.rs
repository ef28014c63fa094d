//! The folder that Vagrant works in: `vagrant/` in a lab's folder.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::ProviderError;
use crate::lab_folder::{LabFolder, folders_in};
use crate::record::{read_if_there, write_whole};

/// The repository's, so that the machines are the same with and without labctl.
const VAGRANTFILE: &str = include_str!("../../../../../Vagrantfile");

/// The folder, which need not be there.
#[derive(Clone, Debug)]
pub(super) struct VagrantFolder(PathBuf);

impl VagrantFolder {
    pub(super) fn of(folder: &LabFolder) -> Self {
        Self(folder.path().join("vagrant"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The lab file that its machines were made from.
    pub(super) fn lab_file(&self) -> PathBuf {
        self.0.join("lab.yaml")
    }

    /// Vagrant's own state, `.vagrant` by default.
    pub(super) fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// What Vagrant said while it made and removed machines.
    pub(super) fn log(&self) -> PathBuf {
        self.0.join("vagrant.log")
    }

    /// Makes the folder with what Vagrant reads: the Vagrantfile, and a copy of `lab_file`.
    pub(super) fn write(&self, lab_file: &Path) -> Result<(), ProviderError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|source| ProviderError::file("create", &self.0, source))?;
        let lab =
            fs::read(lab_file).map_err(|source| ProviderError::file("read", lab_file, source))?;
        write_whole(&self.lab_file(), &lab)?;
        write_whole(&self.0.join("Vagrantfile"), VAGRANTFILE.as_bytes())
    }

    fn ssh_config_file(&self) -> PathBuf {
        self.0.join("ssh-config")
    }

    pub(super) fn write_ssh_config(&self, text: &str) -> Result<(), ProviderError> {
        write_whole(&self.ssh_config_file(), text.as_bytes())
    }

    /// How Vagrant says its machines are reached; none before it made any.
    pub(super) fn ssh_config(&self) -> Result<Option<String>, ProviderError> {
        let text = read_if_there(&self.ssh_config_file())?;
        Ok(text.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    /// Names of the machines that Vagrant has made and not destroyed, in alphabetical order:
    /// those with an `id` that their hypervisor knows them by, in
    /// `machines/<name>/<provider>/`.
    pub(super) fn machines(&self) -> Result<Vec<String>, ProviderError> {
        let folder = self.state().join("machines");
        let mut machines = Vec::new();
        for name in folders_in(&folder)? {
            let of_machine = folder.join(&name);
            let providers = folders_in(&of_machine)?;
            let made = |provider: &String| of_machine.join(provider).join("id").exists();
            if providers.iter().any(made) {
                machines.push(name);
            }
        }
        machines.sort();
        Ok(machines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_those_that_a_hypervisor_knows() {
        let root = tempfile::tempdir().expect("a folder");
        let lab = LabFolder::new(root.path(), "study").expect("a name");
        let own = VagrantFolder::of(&lab);
        assert_eq!(own.machines().expect("no folder"), Vec::<String>::new());
        // What Vagrant 2.3.4 leaves: `id` goes with the machine, the rest stays.
        for file in [
            "k8s-w1/libvirt/id",
            "k8s-w1/libvirt/private_key",
            "k8s-ctr/virtualbox/id",
            "router/libvirt/vagrant_cwd",
        ] {
            let file = own.state().join("machines").join(file);
            fs::create_dir_all(file.parent().expect("a folder")).expect("make it");
            fs::write(file, "").expect("write it");
        }
        assert_eq!(own.machines().expect("readable"), ["k8s-ctr", "k8s-w1"]);
    }

    #[test]
    fn vagrant_reads_the_lab_file_as_it_was() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("lab.yaml");
        fs::write(&file, "name: study\n").expect("write it");
        let lab = LabFolder::new(root.path(), "study").expect("a name");
        let own = VagrantFolder::of(&lab);
        own.write(&file).expect("written");
        fs::remove_file(&file).expect("remove it");
        let copy = fs::read_to_string(own.lab_file()).expect("a copy");
        assert_eq!(copy, "name: study\n");
        let vagrantfile = fs::read_to_string(own.path().join("Vagrantfile")).expect("one");
        assert!(vagrantfile.contains("Vagrant.configure"));
    }
}
