//! Values that exclude each other: with them, Cilium's agent or Helm chart refuses
//! to start.

use super::{RoutingMode, Values};

/// Two values that exclude each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The one that is at fault, as in `bpf.masquerade`.
    pub path: &'static str,
    /// What cannot be.
    pub message: &'static str,
    /// What can.
    pub help: &'static str,
}

impl Values {
    /// Every pair of values that exclude each other.
    #[must_use]
    pub fn conflicts(&self) -> Vec<Conflict> {
        let ebpf = self.enable_ipv4_masquerade && self.bpf.masquerade;
        let tunnel = self.routing_mode == RoutingMode::Tunnel;
        let kube_proxy = !self.kube_proxy_replacement;
        let all = [
            (
                tunnel && self.auto_direct_node_routes == Some(true),
                Conflict {
                    path: "autoDirectNodeRoutes",
                    message: "autoDirectNodeRoutes cannot be used with routingMode: tunnel",
                    help: "packets go through the tunnel; leave it out",
                },
            ),
            (
                ebpf && kube_proxy,
                Conflict {
                    path: "bpf.masquerade",
                    message: "bpf.masquerade cannot be used with kubeProxyReplacement: false",
                    help: "masquerading in eBPF takes the ports that NodePort handling in eBPF \
                           guards; have iptables masquerade with bpf.masquerade: false",
                },
            ),
            (
                ebpf && !self.egress_masquerade_interfaces.is_empty(),
                Conflict {
                    path: "egressMasqueradeInterfaces",
                    message: "egressMasqueradeInterfaces cannot be used with bpf.masquerade",
                    help: "name the interfaces in `devices`",
                },
            ),
            (
                ebpf && self.enable_masquerade_route_source,
                Conflict {
                    path: "enableMasqueradeRouteSource",
                    message: "enableMasqueradeRouteSource cannot be used with bpf.masquerade",
                    help: "only iptables masquerades so: use bpf.masquerade: false",
                },
            ),
            (
                !ebpf && self.ip_masq_agent.enabled,
                Conflict {
                    path: "ipMasqAgent.enabled",
                    message: "ipMasqAgent needs masquerading in eBPF",
                    help: "use bpf.masquerade: true and enableIPv4Masquerade: true",
                },
            ),
            (
                kube_proxy && self.local_redirect_policy,
                needs_replacement("localRedirectPolicy"),
            ),
            (
                kube_proxy && self.local_redirect_policies.enabled,
                needs_replacement("localRedirectPolicies.enabled"),
            ),
            (
                kube_proxy && self.l2announcements.enabled,
                needs_replacement("l2announcements.enabled"),
            ),
            (
                !(self.hubble.event_buffer_capacity + 1).is_power_of_two(),
                Conflict {
                    path: "hubble.eventBufferCapacity",
                    message: "hubble.eventBufferCapacity must be one less than a power of two",
                    help: "Cilium takes 1, 3, 7 … 4095, 8191, 16383, 32767 or 65535",
                },
            ),
        ];
        let found = all.into_iter().filter(|(is, _)| *is);
        found.map(|(_, conflict)| conflict).collect()
    }
}

const fn needs_replacement(path: &'static str) -> Conflict {
    Conflict {
        path,
        message: "services that kube-proxy handles can be neither redirected nor announced",
        help: "use kubeProxyReplacement: true",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn paths(values: Json) -> Vec<&'static str> {
        let values: Values = serde_json::from_value(values).unwrap();
        let conflicts = values.conflicts();
        conflicts.iter().map(|conflict| conflict.path).collect()
    }

    #[test]
    fn what_each_mode_can_do_with_is_no_conflict() {
        for values in [
            json!({}),
            json!({"bpf": {"masquerade": true}, "ipMasqAgent": {"enabled": true}}),
            json!({"kubeProxyReplacement": false, "routingMode": "tunnel",
                "egressMasqueradeInterfaces": "eth+", "enableMasqueradeRouteSource": true}),
            json!({"routingMode": "tunnel", "autoDirectNodeRoutes": false}),
            json!({"localRedirectPolicies": {"enabled": true}, "l2announcements": {"enabled": true}}),
            json!({"enableIPv4Masquerade": false, "bpf": {"masquerade": true},
                "kubeProxyReplacement": false}),
            json!({"hubble": {"eventBufferCapacity": 65535}}),
        ] {
            assert_eq!(paths(values.clone()), [""; 0], "{values}");
        }
    }

    #[test]
    fn what_cilium_refuses_is_a_conflict() {
        for (values, path) in [
            (
                json!({"routingMode": "tunnel", "autoDirectNodeRoutes": true}),
                "autoDirectNodeRoutes",
            ),
            (
                json!({"kubeProxyReplacement": false, "bpf": {"masquerade": true}}),
                "bpf.masquerade",
            ),
            (
                json!({"egressMasqueradeInterfaces": "eth0", "bpf": {"masquerade": true}}),
                "egressMasqueradeInterfaces",
            ),
            (
                json!({"enableMasqueradeRouteSource": true, "bpf": {"masquerade": true}}),
                "enableMasqueradeRouteSource",
            ),
            (
                json!({"ipMasqAgent": {"enabled": true}}),
                "ipMasqAgent.enabled",
            ),
            (
                json!({"kubeProxyReplacement": false, "localRedirectPolicy": true}),
                "localRedirectPolicy",
            ),
            (
                json!({"kubeProxyReplacement": false, "l2announcements": {"enabled": true}}),
                "l2announcements.enabled",
            ),
            (
                json!({"hubble": {"eventBufferCapacity": 4096}}),
                "hubble.eventBufferCapacity",
            ),
        ] {
            assert_eq!(paths(values), [path]);
        }
    }
}
