//! The agent on real nodes: a thread with network, mount and UTS namespaces and a
//! cgroup of its own is a node as labctl makes it, and its children are pods.

mod calls;
mod clsact;
mod flows;
mod l2;
mod node;
mod services;
mod tunnel;
mod verified;

use std::net::Ipv4Addr;

use lab_model::node_state::{
    DatapathSettings, DnsPolicy, NODE_STATE_VERSION, NodeIdentity, NodeState, Pod, PodDns, Workload,
};

/// Node `number`, with two pods: `pod-a` has the address .10 and `pod-b` .11.
pub(crate) fn document(name: &str, number: u8) -> NodeState {
    let pod = |name: &str, host: u8, workload| Pod {
        namespace: "default".into(),
        name: name.into(),
        hostname: None,
        subdomain: None,
        address: Ipv4Addr::new(10, 244, number, host),
        interface: format!("lxc{:012x}", u32::from(host) << 4),
        endpoint_id: host.into(),
        identity: 256 + u32::from(host),
        labels: Vec::new(),
        dns_policy: DnsPolicy::ClusterFirst,
        workload,
        corefile: None,
    };
    NodeState {
        version: NODE_STATE_VERSION,
        lab: "test".into(),
        node: NodeIdentity {
            name: name.into(),
            address: Ipv4Addr::new(192, 168, 10, 100 + number),
            pod_cidr: format!("10.244.{number}.0/24").parse().expect("legal"),
            cilium_host: Ipv4Addr::new(10, 244, number, 1),
            control_plane: number == 0,
        },
        peers: Vec::new(),
        pods: vec![
            pod("pod-a", 10, Workload::Netshoot),
            pod("pod-b", 11, Workload::Whoami { port: 80 }),
        ],
        host_pods: Vec::new(),
        remote_pods: Vec::new(),
        identities: Vec::new(),
        services: Vec::new(),
        redirects: Vec::new(),
        announcements: Vec::new(),
        dns: PodDns {
            nameserver: Ipv4Addr::new(10, 96, 0, 10),
            search: vec!["svc.cluster.local".into(), "cluster.local".into()],
            node_search: vec![],
            ndots: 5,
        },
        datapath: DatapathSettings {
            snat_exclusion: Some("10.244.0.0/16".parse().expect("legal")),
            native_routing_cidr: Some("10.244.0.0/16".parse().expect("legal")),
            nat_max: 4096,
            ct_tcp_max: 4096,
            ct_any_max: 4096,
            ..DatapathSettings::default()
        },
    }
}

mod as_root {
    use std::collections::BTreeSet;
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use lab_model::node_state::IpMasqAgent;

    use super::*;

    use super::node::{TestNode, until};
    use crate::api::Request;

    #[test]
    fn applying_twice_changes_nothing() {
        let node = TestNode::start("k8s-ctr", 0);
        let state = node.state();
        let first = node.apply(&state);
        assert!(first.pods.iter().all(|pod| pod.ready), "{first:#?}");
        assert_eq!(node.client().drift().expect("ask"), Vec::<String>::new());
        let links = node.run("ip -o link; ip -4 -o addr; ip route; ls /sys/fs/bpf/cilium/links");
        let second = node.apply(&state);
        assert_eq!(second.pods, first.pods, "same processes, no restarts");
        assert_eq!(
            node.run("ip -o link; ip -4 -o addr; ip route; ls /sys/fs/bpf/cilium/links"),
            links
        );
    }

    #[test]
    fn a_node_looks_as_in_the_original_lab() {
        let node = TestNode::start("k8s-ctr", 0);
        let mut state = node.state();
        state.peers.push(node.peer("k8s-w1", 1));
        node.apply(&state);
        let routes = node.run("ip route");
        for line in [
            "10.244.1.0/24 via 192.168.10.101 dev eth1 proto kernel ",
            "10.244.0.10 dev lxc0000000000a0 proto kernel scope link ",
            "10.244.0.11 dev lxc0000000000b0 proto kernel scope link ",
        ] {
            assert!(routes.lines().any(|it| it == line), "{line:?} in {routes}");
        }
        let pod = node.run_in(
            "default_pod-a",
            "hostname; cat /etc/resolv.conf; ip route; ls /run; tail -1 /etc/hosts",
        );
        assert_eq!(
            pod,
            "pod-a\n\
             search default.svc.cluster.local svc.cluster.local cluster.local\n\
             nameserver 10.96.0.10\n\
             options ndots:5\n\
             default via 10.244.0.1 dev eth0 \n\
             10.244.0.1 dev eth0 scope link \n\
             10.244.0.10\tpod-a\n"
        );
        let pins = node.run("ls /sys/fs/bpf/cilium/links");
        assert_eq!(
            pins.lines().collect::<Vec<_>>(),
            [
                "cil_from_container-lxc0000000000a0",
                "cil_from_container-lxc0000000000b0",
                "cil_from_host-cilium_host",
                "cil_from_netdev-eth1",
                "cil_to_container-lxc0000000000a0",
                "cil_to_container-lxc0000000000b0",
                "cil_to_host-cilium_host",
                "cil_to_host-cilium_net",
                "cil_to_netdev-eth1",
            ]
        );
    }

    #[test]
    fn a_pod_goes_by_its_hostname_and_subdomain() {
        let node = TestNode::start("k8s-ctr", 0);
        let mut state = node.state();
        node.apply(&state);
        let names = || {
            node.run_in(
                "default_pod-a",
                "hostname; cat /etc/hostname; tail -1 /etc/hosts",
            )
        };
        assert_eq!(names(), "pod-a\npod-a\n10.244.0.10\tpod-a\n");
        state.pods[0].hostname = Some("db-0".into());
        node.apply(&state);
        assert_eq!(names(), "db-0\ndb-0\n10.244.0.10\tdb-0\n");
        state.pods[0].subdomain = Some("db".into());
        node.apply(&state);
        let full = "db-0.db.default.svc.cluster.local";
        assert_eq!(names(), format!("db-0\ndb-0\n10.244.0.10\t{full}\tdb-0\n"));
    }

    #[test]
    fn pods_of_one_node_reach_each_other_and_their_node() {
        let node = TestNode::start("k8s-ctr", 0);
        node.apply(&node.state());
        for target in ["10.244.0.11", "10.244.0.1", "192.168.10.100"] {
            node.run_in("default_pod-a", &format!("ping -c 1 -W 2 {target}"));
        }
        node.run("ping -c 1 -W 2 10.244.0.10");
    }

    #[test]
    fn pods_of_two_nodes_reach_each_other_with_their_own_addresses() {
        let (one, two) = TestNode::pair();
        let (mut first, mut second) = (one.state(), two.state());
        first.peers.push(one.peer("k8s-w1", 1));
        second.peers.push(two.peer("k8s-ctr", 0));
        one.apply(&first);
        two.apply(&second);
        one.run_in("default_pod-a", "ping -c 1 -W 2 10.244.1.10");
        let flows = two.client().conntrack().expect("ask");
        let pod: Ipv4Addr = [10, 244, 0, 10].into();
        assert!(
            flows
                .iter()
                .any(|it| it.flow.inbound && it.flow.source == pod),
            "{flows:#?}"
        );
    }

    #[test]
    fn a_pod_is_masqueraded_towards_the_outside_and_entries_are_listed() {
        let (one, two) = TestNode::pair();
        one.apply(&one.state());
        two.apply(&two.state());
        // The other node is no peer here: an outside host.
        one.run_in("default_pod-a", "ping -c 1 -W 2 192.168.10.101");
        let (_, entries) = one.client().nat().expect("ask");
        let node: Ipv4Addr = [192, 168, 10, 100].into();
        assert!(
            entries
                .iter()
                .any(|it| !it.flow.inbound && it.address == node),
            "{entries:#?}"
        );
        let flows = two.client().conntrack().expect("ask");
        let pod: Ipv4Addr = [10, 244, 0, 10].into();
        assert!(flows.iter().all(|it| it.flow.source != pod), "{flows:#?}");
    }

    #[test]
    fn a_restarted_agent_keeps_pods_maps_and_links() {
        let mut node = TestNode::start("k8s-ctr", 0);
        let first = node.apply(&node.state());
        node.run_in("default_pod-a", "ping -c 1 -W 2 10.244.0.11");
        let flows = |node: &TestNode| -> BTreeSet<_> {
            let flows = node.client().conntrack().expect("ask");
            flows.iter().map(|flow| flow.flow).collect()
        };
        let before = flows(&node);
        assert!(!before.is_empty());
        node.stop_agent();
        node.run_in("default_pod-a", "ping -c 1 -W 2 10.244.0.11");
        node.start_agent();
        let status = node.client().status().expect("ask");
        assert_eq!(status.pods, first.pods);
        assert_eq!(status.applied, Some(node.state()));
        assert_eq!(node.client().drift().expect("ask"), Vec::<String>::new());
        let after = flows(&node);
        assert!(after.is_superset(&before), "{before:#?} {after:#?}");
        assert!(
            after.len() > before.len(),
            "nothing was tracked without an agent"
        );
    }

    /// One connection from a pod to an outside host, through the masquerade, with
    /// no agent and with another agent.
    #[test]
    fn a_connection_outlives_its_agent() {
        outlives_its_agent(TestNode::pair());
    }

    pub(super) fn outlives_its_agent((mut one, two): (TestNode, TestNode)) {
        one.apply(&one.state());
        let server = two.inside(|| TcpListener::bind("192.168.10.101:8080").expect("listen"));
        let mut client = one.inside_pod("default_pod-a", || {
            TcpStream::connect("192.168.10.101:8080").expect("connect")
        });
        let (mut accepted, from) = server.accept().expect("accept");
        assert_eq!(from.ip(), Ipv4Addr::new(192, 168, 10, 100), "masqueraded");
        let mut exchange = || {
            for stream in [&client, &accepted] {
                stream
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .expect("set");
            }
            let mut heard = [0; 4];
            client.write_all(b"ping").expect("send");
            accepted.read_exact(&mut heard).expect("receive");
            accepted.write_all(b"pong").expect("send");
            client.read_exact(&mut heard).expect("receive");
            assert_eq!(&heard, b"pong");
        };
        exchange();
        one.stop_agent();
        exchange();
        one.start_agent();
        exchange();
        drop((client, accepted));
    }

    #[test]
    fn drift_is_told_and_mended() {
        let node = TestNode::start("k8s-ctr", 0);
        let state = node.state();
        node.apply(&state);
        for (harm, told) in [
            (
                "ip link del lxc0000000000a0",
                "lxc0000000000a0 of default/pod-a is gone",
            ),
            ("ip link del cilium_host", "cilium_host is gone"),
            (
                "ip route del 10.244.0.11",
                "route 10.244.0.11 dev lxc0000000000b0 proto kernel scope link is gone",
            ),
            (
                "ip link set lxc0000000000b0 down",
                "lxc0000000000b0 of default/pod-b is down",
            ),
            (
                "echo 1 > /proc/sys/net/ipv4/conf/eth1/rp_filter",
                "net.ipv4.conf.eth1.rp_filter is not 0",
            ),
            (
                "rm /sys/fs/bpf/cilium/links/cil_to_netdev-eth1",
                "cil_to_netdev is not attached to eth1",
            ),
            (
                "umount -l /run/netns/cni-0000000000a0",
                "the network namespace of default/pod-a is gone",
            ),
        ] {
            node.run(harm);
            let drift = node.client().drift().expect("ask");
            assert!(
                drift.iter().any(|it| it == told),
                "after {harm}: {drift:#?}"
            );
            node.apply(&state);
            assert_eq!(
                node.client().drift().expect("ask"),
                Vec::<String>::new(),
                "after {harm}"
            );
        }
        node.run_in("default_pod-a", "ping -c 1 -W 2 10.244.0.11");
        node.run_in("default_pod-b", "ip addr flush dev eth0");
        let drift = node.client().drift().expect("ask");
        assert!(
            drift.contains(&"eth0 of default/pod-b lacks 10.244.0.11/32".to_owned()),
            "{drift:#?}"
        );
        node.apply(&state);
        node.run_in("default_pod-b", "ping -c 1 -W 2 10.244.0.10");
    }

    #[test]
    fn pods_come_change_and_go() {
        let node = TestNode::start("k8s-ctr", 0);
        let mut state = node.state();
        let first = node.apply(&state);
        let gone = state.pods.remove(0);
        state.pods[0].identity = 300;
        let second = node.apply(&state);
        assert_eq!(
            second.pods[0].pid, first.pods[1].pid,
            "an identity is no reason to restart"
        );
        let left =
            node.run("ls /run/netns; ls /run/labctl/pods; ip -o link; ls /sys/fs/bpf/cilium/links");
        assert!(
            !left.contains("0000000000a0") && !left.contains("pod-a"),
            "{left}"
        );
        assert!(!node.cgroup().child("pods/default_pod-a").exists());

        state.pods[0].workload = Workload::Nginx { port: 80 };
        let third = node.apply(&state);
        assert_ne!(
            third.pods[0].pid, first.pods[1].pid,
            "another workload is another pod"
        );
        state.pods.push(gone);
        let fourth = node.apply(&state);
        assert_eq!(fourth.pods[0].pid, third.pods[0].pid);
        assert!(fourth.pods.iter().all(|pod| pod.ready), "{fourth:#?}");
    }

    #[test]
    fn a_workload_that_ends_is_started_again() {
        let node = TestNode::start("k8s-ctr", 0);
        let first = node.apply(&node.state());
        let pid = first.pods[0].pid.expect("runs");
        node.run(&format!("kill -9 {pid}"));
        until("the workload to run again", || {
            let status = node.client().status().expect("ask");
            status.pods[0].restarts == 1 && status.pods[0].ready && status.pods[0].pid != Some(pid)
        });
        node.run_in("default_pod-a", "ping -c 1 -W 2 10.244.0.11");
    }

    /// Cases 26, 29 and 30, and a fault that keeps what was there.
    #[test]
    fn the_ip_masq_agent_follows_its_file() {
        let mut node = TestNode::start("k8s-ctr", 0);
        let mut state = node.state();
        let config = |text: &str| {
            Some(IpMasqAgent {
                config: Some(text.to_owned()),
            })
        };
        state.datapath.ip_masq_agent = config("nonMasqueradeCIDRs: [1.1.1.1/32, 2.2.2.2/16]");
        node.apply(&state);
        let cidrs = |node: &TestNode| -> Vec<String> {
            let cidrs = node.client().ip_masq().expect("ask");
            cidrs.iter().map(ToString::to_string).collect()
        };
        assert_eq!(cidrs(&node), ["1.1.1.1/32", "2.2.0.0/16", "169.254.0.0/16"]);

        let file = node.folder().join("ip-masq-agent/config");
        fs::write(&file, "nonMasqueradeCIDRs: [8.8.0.0/16, 2.2.2.2/16]").expect("write");
        until("the file to be taken over", || {
            cidrs(&node) == ["2.2.0.0/16", "8.8.0.0/16", "169.254.0.0/16"]
        });
        fs::write(&file, "nonMasqueradeCIDRs: [8.8.8.8]").expect("write");
        until("the fault to be told", || {
            let status = node
                .client()
                .status()
                .expect("ask")
                .ip_masq_agent
                .expect("enabled");
            status.error.is_some_and(|error| error.contains("8.8.8.8"))
        });
        assert_eq!(cidrs(&node), ["2.2.0.0/16", "8.8.0.0/16", "169.254.0.0/16"]);
        fs::remove_file(&file).expect("remove");
        until("the defaults", || cidrs(&node).len() == 12);

        // What an agent that died left in the map goes when the next one starts.
        node.stop_agent();
        fs::write(&file, "nonMasqueradeCIDRs: []").expect("write");
        state.datapath.ip_masq_agent = config("nonMasqueradeCIDRs: []");
        fs::write(
            node.folder().join(crate::api::STATE_FILE),
            serde_json::to_vec(&state).expect("write"),
        )
        .expect("write");
        node.start_agent();
        assert_eq!(cidrs(&node), ["169.254.0.0/16"]);
        state.datapath.ip_masq_agent = None;
        node.apply(&state);
        assert_eq!(cidrs(&node), Vec::<String>::new());
    }

    #[test]
    fn a_document_of_another_version_is_refused_and_nothing_changes() {
        let node = TestNode::start("k8s-ctr", 0);
        let mut state = node.state();
        state.version += 1;
        let request = Request::Apply {
            state: Box::new(state),
        };
        let error = node
            .client()
            .ask(&request)
            .expect_err("another version")
            .to_string();
        assert!(
            error.starts_with(&format!(
                "apply a node state of version {}: ",
                NODE_STATE_VERSION + 1
            )),
            "{error}"
        );
        assert_eq!(node.client().status().expect("ask").applied, None);
        assert!(!node.run("ip -o link").contains("cilium_host"));
    }
}
