//! Where a node is, who logs in, and which keys prove both sides.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// SSH's port.
pub(crate) const SSH_PORT: u16 = 22;

/// How a node is named in messages: `k8s-w1 (lab@127.0.0.1:2222)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer(Arc<str>);

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// All that is needed to log in on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The node's name in the lab, for messages.
    pub node: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Private key files, tried in order.
    pub identities: Vec<PathBuf>,
    /// Offer only `identities`, not everything the agent holds.
    pub identities_only: bool,
    /// Socket of an ssh-agent.
    pub agent: Option<PathBuf>,
    /// Files in which the host's key must be found; those that don't exist count as empty.
    pub known_hosts: Vec<PathBuf>,
    /// Name to look the host key up by, instead of host and port (`HostKeyAlias`).
    pub host_key_alias: Option<String>,
    /// The host through which this one is reached (`ProxyJump`).
    pub jump: Option<Box<Destination>>,
    /// Commands and files are root's: through `sudo -n` unless `user` is root.
    pub sudo: bool,
    /// Longest wait for one attempt to connect, within the caller's deadline (`ConnectTimeout`).
    pub connect_timeout: Option<Duration>,
}

impl Destination {
    /// A destination with one key and one known-hosts file, as labctl makes them for its own
    /// machines: no agent, no configuration.
    pub fn new(node: &str, user: &str, host: &str, port: u16) -> Self {
        Self {
            node: node.to_owned(),
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            identities: Vec::new(),
            identities_only: true,
            agent: None,
            known_hosts: Vec::new(),
            host_key_alias: None,
            jump: None,
            sudo: false,
            connect_timeout: None,
        }
    }

    /// With one more private key file to offer.
    #[must_use]
    pub fn with_identity(mut self, file: impl Into<PathBuf>) -> Self {
        self.identities.push(file.into());
        self
    }

    /// With one more known-hosts file to trust.
    #[must_use]
    pub fn with_known_hosts(mut self, file: impl Into<PathBuf>) -> Self {
        self.known_hosts.push(file.into());
        self
    }

    /// With commands and files as root, through sudo where the login isn't root's.
    #[must_use]
    pub fn with_sudo(mut self) -> Self {
        self.sudo = true;
        self
    }

    /// The name this node has in messages.
    pub fn peer(&self) -> Peer {
        let Self {
            node,
            user,
            host,
            port,
            ..
        } = self;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let port = match *port {
            SSH_PORT => String::new(),
            port => format!(":{port}"),
        };
        Peer(format!("{node} ({user}@{host}{port})").into())
    }

    /// Whether commands need sudo to be root's.
    pub(crate) fn needs_sudo(&self) -> bool {
        self.sudo && self.user != "root"
    }

    /// The name under which known-hosts files have this host: `host`, or `[host]:port` off
    /// port 22 (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
    pub(crate) fn host_key_name(&self) -> String {
        match &self.host_key_alias {
            Some(alias) => alias.clone(),
            None => crate::known_hosts::host_name(&self.host, self.port),
        }
    }
}
