//! The study lab as a check sees it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use lab_checks::check_file::{
    Context, NodeFacts, OutsideFacts, PodFacts, ServiceFacts, ServicePortFacts,
};

fn node(name: &str, role: &str, address: [u8; 4], number: Option<u8>) -> NodeFacts {
    let dummies = match role {
        "router" => BTreeMap::from([
            ("loop1".to_owned(), Ipv4Addr::new(10, 10, 1, 200)),
            ("loop2".to_owned(), Ipv4Addr::new(10, 10, 2, 200)),
        ]),
        _ => BTreeMap::new(),
    };
    NodeFacts {
        name: name.to_owned(),
        role: role.to_owned(),
        address: Some(address.into()),
        pod_cidr: number.map(|n| format!("10.244.{n}.0/24").parse().expect("a prefix")),
        cilium_host: number.map(|n| Ipv4Addr::new(10, 244, n, 200)),
        dummies,
        outside: number.map(|_| OutsideFacts {
            address: Ipv4Addr::new(10, 0, 2, 15),
            gateway: Ipv4Addr::new(10, 0, 2, 2),
            interface: "eth0".to_owned(),
        }),
    }
}

fn pod(name: &str, owner: Option<&str>, node: &str, ip: [u8; 4], app: &str) -> PodFacts {
    PodFacts {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        owner: owner.map(str::to_owned),
        node: node.to_owned(),
        ip: ip.into(),
        interface: format!("lxc{:08x}", u32::from_be_bytes(ip)),
        identity: 9214,
        labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
    }
}

pub(crate) fn study() -> Context {
    let webpod = |suffix: &str, node: &str, ip| {
        pod(
            &format!("webpod-556878d5d7-{suffix}"),
            Some("webpod"),
            node,
            ip,
            "webpod",
        )
    };
    Context {
        nodes: vec![
            node("k8s-ctr", "control-plane", [192, 168, 10, 100], Some(0)),
            node("k8s-w1", "worker", [192, 168, 10, 101], Some(1)),
            node("k8s-w2", "worker", [192, 168, 10, 102], Some(2)),
            node("router", "router", [192, 168, 10, 200], None),
        ],
        pods: vec![
            pod("curl-pod", None, "k8s-ctr", [10, 244, 0, 5], "curl"),
            webpod("7p8bn", "k8s-ctr", [10, 244, 0, 40]),
            webpod("r4dmh", "k8s-w1", [10, 244, 1, 130]),
            webpod("x9vqk", "k8s-w2", [10, 244, 2, 17]),
        ],
        services: vec![service("webpod", 212)],
    }
}

fn service(name: &str, number: u8) -> ServiceFacts {
    ServiceFacts {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        cluster_ip: Some(Ipv4Addr::new(10, 96, 152, number)),
        ports: vec![ServicePortFacts {
            name: None,
            protocol: "TCP".to_owned(),
            port: 80,
            node_port: None,
        }],
        node_port: None,
        load_balancer_ip: None,
        external_ips: Vec::new(),
    }
}

/// The study lab, with what the other shipped labs have beside.
pub(crate) fn with_all_that_is_shipped() -> Context {
    let mut lab = study();
    for (name, number, address) in [("webpod-lb", 213, 241), ("webpod-lb-private", 218, 242)] {
        lab.services.push(ServiceFacts {
            load_balancer_ip: Some(Ipv4Addr::new(192, 168, 10, address)),
            ..service(name, number)
        });
    }
    lab.services.push(ServiceFacts {
        namespace: "kube-system".to_owned(),
        ..service("kube-dns-upstream", 219)
    });
    let services = ["anywhere", "local", "nobody", "redirected"].into_iter();
    lab.services.extend(
        services
            .zip(214..)
            .map(|(name, number)| service(name, number)),
    );
    lab.pods
        .push(pod("web-w1", None, "k8s-w1", [10, 244, 1, 50], "web-w1"));
    for (number, node) in [(0, "k8s-ctr"), (1, "k8s-w1"), (2, "k8s-w2")] {
        for (owner, last) in [("node-web", 60), ("node-local-dns", 61)] {
            let name = format!("{owner}-{number}");
            let address = [10, 244, number, last];
            lab.pods.push(pod(&name, Some(owner), node, address, owner));
        }
    }
    lab
}
