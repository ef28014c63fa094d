//! The keys of a lab: one to log in with, one for each machine that labctl makes.
//!
//! `ssh/` (0700) in the lab's folder has `id_ed25519` and `known_hosts`. A machine's
//! host key is made here and given to the machine before its SSH server starts, so
//! that the first connection already knows it. Hosts are on file by the name of their
//! node: addresses and ports of virtual machines are used again by others.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use lab_ssh::Destination;
use lab_ssh::keys::KeyPair;
use lab_ssh::known_hosts;
use nix::unistd::{User, geteuid, gethostname};

use crate::error::ProviderError;
use crate::lab_folder::LabFolder;

/// The private key that labctl logs in with.
pub(super) fn identity(folder: &LabFolder) -> PathBuf {
    folder.path().join("ssh/id_ed25519")
}

/// The host keys of the lab's machines.
pub(super) fn known_hosts(folder: &LabFolder) -> PathBuf {
    folder.path().join("ssh/known_hosts")
}

/// Makes the lab's own key, or reads the one that is there.
pub(super) fn create(folder: &LabFolder) -> Result<KeyPair, ProviderError> {
    let path = folder.path().join("ssh");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .map_err(|source| ProviderError::file("create", &path, source))?;
    let comment = format!("labctl {}", folder.lab());
    Ok(KeyPair::load_or_create(&identity(folder), &comment)?)
}

/// Makes a new host key for a machine, and writes its public half down.
pub(super) fn new_host_key(folder: &LabFolder, node: &str) -> Result<KeyPair, ProviderError> {
    let pair = KeyPair::generate(&format!("{node} of {}", folder.lab()));
    let host = [(node.to_owned(), pair.public())];
    known_hosts::record(&known_hosts(folder), &host)?;
    Ok(pair)
}

/// Takes the host key of a machine that is gone off the file.
pub(super) fn forget_host(folder: &LabFolder, node: &str) -> Result<(), ProviderError> {
    let file = known_hosts(folder);
    if file.exists() {
        known_hosts::forget(&file, &[node.to_owned()])?;
    }
    Ok(())
}

/// A machine that labctl made, listening at `port` of 127.0.0.1.
pub(super) fn destination(folder: &LabFolder, node: &str, port: u16) -> Destination {
    let mut destination = Destination::new(node, "root", "127.0.0.1", port)
        .with_identity(identity(folder))
        .with_known_hosts(known_hosts(folder));
    destination.host_key_alias = Some(node.to_owned());
    destination
}

/// Who brings labs up, and from where: `alice@laptop`.
pub(super) fn owner() -> String {
    let uid = geteuid();
    let user = User::from_uid(uid).ok().flatten();
    let user = user.map_or_else(|| uid.to_string(), |user| user.name);
    let host = gethostname().unwrap_or_default();
    format!("{user}@{}", host.to_string_lossy())
}
