//! The seed of a machine that boots by itself: cloud-init's NoCloud, on a disk labelled `cidata`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use minijinja::{Environment, context};

use crate::build::Program;
use crate::machine::{IDENTITY_PORT, Identity};
use crate::store;

/// The user of a machine that boots by itself; it may use sudo.
pub(crate) const USER: &str = "labctl";

const FILES: &[(&str, &str)] = &[
    (
        "user-data",
        include_str!("../../../../templates/cloud-init/user-data.j2"),
    ),
    (
        "meta-data",
        include_str!("../../../../templates/cloud-init/meta-data.j2"),
    ),
    (
        "network-config",
        include_str!("../../../../templates/cloud-init/network-config.j2"),
    ),
];

/// Programs that make an ISO 9660 file system, with what their first arguments must be.
const MAKERS: &[(Program, &[&str])] = &[
    (
        Program {
            name: "xorriso",
            package: "xorriso",
        },
        &["-as", "mkisofs"],
    ),
    (
        Program {
            name: "genisoimage",
            package: "genisoimage",
        },
        &[],
    ),
    (
        Program {
            name: "mkisofs",
            package: "xorriso",
        },
        &[],
    ),
];

/// Why a machine's seed could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A template failed.
    #[error("render {0}: {1}")]
    Template(&'static str, minijinja::Error),
    /// A value cannot be written as JSON.
    #[error("render a seed: {0}")]
    Value(#[from] serde_json::Error),
    /// A file operation failed.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// None of the programs that make one is installed.
    #[error("make a seed: none of xorriso, genisoimage, mkisofs is installed; apt install xorriso")]
    NoMaker,
    /// It failed.
    #[error("make a seed: {program} says: {said}")]
    Maker {
        /// The program.
        program: &'static str,
        /// What it wrote to its standard error.
        said: String,
    },
}

/// Writes `seed.iso` into a machine's folder.
pub(crate) fn write_seed(folder: &Path, identity: &Identity) -> Result<(), SeedError> {
    let seed = folder.join("seed");
    fs::create_dir_all(&seed).map_err(in_file("create", &seed))?;
    for (name, text) in render(identity)? {
        let path = seed.join(name);
        store::write_private(&path, text.as_bytes()).map_err(in_file("write", &path))?;
    }
    let (program, first) = MAKERS
        .iter()
        .find(|(program, _)| program.is_there())
        .ok_or(SeedError::NoMaker)?;
    let mut command = Command::new(program.name);
    command.args(*first).args([
        "-output", "seed.iso", "-volid", "cidata", "-joliet", "-rock",
    ]);
    command
        .args(FILES.iter().map(|(name, _)| format!("seed/{name}")))
        .current_dir(folder);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(in_file("run", Path::new(program.name)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(SeedError::Maker {
            program: program.name,
            said,
        });
    }
    fs::remove_dir_all(&seed).map_err(in_file("remove", &seed))
}

fn in_file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SeedError {
    move |source| SeedError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

/// The seed's files. Values go in as JSON strings, which YAML reads as they are meant.
fn render(identity: &Identity) -> Result<Vec<(&'static str, String)>, SeedError> {
    let json = |value: &str| serde_json::to_string(value);
    let values = context! {
        hostname => json(&identity.hostname)?,
        // The same for the same machine, so that a second boot is none of another instance.
        instance => json(&format!("{}-{}", identity.hostname, identity.mac_eth1))?,
        mac_eth0 => json(&identity.mac_eth0)?,
        mac_eth1 => json(&identity.mac_eth1)?,
        ssh_host_key => json(&format!("{}\n", identity.ssh_host_key.trim_end()))?,
        authorized_key => json(identity.authorized_key.trim())?,
        user => json(USER)?,
        port => IDENTITY_PORT,
    };
    let environment = Environment::new();
    let render = |&(name, source): &(&'static str, &str)| {
        let text = environment.render_named_str(name, source, &values);
        text.map(|text| (name, text))
            .map_err(|error| SeedError::Template(name, error))
    };
    FILES.iter().map(render).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            hostname: "k8s-w1".to_owned(),
            mac_eth0: "52:54:00:aa:bb:01".to_owned(),
            mac_eth1: "52:54:00:aa:bb:02".to_owned(),
            ssh_host_key: "-----BEGIN OPENSSH PRIVATE KEY-----\nkey\n-----END".to_owned(),
            authorized_key: "ssh-ed25519 AAAA \"lab\": x\n".to_owned(),
        }
    }

    #[test]
    fn values_are_quoted_and_no_password_is_set() {
        let files = render(&identity()).unwrap();
        let user_data = &files[0].1;
        assert!(user_data.starts_with("#cloud-config\n"));
        assert!(user_data.contains("hostname: \"k8s-w1\"\n"));
        assert!(user_data.contains(r#"- "ssh-ed25519 AAAA \"lab\": x""#));
        assert!(user_data.contains(r#"PRIVATE KEY-----\nkey\n-----END\n""#));
        assert!(user_data.contains("lock_passwd: true") && !user_data.contains("passwd: \""));
        assert!(
            files[2]
                .1
                .contains("macaddress: \"52:54:00:aa:bb:02\"\n    set-name: eth1")
        );
    }
}
