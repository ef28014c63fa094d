//! Services, as real sockets of pods and of the node see them.

mod client;
mod gone;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::thread;

use lab_model::node_state::{
    Backend, LocalRedirect, NodeState, Protocol, RedirectFrontend, Service, ServiceHandling,
    ServicePort, ServiceType, TrafficPolicy,
};

use super::node::TestNode;

const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 80);
const EXTERNAL_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
const POD_A: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 10);
const POD_B: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 11);

fn backend(pod: &str, address: Ipv4Addr, port: u16) -> Backend {
    Backend {
        pod: format!("default/{pod}"),
        node: "k8s-ctr".into(),
        address,
        port,
    }
}

/// A service on port 80 of [`CLUSTER_IP`] and NodePort 30080.
fn service(protocol: Protocol, backends: Vec<Backend>) -> Service {
    Service {
        namespace: "default".into(),
        name: format!("web-{protocol}").to_lowercase(),
        external_name: None,
        service_type: ServiceType::NodePort,
        cluster_ip: Some(CLUSTER_IP),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        denies_source_ranges: false,
        external_ips: vec![EXTERNAL_IP],
        ports: vec![ServicePort {
            name: None,
            protocol,
            port: 80,
            node_port: Some(30080),
            backends,
        }],
        endpoints: vec![],
        external_traffic_policy: TrafficPolicy::Cluster,
        internal_traffic_policy: TrafficPolicy::Cluster,
        session_affinity: None,
    }
}

fn with(mut state: NodeState, services: &[Service]) -> NodeState {
    state.services = services.to_vec();
    state
}

/// A server in a pod that tells each TCP client which one it is.
fn tcp_server(node: &TestNode, pod: &'static str, port: u16) {
    let listener = node.inside_pod(&format!("default_{pod}"), || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("free")
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(format!("{pod}\n").as_bytes());
        }
    });
}

/// The same for datagrams.
fn udp_server(node: &TestNode, pod: &'static str, port: u16) {
    let socket = node.inside_pod(&format!("default_{pod}"), || {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("free")
    });
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(pod.as_bytes(), from);
        }
    });
}

/// A client in `pod-a`.
#[track_caller]
fn from_pod(node: &TestNode, call: &str, to: SocketAddrV4) -> String {
    client::run(node, Some("default_pod-a"), call, to)
}

/// A client on the node itself.
#[track_caller]
fn from_node(node: &TestNode, call: &str, to: SocketAddrV4) -> String {
    client::run(node, None, call, to)
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

mod as_root {
    use super::*;

    #[test]
    fn tcp_reaches_a_backend_and_the_client_sees_the_service() {
        let node = TestNode::start("k8s-ctr", 0);
        let backends = vec![backend("pod-b", POD_B, 8080)];
        node.apply(&with(node.state(), &[service(Protocol::Tcp, backends)]));
        tcp_server(&node, "pod-b", 8080);
        let to = at(CLUSTER_IP, 80);
        assert_eq!(from_pod(&node, "tcp", to), "10.96.0.80:80 pod-b");
        assert_eq!(
            from_pod(&node, "tcp-mapped", to),
            "[::ffff:10.96.0.80]:80 pod-b"
        );
        assert_eq!(from_node(&node, "tcp", to), "10.96.0.80:80 pod-b");
        let drift = node.client().drift().expect("ask");
        assert_eq!(drift, Vec::<String>::new());
    }

    #[test]
    fn udp_connected_or_not_reaches_a_backend_and_answers_come_from_the_service() {
        let node = TestNode::start("k8s-ctr", 0);
        let backends = vec![backend("pod-b", POD_B, 8080)];
        node.apply(&with(node.state(), &[service(Protocol::Udp, backends)]));
        udp_server(&node, "pod-b", 8080);
        let to = at(CLUSTER_IP, 80);
        assert_eq!(from_pod(&node, "udp", to), "10.96.0.80:80 pod-b");
        assert_eq!(from_pod(&node, "udp-connected", to), "10.96.0.80:80 pod-b");
        assert_eq!(
            from_pod(&node, "udp-mapped", to),
            "[::ffff:10.96.0.80]:80 pod-b"
        );
        assert_eq!(from_node(&node, "udp", to), "10.96.0.80:80 pod-b");
    }

    #[test]
    fn node_ports_answer_on_the_nodes_addresses_and_external_ips_only_where_they_are() {
        let node = TestNode::start("k8s-ctr", 0);
        let backends = vec![backend("pod-b", POD_B, 8080)];
        node.apply(&with(node.state(), &[service(Protocol::Tcp, backends)]));
        tcp_server(&node, "pod-b", 8080);
        let own = at(Ipv4Addr::new(192, 168, 10, 100), 30080);
        assert_eq!(from_pod(&node, "tcp", own), "192.168.10.100:30080 pod-b");
        let gateway = at(Ipv4Addr::new(10, 244, 0, 1), 30080);
        assert_eq!(from_pod(&node, "tcp", gateway), "10.244.0.1:30080 pod-b");
        let loopback = at(Ipv4Addr::LOCALHOST, 30080);
        assert_eq!(from_node(&node, "tcp", loopback), "127.0.0.1:30080 pod-b");
        assert_eq!(
            from_pod(&node, "tcp", loopback),
            "error 111",
            "a pod's own loopback"
        );
        let foreign = from_node(&node, "tcp", at(EXTERNAL_IP, 80));
        assert_eq!(
            foreign, "error 101",
            "nobody's address, and there is no route"
        );
    }

    #[test]
    fn the_node_cannot_bind_where_a_node_port_answers() {
        let node = TestNode::start("k8s-ctr", 0);
        let backends = vec![backend("pod-b", POD_B, 8080)];
        node.apply(&with(node.state(), &[service(Protocol::Tcp, backends)]));
        let own = Ipv4Addr::new(192, 168, 10, 100);
        assert_eq!(from_node(&node, "bind", at(own, 30080)), "error 98");
        assert_eq!(
            from_node(&node, "bind", at(own, 30081)),
            "192.168.10.100:30081"
        );
        let any = at(Ipv4Addr::UNSPECIFIED, 30080);
        assert_eq!(from_pod(&node, "bind", any), "0.0.0.0:30080", "pods may");
    }

    #[test]
    fn case_32_a_service_without_backends_is_unreachable_at_once() {
        let node = TestNode::start("k8s-ctr", 0);
        let services = [
            service(Protocol::Tcp, Vec::new()),
            service(Protocol::Udp, Vec::new()),
        ];
        node.apply(&with(node.state(), &services));
        let to = at(CLUSTER_IP, 80);
        for call in ["tcp", "tcp-mapped", "udp", "udp-connected"] {
            assert_eq!(from_pod(&node, call, to), "error 113", "{call}");
        }
    }

    #[test]
    fn a_client_with_affinity_stays_with_its_backend_until_that_goes() {
        let node = TestNode::start("k8s-ctr", 0);
        let both = vec![backend("pod-a", POD_A, 8080), backend("pod-b", POD_B, 8080)];
        let mut web = service(Protocol::Tcp, both);
        web.session_affinity = Some(10_800);
        node.apply(&with(node.state(), &[web.clone()]));
        tcp_server(&node, "pod-a", 8080);
        tcp_server(&node, "pod-b", 8080);
        let to = at(CLUSTER_IP, 80);
        let first = from_node(&node, "tcp", to);
        for _ in 0..8 {
            assert_eq!(from_node(&node, "tcp", to), first);
        }
        web.ports[0]
            .backends
            .retain(|it| !first.ends_with(it.pod.trim_start_matches("default/")));
        assert_eq!(web.ports[0].backends.len(), 1);
        node.apply(&with(node.state(), &[web]));
        assert_ne!(from_node(&node, "tcp", to), first);
    }

    #[test]
    fn without_affinity_every_backend_gets_its_share() {
        let node = TestNode::start("k8s-ctr", 0);
        let both = vec![backend("pod-a", POD_A, 8080), backend("pod-b", POD_B, 8080)];
        node.apply(&with(node.state(), &[service(Protocol::Tcp, both)]));
        tcp_server(&node, "pod-a", 8080);
        tcp_server(&node, "pod-b", 8080);
        let answers = client::run_times(&node, None, "tcp", at(CLUSTER_IP, 80), 64);
        let one = answers.iter().filter(|it| it.ends_with("pod-a")).count();
        // Both get some of 64 draws but for one time in 2^63.
        assert!(0 < one && one < 64, "{one} of 64");
    }

    #[test]
    fn kube_proxy_has_the_sockets_to_itself_and_back() {
        let node = TestNode::start("k8s-ctr", 0);
        let backends = vec![backend("pod-b", POD_B, 8080)];
        let ours = with(node.state(), &[service(Protocol::Tcp, backends)]);
        let mut theirs = ours.clone();
        theirs.datapath.services = ServiceHandling::KubeProxy;
        node.apply(&theirs);
        tcp_server(&node, "pod-b", 8080);
        let to = at(CLUSTER_IP, 80);
        assert_ne!(from_node(&node, "tcp", to), "10.96.0.80:80 pod-b");
        node.apply(&ours);
        assert_eq!(from_node(&node, "tcp", to), "10.96.0.80:80 pod-b");
        node.apply(&theirs);
        assert_ne!(from_node(&node, "tcp", to), "10.96.0.80:80 pod-b");
    }

    #[test]
    fn another_agent_goes_on_with_the_same_numbers_and_sockets() {
        let mut node = TestNode::start("k8s-ctr", 0);
        let backends = vec![backend("pod-b", POD_B, 8080)];
        node.apply(&with(node.state(), &[service(Protocol::Tcp, backends)]));
        tcp_server(&node, "pod-b", 8080);
        let to = at(CLUSTER_IP, 80);
        let pins = node.run("ls /sys/fs/bpf/cilium/sockets");
        assert_eq!(pins.lines().count(), 9, "{pins}");
        node.stop_agent();
        assert_eq!(from_pod(&node, "tcp", to), "10.96.0.80:80 pod-b");
        node.start_agent();
        assert_eq!(from_pod(&node, "tcp", to), "10.96.0.80:80 pod-b");
        assert_eq!(node.run("ls /sys/fs/bpf/cilium/sockets"), pins);
        let drift = node.client().drift().expect("ask");
        assert_eq!(drift, Vec::<String>::new());
    }

    /// `pod-b` stands for what the service's address means on this node, `pod-a` for
    /// what it means elsewhere.
    fn redirected(state: NodeState, backends: Vec<Backend>, skip: bool) -> NodeState {
        let elsewhere = vec![backend("pod-a", POD_A, 8080)];
        let mut state = with(state, &[service(Protocol::Tcp, elsewhere)]);
        state.redirects = vec![LocalRedirect {
            namespace: "default".into(),
            name: "local".into(),
            skip_redirect_from_backend: skip,
            frontends: vec![RedirectFrontend {
                service: Some("default/web-tcp".into()),
                address: CLUSTER_IP,
                port: 80,
                protocol: Protocol::Tcp,
                backends,
            }],
        }];
        state
    }

    #[test]
    fn a_redirect_policy_keeps_a_service_on_the_node_and_bug_43080_only_while_it_can() {
        let node = TestNode::start("k8s-ctr", 0);
        let local = vec![backend("pod-b", POD_B, 8080)];
        node.apply(&redirected(node.state(), local, false));
        tcp_server(&node, "pod-a", 8080);
        tcp_server(&node, "pod-b", 8080);
        let to = at(CLUSTER_IP, 80);
        for _ in 0..4 {
            assert_eq!(from_pod(&node, "tcp", to), "10.96.0.80:80 pod-b");
        }
        node.apply(&redirected(node.state(), Vec::new(), false));
        assert_eq!(from_pod(&node, "tcp", to), "10.96.0.80:80 pod-a");
    }

    #[test]
    fn case_31_bug_40450_a_policys_own_backend_gets_what_is_behind_it() {
        let node = TestNode::start("k8s-ctr", 0);
        let local = vec![backend("pod-b", POD_B, 8080)];
        node.apply(&redirected(node.state(), local, true));
        tcp_server(&node, "pod-a", 8080);
        tcp_server(&node, "pod-b", 8080);
        let to = at(CLUSTER_IP, 80);
        let own = client::run(&node, Some("default_pod-b"), "tcp", to);
        assert_eq!(own, "10.96.0.80:80 pod-a");
        assert_eq!(from_pod(&node, "tcp", to), "10.96.0.80:80 pod-b");
    }

    #[test]
    fn a_redirect_policy_takes_an_address_that_is_no_service() {
        let node = TestNode::start("k8s-ctr", 0);
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        let mut state = redirected(node.state(), vec![backend("pod-b", POD_B, 8080)], false);
        state.services.clear();
        state.redirects[0].frontends[0].service = None;
        state.redirects[0].frontends[0].address = metadata;
        node.apply(&state);
        tcp_server(&node, "pod-b", 8080);
        let to = at(metadata, 80);
        assert_eq!(from_pod(&node, "tcp", to), "169.254.169.254:80 pod-b");
    }
}
