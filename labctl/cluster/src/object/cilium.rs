//! What Cilium's own objects say.

use std::net::Ipv4Addr;
use std::ops::{Range, RangeInclusive};

use lab_model::node_state::Protocol;
use regex::Regex;

use super::Written;
use crate::selector::Selector;

/// `spec` of a CiliumLocalRedirectPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRedirectPolicy {
    /// `redirectFrontend`
    pub frontend: RedirectFrontend,
    /// Pods that take the traffic: `redirectBackend.localEndpointSelector`.
    pub endpoint_selector: Selector,
    /// `redirectBackend.toPorts`
    pub backend_ports: Vec<RedirectPort>,
    /// `skipRedirectFromBackend`
    pub skip_redirect_from_backend: bool,
}

/// What is redirected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectFrontend {
    /// `serviceMatcher`: the ClusterIP of a service of the policy's namespace.
    Service {
        /// Its name.
        name: Written<String>,
        /// Ports of it; all of them when empty.
        ports: Vec<RedirectPort>,
    },
    /// `addressMatcher`
    Address {
        /// The address.
        ip: Ipv4Addr,
        /// Its ports.
        ports: Vec<RedirectPort>,
    },
}

/// One of `toPorts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectPort {
    /// Name, by which ports of both sides belong together where there are several.
    pub name: Option<String>,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// `spec` of a CiliumLoadBalancerIPPool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancerIpPool {
    /// Addresses that can be given out, block by block, and where each block is
    /// written.
    pub blocks: Vec<(RangeInclusive<u32>, Range<usize>)>,
    /// Services that get them; every one when absent.
    pub service_selector: Option<Selector>,
    /// `disabled`: nothing new is given out.
    pub disabled: bool,
}

impl LoadBalancerIpPool {
    /// Whether the address is one of the pool's.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let number = u32::from(address);
        self.blocks.iter().any(|(block, _)| block.contains(&number))
    }
}

/// `spec` of a CiliumL2AnnouncementPolicy.
#[derive(Clone, Debug)]
pub struct L2AnnouncementPolicy {
    /// Services whose addresses are announced; every one when absent.
    pub service_selector: Option<Selector>,
    /// Nodes that announce; every one when absent.
    pub node_selector: Option<Selector>,
    /// Interfaces that they are announced on; every managed device when empty.
    pub interfaces: Vec<Regex>,
    /// `loadBalancerIPs`
    pub load_balancer_ips: bool,
    /// `externalIPs`
    pub external_ips: bool,
}

/// Policies are the same when they are written the same.
impl PartialEq for L2AnnouncementPolicy {
    fn eq(&self, other: &Self) -> bool {
        let written = |policy: &Self| -> Vec<String> {
            let interfaces = policy.interfaces.iter();
            interfaces.map(|it| it.as_str().to_owned()).collect()
        };
        (&self.service_selector, &self.node_selector)
            == (&other.service_selector, &other.node_selector)
            && written(self) == written(other)
            && (self.load_balancer_ips, self.external_ips)
                == (other.load_balancer_ips, other.external_ips)
    }
}

impl Eq for L2AnnouncementPolicy {}
