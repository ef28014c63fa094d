//! Names of kube-proxy's chains: a kind, and a hash of what the chain is for
//! (`pkg/proxy/iptables/proxier.go`, `portProtoHash`).

use lab_model::node_state::{Backend, Protocol, Service, ServicePort};
use sha2::{Digest, Sha256};

/// RFC 4648.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Characters of the hash; eight of them are five bytes.
const LENGTH: usize = 16;

/// A port of a service, as chains and comments name it.
#[derive(Clone, Debug)]
pub(super) struct PortName {
    /// `namespace/name`, then `:port` if the port has a name.
    pub(super) name: String,
    /// `tcp` or `udp`.
    pub(super) protocol: &'static str,
}

impl PortName {
    pub(super) fn new(service: &Service, port: &ServicePort) -> Self {
        let name = match &port.name {
            Some(name) => format!("{}:{name}", service.key()),
            None => service.key(),
        };
        Self {
            name,
            protocol: match port.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            },
        }
    }

    /// `KUBE-SVC-…`: every backend.
    pub(super) fn cluster_chain(&self) -> String {
        self.chain("KUBE-SVC-", "")
    }

    /// `KUBE-SVL-…`: the backends of this node.
    pub(super) fn local_chain(&self) -> String {
        self.chain("KUBE-SVL-", "")
    }

    /// `KUBE-EXT-…`: what comes from outside the cluster.
    pub(super) fn external_chain(&self) -> String {
        self.chain("KUBE-EXT-", "")
    }

    /// `KUBE-FW-…`: what is addressed to a LoadBalancer that is there for some alone.
    pub(super) fn firewall_chain(&self) -> String {
        self.chain("KUBE-FW-", "")
    }

    /// `KUBE-SEP-…`: one backend.
    pub(super) fn endpoint_chain(&self, backend: &Backend) -> String {
        let endpoint = format!("{}:{}", backend.address, backend.port);
        self.chain("KUBE-SEP-", &endpoint)
    }

    fn chain(&self, prefix: &str, endpoint: &str) -> String {
        let hash = Sha256::digest(format!("{}{}{endpoint}", self.name, self.protocol));
        format!("{prefix}{}", base32(&hash))
    }
}

/// The first [`LENGTH`] characters of base32.
fn base32(bytes: &[u8]) -> String {
    let character = |index: usize| {
        let bits = (index * 5..index * 5 + 5).map(|bit| bytes[bit / 8] >> (7 - bit % 8) & 1);
        let value = bits.fold(0, |value, bit| value << 1 | bit);
        char::from(BASE32[usize::from(value)])
    };
    (0..LENGTH).map(character).collect()
}
