//! Routes, asked for or found.

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Route origins (`rtm_protocol`), as `ip route` names them.
pub mod protocol {
    /// `RTPROT_KERNEL`; Cilium marks its routes with it.
    pub const KERNEL: u8 = 2;
    /// `RTPROT_BOOT`, what `ip route add` sets and does not show.
    pub const BOOT: u8 = 3;
    /// `RTPROT_STATIC`.
    pub const STATIC: u8 = 4;
    /// `RTPROT_DHCP`.
    pub const DHCP: u8 = 16;
}

/// How far an address or a route reaches (`rtm_scope`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Anywhere.
    Universe,
    /// This link.
    Link,
    /// This host.
    Host,
    /// Another number.
    Other(u8),
}

impl Scope {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Universe => 0,
            Self::Link => 253,
            Self::Host => 254,
            Self::Other(number) => number,
        }
    }

    pub(super) fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Universe,
            253 => Self::Link,
            254 => Self::Host,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Universe => f.write_str("global"),
            Self::Link => f.write_str("link"),
            Self::Host => f.write_str("host"),
            Self::Other(number) => write!(f, "{number}"),
        }
    }
}

/// An IPv4 route of one table, asked for or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination; 0.0.0.0/0 is the default route.
    pub destination: Ipv4Net,
    /// Next hop.
    pub gateway: Option<Ipv4Addr>,
    /// Index of the interface.
    pub device: Option<u32>,
    /// Origin; see [`protocol`].
    pub protocol: u8,
    /// Reach.
    pub scope: Scope,
    /// Metric; lower wins.
    pub priority: u32,
    /// Preferred source address.
    pub source: Option<Ipv4Addr>,
    /// Longest packet that goes this way, in bytes; that of the interface otherwise.
    pub mtu: Option<u32>,
    /// The next hop is on the link although no address says so.
    pub onlink: bool,
    /// Table; 254 is `main`.
    pub table: u8,
}

impl Route {
    /// Table `main`.
    pub const MAIN: u8 = 254;

    /// A route through `gateway`, of protocol boot, in table main.
    #[must_use]
    pub fn via(destination: Ipv4Net, gateway: Ipv4Addr) -> Self {
        Self {
            destination,
            gateway: Some(gateway),
            device: None,
            protocol: protocol::BOOT,
            scope: Scope::Universe,
            priority: 0,
            source: None,
            mtu: None,
            onlink: false,
            table: Self::MAIN,
        }
    }

    /// A route to what is directly on the interface with the index `device`.
    #[must_use]
    pub fn link(destination: Ipv4Net, device: u32) -> Self {
        Self {
            gateway: None,
            device: Some(device),
            scope: Scope::Link,
            ..Self::via(destination, Ipv4Addr::UNSPECIFIED)
        }
    }

    /// Through the interface with the index `device`.
    #[must_use]
    pub fn device(mut self, device: u32) -> Self {
        self.device = Some(device);
        self
    }

    /// Of the origin `protocol`.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = protocol;
        self
    }

    /// For packets of at most `mtu` bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: Option<u32>) -> Self {
        self.mtu = mtu;
        self
    }

    /// As the operands of `ip route`; `name_of` gives the interface's name.
    #[must_use]
    pub fn describe(&self, name_of: impl Fn(u32) -> Option<String>) -> String {
        let mut text = match (self.destination.prefix_len(), self.destination.addr()) {
            (0, _) => "default".to_owned(),
            (32, host) => host.to_string(),
            _ => self.destination.to_string(),
        };
        if let Some(gateway) = self.gateway {
            let _ = write!(text, " via {gateway}");
        }
        if let Some(index) = self.device {
            let _ = write!(text, " dev {}", device(index, &name_of));
        }
        match self.protocol {
            protocol::KERNEL => text.push_str(" proto kernel"),
            protocol::BOOT => {}
            protocol::STATIC => text.push_str(" proto static"),
            protocol::DHCP => text.push_str(" proto dhcp"),
            other => {
                let _ = write!(text, " proto {other}");
            }
        }
        if self.scope != Scope::Universe {
            let _ = write!(text, " scope {}", self.scope);
        }
        if let Some(source) = self.source {
            let _ = write!(text, " src {source}");
        }
        if self.priority != 0 {
            let _ = write!(text, " metric {}", self.priority);
        }
        if let Some(mtu) = self.mtu {
            let _ = write!(text, " mtu {mtu}");
        }
        if self.onlink {
            text.push_str(" onlink");
        }
        if self.table != Self::MAIN {
            let _ = write!(text, " table {}", self.table);
        }
        text
    }
}

/// An interface's name, or its index as `ip` writes it when it has no name for it.
pub(super) fn device(index: u32, name_of: &dyn Fn(u32) -> Option<String>) -> String {
    name_of(index).unwrap_or_else(|| format!("if{index}"))
}
