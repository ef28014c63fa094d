//! The hosts whose keys are known (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
//!
//! A host that is in no file, or in one with another key, is an error; nothing here ever learns
//! a key from the host itself.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use russh::keys::ssh_key::known_hosts::{Entry, Marker};
use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::SshError;
use crate::destination::SSH_PORT;
use crate::host_pattern::matches;
use crate::keys::type_name;

/// A host key as people compare it: `ED25519 SHA256:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey(Box<str>);

impl From<&PublicKey> for HostKey {
    fn from(key: &PublicKey) -> Self {
        let print = key.fingerprint(HashAlg::Sha256);
        Self(format!("{} {print}", type_name(&key.algorithm())).into())
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A key on file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// The key.
    pub key: HostKey,
    /// The file it is in.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for KnownKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, file, line } = self;
        write!(formatter, "{key} at {}:{line}", file.display())
    }
}

/// What the files say about a key a host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is that host's.
    Known,
    /// The host is in no file.
    Unknown,
    /// The host has other keys on file, these.
    Changed(Vec<KnownKey>),
    /// The key is withdrawn.
    Revoked(KnownKey),
}

/// The lines of some known-hosts files.
#[derive(Debug, Default)]
pub struct KnownHosts {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    entry: Entry,
    file: Arc<Path>,
    number: usize,
}

impl Line {
    fn known_key(&self) -> KnownKey {
        KnownKey {
            key: self.entry.public_key().into(),
            file: Arc::clone(&self.file),
            line: self.number,
        }
    }
}

impl KnownHosts {
    /// Reads `files`; those that don't exist count as empty. Like OpenSSH, passes over lines
    /// that can't be understood.
    ///
    /// # Errors
    /// [`SshError::KnownHosts`] when a file is there but can't be read.
    pub fn read(files: &[PathBuf]) -> Result<Self, SshError> {
        let mut known = Self::default();
        for file in files {
            match fs::read_to_string(file) {
                Ok(text) => known.add(file, &text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unusable(file, &error)),
            }
        }
        Ok(known)
    }

    fn add(&mut self, file: &Path, text: &str) {
        let file: Arc<Path> = file.into();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Ok(entry) = single_spaced(line).parse() {
                self.lines.push(Line {
                    entry,
                    file: Arc::clone(&file),
                    number: index + 1,
                });
            }
        }
    }

    /// What is on file about the host called `name` ([`host_name`]) showing `key`.
    pub fn verdict(&self, name: &str, key: &PublicKey) -> Verdict {
        let same = |line: &&Line| line.entry.public_key().key_data() == key.key_data();
        let revoking = |line: &&Line| line.entry.marker() == Some(&Marker::Revoked);
        if let Some(line) = self.of(name).filter(revoking).find(same) {
            return Verdict::Revoked(line.known_key());
        }
        let plain = || self.of(name).filter(|line| line.entry.marker().is_none());
        if plain().any(|line| same(&line)) {
            return Verdict::Known;
        }
        let others: Vec<KnownKey> = plain().map(Line::known_key).collect();
        if others.is_empty() {
            Verdict::Unknown
        } else {
            Verdict::Changed(others)
        }
    }

    /// The types of the keys on file for `name`, so that the server is asked for one of those.
    pub(crate) fn algorithms(&self, name: &str) -> Vec<Algorithm> {
        self.of(name)
            .filter(|line| line.entry.marker().is_none())
            .map(|line| line.entry.public_key().algorithm())
            .collect()
    }

    fn of(&self, name: &str) -> impl Iterator<Item = &Line> {
        self.lines
            .iter()
            .filter(move |line| matches(line.entry.host_patterns(), name))
    }
}

/// The name a host has in known-hosts files: `host`, or `[host]:port` off port 22.
pub fn host_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    match port {
        SSH_PORT => host,
        port => format!("[{host}]:{port}"),
    }
}

/// Puts the keys of machines on file, in place of what `file` had for the same names.
///
/// The file is replaced whole (0600), under a lock of its folder, so machines may be added from
/// several threads and processes at once.
///
/// # Errors
/// [`SshError::KnownHosts`] when it can't be read or written.
pub fn record(file: &Path, hosts: &[(String, &PublicKey)]) -> Result<(), SshError> {
    let names: Vec<&str> = hosts.iter().map(|(name, _)| name.as_str()).collect();
    let mut added = String::new();
    for (name, key) in hosts {
        let key = key.to_openssh().map_err(|error| unusable(file, &error))?;
        added.push_str(&format!("{name} {key}\n"));
    }
    rewrite(file, &names, &added).map_err(|error| unusable(file, &error))
}

/// Takes the machines called `names` off `file`.
///
/// # Errors
/// [`SshError::KnownHosts`] when it can't be read or written.
pub fn forget(file: &Path, names: &[String]) -> Result<(), SshError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rewrite(file, &names, "").map_err(|error| unusable(file, &error))
}

fn rewrite(file: &Path, without: &[&str], added: &str) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let _lock = Flock::lock(fs::File::open(folder)?, FlockArg::LockExclusive)
        .map_err(|(_, errno)| io::Error::from(errno))?;
    let old = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.as_file()
        .set_permissions(fs::Permissions::from_mode(0o600))?;
    for line in old.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !without.contains(&first) {
            writeln!(new, "{line}")?;
        }
    }
    new.write_all(added.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(())
}

/// Fields may be apart by several blanks or tabs; the entry parser takes one space.
fn single_spaced(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unusable(file: &Path, reason: &dyn fmt::Display) -> SshError {
    SshError::KnownHosts {
        path: file.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::keys::KeyPair;

    fn line(hosts: &str, pair: &KeyPair) -> String {
        format!("{hosts} {}\n", pair.public_line().expect("a line"))
    }

    fn known(text: &str) -> KnownHosts {
        let mut known = KnownHosts::default();
        known.add(Path::new("known_hosts"), text);
        known
    }

    #[test]
    fn names_ports_patterns_and_negations() {
        let pair = KeyPair::generate("");
        let hosts = known(&line("k8s-w1,192.0.2.7,*.lab.test,!bad.lab.test", &pair));
        let verdict = |name: &str| hosts.verdict(name, pair.public());
        assert_eq!(verdict("k8s-w1"), Verdict::Known);
        assert_eq!(verdict("192.0.2.7"), Verdict::Known);
        assert_eq!(verdict("a.lab.test"), Verdict::Known);
        assert_eq!(verdict("bad.lab.test"), Verdict::Unknown);
        assert_eq!(verdict(&host_name("192.0.2.7", 2222)), Verdict::Unknown);
        let off = known(&line("[127.0.0.1]:2222", &pair));
        let name = host_name("127.0.0.1", 2222);
        assert_eq!(off.verdict(&name, pair.public()), Verdict::Known);
    }

    #[test]
    fn a_replaced_key_is_told_apart_from_an_unknown_host() {
        let (old, new) = (KeyPair::generate(""), KeyPair::generate(""));
        let text = format!("# a comment\n\n{}", line("router", &old));
        let Verdict::Changed(expected) = known(&text).verdict("router", new.public()) else {
            panic!("another key was taken");
        };
        let fingerprint = old.fingerprint();
        assert_eq!(
            expected[0].to_string(),
            format!("ED25519 {fingerprint} at known_hosts:3")
        );
        let unknown = known(&text).verdict("k8s-w1", new.public());
        assert_eq!(unknown, Verdict::Unknown);
    }

    #[test]
    fn a_revoked_key_is_refused_even_when_also_known() {
        let pair = KeyPair::generate("");
        let text = line("router", &pair) + "@revoked " + &line("*", &pair);
        let verdict = known(&text).verdict("router", pair.public());
        assert!(matches!(verdict, Verdict::Revoked(key) if key.line == 2));
    }

    #[test]
    fn a_certificate_authority_is_no_host_key() {
        let pair = KeyPair::generate("");
        let text = "@cert-authority ".to_owned() + &line("*", &pair);
        assert_eq!(
            known(&text).verdict("router", pair.public()),
            Verdict::Unknown
        );
    }

    #[test]
    fn names_hashed_by_openssh_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("known_hosts");
        let pair = KeyPair::generate("");
        fs::write(&file, line("[192.0.2.7]:2222", &pair)).expect("writable");
        let hashed = Command::new("ssh-keygen")
            .args(["-q", "-H", "-f"])
            .arg(&file)
            .output()
            .expect("ssh-keygen is there");
        assert!(hashed.status.success(), "{hashed:?}");
        let text = fs::read_to_string(&file).expect("readable");
        assert!(text.starts_with("|1|"), "{text}");
        let hosts = KnownHosts::read(&[file]).expect("readable");
        let name = host_name("192.0.2.7", 2222);
        assert_eq!(hosts.verdict(&name, pair.public()), Verdict::Known);
        assert_eq!(hosts.verdict("192.0.2.7", pair.public()), Verdict::Unknown);
    }

    #[test]
    fn machines_are_recorded_at_once_and_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("known_hosts");
        let pairs: Vec<KeyPair> = (0..8).map(|_| KeyPair::generate("")).collect();
        for _ in 0..2 {
            std::thread::scope(|scope| {
                for (index, pair) in pairs.iter().enumerate() {
                    let file = &file;
                    scope.spawn(move || {
                        let name = host_name("127.0.0.1", 2200 + index as u16);
                        record(file, &[(name, pair.public())]).expect("recorded");
                    });
                }
            });
        }
        let text = fs::read_to_string(&file).expect("readable");
        assert_eq!(text.lines().count(), 8, "{text}");
        forget(&file, &[host_name("127.0.0.1", 2200)]).expect("forgotten");
        let text = fs::read_to_string(&file).expect("readable");
        assert_eq!(text.lines().count(), 7, "{text}");
    }

    #[test]
    fn a_line_that_makes_no_sense_hides_no_other() {
        let pair = KeyPair::generate("");
        let text = format!(
            "nonsense\nrouter ssh-ed25519 AAAA\n{}",
            line("router", &pair)
        );
        assert_eq!(
            known(&text).verdict("router", pair.public()),
            Verdict::Known
        );
    }
}
