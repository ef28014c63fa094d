//! A cluster with one service of each kind.

use std::net::Ipv4Addr;

use crate::config::{Fallthrough, Kubernetes, PodMode};
use crate::kubernetes::{Endpoint, Pod, Port, Records, Service};

fn port(name: Option<&str>, protocol: &str, port: u16) -> Port {
    Port {
        name: name.map(str::to_owned),
        protocol: protocol.to_owned(),
        port,
    }
}

fn endpoint(last: u8, hostname: Option<&str>, ports: &[Option<u16>]) -> Endpoint {
    Endpoint {
        address: Ipv4Addr::new(172, 20, 1, last),
        pod: format!("pod-{last}"),
        hostname: hostname.map(str::to_owned),
        ports: ports.to_vec(),
    }
}

fn service(
    name: &str,
    address: Option<[u8; 4]>,
    ports: Vec<Port>,
    endpoints: Vec<Endpoint>,
) -> Service {
    Service {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        external_name: None,
        cluster_ip: address.map(Ipv4Addr::from),
        ports,
        endpoints,
    }
}

pub(super) fn alias(name: &str, external_name: &str) -> Service {
    Service {
        external_name: Some(external_name.to_owned()),
        ..service(name, None, vec![], vec![])
    }
}

pub(super) fn records() -> Records {
    let dns = vec![
        port(Some("dns"), "udp", 53),
        port(Some("dns-tcp"), "tcp", 53),
    ];
    let both = [Some(53), Some(53)];
    let mut kube_dns = service(
        "kube-dns",
        Some([10, 96, 0, 10]),
        dns,
        vec![endpoint(144, None, &both)],
    );
    kube_dns.namespace = "kube-system".to_owned();
    let named = || {
        vec![
            port(Some("http"), "TCP", 80),
            port(Some("metrics"), "TCP", 9090),
        ]
    };
    Records {
        serial: 1_753_885_699,
        namespaces: vec!["default".to_owned(), "empty".to_owned()],
        services: vec![
            service(
                "webpod",
                Some([10, 96, 152, 212]),
                vec![port(None, "TCP", 80)],
                vec![],
            ),
            service(
                "web",
                Some([10, 96, 0, 80]),
                named(),
                vec![endpoint(40, None, &[Some(8080), Some(9090)])],
            ),
            service(
                "hdls",
                None,
                named(),
                vec![
                    endpoint(2, None, &[Some(80), Some(9090)]),
                    endpoint(3, Some("db-0"), &[Some(80), None]),
                ],
            ),
            service("down", None, named(), vec![]),
            service(
                "portless",
                None,
                vec![],
                vec![endpoint(5, Some("db-1"), &[]), endpoint(6, None, &[])],
            ),
            alias("outside", "www.example.org"),
            alias("inside", "web.default.svc.cluster.local"),
            alias("twice", "inside.default.svc.cluster.local"),
            alias("out", "outside.default.svc.cluster.local"),
            alias("nowhere", "none.default.svc.cluster.local"),
            alias("itself", "itself.default.svc.cluster.local"),
            alias("round", "about.default.svc.cluster.local"),
            alias("about", "round.default.svc.cluster.local"),
            alias("number", "192.0.2.1"),
            kube_dns,
        ],
        pods: vec![Pod {
            namespace: "default".to_owned(),
            name: "curl-pod".to_owned(),
            address: Ipv4Addr::new(172, 20, 1, 236),
        }],
    }
}

pub(super) fn settings() -> Kubernetes {
    Kubernetes {
        zones: ["cluster.local.", "in-addr.arpa.", "ip6.arpa."]
            .map(str::to_owned)
            .to_vec(),
        pods: PodMode::Insecure,
        endpoint_pod_names: false,
        ttl: 30,
        namespaces: Vec::new(),
        no_endpoints: false,
        ignore_empty_service: false,
        fallthrough: Fallthrough::Zones(vec!["in-addr.arpa.".to_owned(), "ip6.arpa.".to_owned()]),
    }
}
