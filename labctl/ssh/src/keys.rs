//! Key pairs made by labctl: one per lab to log in with, one per machine as its host key.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::{Fingerprint, LineEnding};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};

use crate::SshError;

/// A private key and its public half.
#[derive(Debug, Clone)]
pub struct KeyPair(PrivateKey);

impl KeyPair {
    /// A new Ed25519 pair from the kernel's random numbers; `comment` ends its public line.
    pub fn generate(comment: &str) -> Self {
        let random = russh::keys::ssh_key::private::Ed25519Keypair::random(
            &mut russh::keys::key::safe_rng(),
        );
        let mut key = PrivateKey::from(random);
        key.set_comment(comment);
        Self(key)
    }

    /// The pair in `file`, made and written there (0600, beside it `.pub`) when there is none.
    ///
    /// # Errors
    /// [`SshError::Key`] when the file can't be read, is encrypted, or can't be written.
    pub fn load_or_create(file: &Path, comment: &str) -> Result<Self, SshError> {
        if file.exists() {
            return Self::load(file);
        }
        let pair = Self::generate(comment);
        match pair.save(file) {
            Ok(()) => Ok(pair),
            // Another process made it meanwhile: that one counts.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(file),
            Err(error) => Err(unusable(file, &error)),
        }
    }

    /// The pair in an OpenSSH private key file without a passphrase.
    ///
    /// # Errors
    /// [`SshError::Key`] when the file can't be read or used.
    pub fn load(file: &Path) -> Result<Self, SshError> {
        russh::keys::load_secret_key(file, None)
            .map(Self)
            .map_err(|error| unusable(file, &error))
    }

    /// Writes the private key to a new `file`, and `file.pub`; an existing file is kept.
    fn save(&self, file: &Path) -> io::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        let private = self.private_text().map_err(io::Error::other)?;
        let public = format!("{}\n", self.public_line().map_err(io::Error::other)?);
        write_new(folder, file, private.as_bytes(), 0o600)?;
        let mut public_file = file.as_os_str().to_owned();
        public_file.push(".pub");
        fs::write(public_file, public)
    }

    /// The private key as OpenSSH writes it, for a machine's `/etc/ssh/ssh_host_ed25519_key`.
    ///
    /// # Errors
    /// [`SshError::Key`] when it can't be encoded.
    pub fn private_text(&self) -> Result<String, SshError> {
        let text = self.0.to_openssh(LineEnding::LF);
        text.map(|text| text.to_string()).map_err(unencodable)
    }

    /// The public key as one line, for `authorized_keys` or `ssh_host_ed25519_key.pub`.
    ///
    /// # Errors
    /// [`SshError::Key`] when it can't be encoded.
    pub fn public_line(&self) -> Result<String, SshError> {
        self.0.public_key().to_openssh().map_err(unencodable)
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// The fingerprint as `ssh-keygen -l` prints it, `SHA256:…`.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint(HashAlg::Sha256)
    }
}

/// The key of a line as `ssh_host_ed25519_key.pub` has it; none when it is no such line.
pub fn public_key(line: &str) -> Option<PublicKey> {
    PublicKey::from_openssh(line).ok()
}

/// The name `ssh-keygen -l` gives a type of key, such as `ED25519`.
pub(crate) fn type_name(algorithm: &Algorithm) -> String {
    match algorithm {
        Algorithm::Dsa => "DSA".into(),
        Algorithm::Ecdsa { .. } => "ECDSA".into(),
        Algorithm::Ed25519 => "ED25519".into(),
        Algorithm::Rsa { .. } => "RSA".into(),
        other => other.to_string(),
    }
}

/// Writes a file whole or not at all, and never over another.
fn write_new(folder: &Path, file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist_noclobber(file).map_err(|error| error.error)?;
    Ok(())
}

fn unusable(file: &Path, reason: &dyn std::fmt::Display) -> SshError {
    SshError::Key {
        path: file.to_owned(),
        reason: reason.to_string(),
    }
}

fn unencodable(error: russh::keys::ssh_key::Error) -> SshError {
    unusable(&PathBuf::from("of a new pair"), &error)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_pair_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("id_ed25519");
        let made = KeyPair::load_or_create(&file, "lab study").expect("a new pair");
        let again = KeyPair::load_or_create(&file, "lab study").expect("the same pair");
        assert_eq!(made.public(), again.public());
        let mode = fs::metadata(&file).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o7777, 0o600);
    }

    #[test]
    fn openssh_reads_a_pair_of_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("id_ed25519");
        let pair = KeyPair::load_or_create(&file, "lab study").expect("a new pair");
        let output = Command::new("ssh-keygen")
            .arg("-yf")
            .arg(&file)
            .output()
            .expect("ssh-keygen is there");
        let public = String::from_utf8_lossy(&output.stdout);
        assert_eq!(public.trim(), pair.public_line().expect("a line"));
    }

    #[test]
    fn a_public_line_is_read_back() {
        let pair = KeyPair::generate("k8s-w1 of study");
        let line = pair.public_line().expect("a line");
        assert_eq!(public_key(&line).as_ref(), Some(pair.public()));
        assert_eq!(public_key("cat: no such file"), None);
    }

    #[test]
    fn rsa_pairs_of_openssh_and_of_pem_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        for format in ["RFC4716", "PEM"] {
            let file = folder.path().join(format);
            let made = Command::new("ssh-keygen")
                .args([
                    "-q", "-t", "rsa", "-b", "2048", "-N", "", "-m", format, "-f",
                ])
                .arg(&file)
                .status()
                .expect("ssh-keygen is there");
            assert!(made.success());
            let pair = KeyPair::load(&file).expect("readable");
            assert_eq!(type_name(&pair.public().algorithm()), "RSA");
        }
    }
}
