//! What can go wrong between labctl and a node, each with what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::destination::Peer;
use crate::exit::Exit;
use crate::known_hosts::{HostKey, KnownKey};

/// Why something over SSH failed. Messages fit after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// Nothing listens on the port.
    #[error("connect to {peer}: connection refused; check that an SSH server listens there")]
    Refused {
        /// The node.
        peer: Peer,
    },
    /// No route, no such name, or no answer in time.
    #[error("reach {peer}: {reason} (tried for {:.1} s); check its address, the route to it, and that it runs", waited.as_secs_f64())]
    Unreachable {
        /// The node.
        peer: Peer,
        /// How long it was tried.
        waited: Duration,
        /// What the kernel, the resolver or the peer did (not) answer.
        reason: String,
    },
    /// The peer took the connection and closed it before its greeting, as a port forwarder does
    /// while nothing listens behind it.
    #[error(
        "connect to {peer}: the connection was closed before any SSH greeting; its SSH server is not ready, or refuses this host"
    )]
    HungUp {
        /// The node.
        peer: Peer,
    },
    /// Something else than an SSH server answers.
    #[error(
        "talk SSH with {peer}: what answers there is no SSH server, it said {said:?}; check the port"
    )]
    NotSsh {
        /// The node.
        peer: Peer,
        /// The beginning of what it said.
        said: String,
    },
    /// Both speak SSH but don't agree on how.
    #[error("set up SSH with {peer}: {reason}")]
    Handshake {
        /// The node.
        peer: Peer,
        /// What the protocol stumbled over.
        reason: String,
    },
    /// No key was accepted for this login.
    #[error(
        "log in on {peer}: user {user} was refused; {}; the server takes {accepts}",
        offers(offered)
    )]
    LoginRefused {
        /// The node.
        peer: Peer,
        /// The login.
        user: String,
        /// What was offered, or why it could not be.
        offered: Vec<String>,
        /// Login methods the server names.
        accepts: String,
    },
    /// No known-hosts file has this host.
    #[error("trust {peer}: its host key {offered} is not known; compare it with `ssh-keygen -lf` on the host itself, then add it to {file}", file = files.first().map_or_else(|| "a known_hosts file".to_owned(), |file| file.display().to_string()))]
    HostKeyUnknown {
        /// The node.
        peer: Peer,
        /// What it showed.
        offered: HostKey,
        /// Files looked into.
        files: Vec<PathBuf>,
    },
    /// The host has another key than the one on file.
    #[error(
        "trust {peer}: its host key {offered} is not the one on file ({}); either the host was made anew or someone sits in between; when the change is yours, replace that line",
        known(expected)
    )]
    HostKeyChanged {
        /// The node.
        peer: Peer,
        /// What it showed.
        offered: HostKey,
        /// What is on file.
        expected: Vec<KnownKey>,
    },
    /// The key is on file as stolen or withdrawn.
    #[error("trust {peer}: its host key {offered} is revoked by {by}; give the host a new key")]
    HostKeyRevoked {
        /// The node.
        peer: Peer,
        /// What it showed.
        offered: HostKey,
        /// The line that revokes it.
        by: KnownKey,
    },
    /// The connection ended in the middle of something.
    #[error("{during} on {peer}: the connection was lost: {reason}")]
    Disconnected {
        /// The node.
        peer: Peer,
        /// What was under way.
        during: String,
        /// Why it ended, as far as known.
        reason: String,
    },
    /// The server refuses a channel or request.
    #[error("{during} on {peer}: the SSH server refused it: {reason}")]
    RequestRefused {
        /// The node.
        peer: Peer,
        /// What was asked.
        during: String,
        /// The server's reason.
        reason: String,
    },
    /// The login can't become root.
    #[error(
        "become root on {peer}: {said}; let {user} use sudo without a password (`{user} ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d/labctl) or log in as root"
    )]
    NoSudo {
        /// The node.
        peer: Peer,
        /// The login.
        user: String,
        /// What sudo, or the shell looking for it, said.
        said: String,
    },
    /// The server has no SFTP.
    #[error(
        "copy files with {peer}: its SSH server offers no SFTP ({reason}); add `Subsystem sftp internal-sftp` to its sshd_config"
    )]
    NoSftp {
        /// The node.
        peer: Peer,
        /// What it answered.
        reason: String,
    },
    /// The file system there has no room.
    #[error("write {path} on {peer}: no space left on the device{}; free some there", room(*needed, *available))]
    DiskFull {
        /// The node.
        peer: Peer,
        /// The file.
        path: String,
        /// Bytes to be written, where known.
        needed: Option<u64>,
        /// Bytes that were left when it failed, where the server tells.
        available: Option<u64>,
    },
    /// A file operation there failed.
    #[error("{action} {path} on {peer}: {reason}")]
    RemoteFile {
        /// The node.
        peer: Peer,
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: String,
        /// The server's reason.
        reason: String,
    },
    /// A file operation here failed.
    #[error("{action} {}: {source}", path.display())]
    LocalFile {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A command there did not succeed.
    #[error("run `{command}` on {peer}: it {exit}{}", said(stderr))]
    Remote {
        /// The node.
        peer: Peer,
        /// The command as it was run.
        command: String,
        /// How it ended.
        exit: Exit,
        /// The end of what it said on stderr.
        stderr: String,
    },
    /// A key file can't be used.
    #[error("use the key {}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A known-hosts file can't be read or written.
    #[error("use the known hosts in {}: {reason}", path.display())]
    KnownHosts {
        /// The file, with a line where one is at fault.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A destination or its configuration can't be understood.
    #[error("find out how to reach {destination}: {reason}")]
    Config {
        /// What was to be reached.
        destination: String,
        /// What is wrong.
        reason: String,
    },
    /// This process lacks something, such as a thread or a socket.
    #[error("{action}: {source}")]
    Local {
        /// What was to be done.
        action: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl SshError {
    /// Whether waiting may help: nothing listens yet, or the machine is not up yet. Keys,
    /// logins and protocol faults are final.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::HungUp { .. }
                | Self::Unreachable { .. }
                | Self::Disconnected { .. }
        )
    }

    /// With the whole wait of several attempts instead of the last one's.
    pub(crate) fn after(mut self, whole: Duration) -> Self {
        if let Self::Unreachable { waited, .. } = &mut self {
            *waited = whole;
        }
        self
    }
}

fn offers(offered: &[String]) -> String {
    match offered {
        [] => "no key was there to offer (give an identity file, or add a key to the agent)".into(),
        offered => format!("offered: {}", offered.join(", ")),
    }
}

fn room(needed: Option<u64>, available: Option<u64>) -> String {
    let needed = needed.map(|bytes| format!(", {bytes} bytes needed"));
    let available = available.map(|bytes| format!(", {bytes} available"));
    [needed, available].into_iter().flatten().collect()
}

fn known(keys: &[KnownKey]) -> String {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    keys.join(", ")
}

fn said(stderr: &str) -> String {
    match stderr.trim_end() {
        "" => String::new(),
        stderr => format!(": {stderr}"),
    }
}
