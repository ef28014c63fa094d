//! What can go wrong on an rtnetlink socket.

use std::io;

use nix::errno::Errno;

use crate::namespace::NamespaceError;

/// A failed rtnetlink request.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("open an rtnetlink socket: {0}")]
    Open(#[source] io::Error),
    /// The namespace cannot be entered.
    #[error(transparent)]
    Namespace(NamespaceError),
    /// The requests did not leave.
    #[error("send to rtnetlink: {0}")]
    Send(#[source] io::Error),
    /// The answer did not arrive.
    #[error("receive from rtnetlink: {0}")]
    Receive(#[source] Errno),
    /// An answer that cannot be read.
    #[error("read an answer of rtnetlink: {0}")]
    Decode(String),
    /// The kernel said no.
    #[error("run `{request}`: {}{}", errno.desc(), suffix(detail.as_deref()))]
    Refused {
        /// The request as an `ip` command.
        request: String,
        /// What the kernel answered.
        errno: Errno,
        /// The kernel's own words (`NLMSGERR_ATTR_MSG`), where it has any.
        detail: Option<String>,
    },
}

impl NetlinkError {
    /// The kernel's answer, when there was one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether what was to be added is there already.
    #[must_use]
    pub fn is_already_there(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// Whether what was to be changed or removed is not there: an interface
    /// (`ENODEV`), an address (`EADDRNOTAVAIL`), a route (`ESRCH`), a
    /// neighbour (`ENOENT`).
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::ENODEV | Errno::EADDRNOTAVAIL | Errno::ESRCH | Errno::ENOENT)
        )
    }
}

fn suffix(detail: Option<&str>) -> String {
    detail
        .map(|words| format!(" ({words})"))
        .unwrap_or_default()
}
