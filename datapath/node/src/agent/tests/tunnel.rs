//! Nodes whose pods reach each other through a tunnel.

use lab_model::node_state::{NodeState, RemotePod, Routing, TunnelProtocol};

use super::node::TestNode;

const VXLAN: Routing = Routing::Tunnel {
    protocol: TunnelProtocol::Vxlan,
    port: 8472,
};
const NATIVE: Routing = Routing::Native {
    auto_direct_node_routes: true,
};

/// Both documents of a pair, each with the other's node and pods.
fn documents(one: &TestNode, two: &TestNode, routing: Routing) -> [NodeState; 2] {
    let (mut first, mut second) = (one.state(), two.state());
    first.peers.push(one.peer("k8s-w1", 1));
    second.peers.push(two.peer("k8s-ctr", 0));
    first.remote_pods = remote(&second);
    second.remote_pods = remote(&first);
    first.datapath.routing = routing.clone();
    second.datapath.routing = routing;
    [first, second]
}

fn remote(state: &NodeState) -> Vec<RemotePod> {
    let pods = state.pods.iter().map(|pod| RemotePod {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        node: state.node.name.clone(),
        address: pod.address,
        identity: pod.identity,
    });
    pods.collect()
}

mod as_root {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use super::*;
    use crate::api::AttachMode;

    fn tunnelled() -> (TestNode, TestNode, [NodeState; 2]) {
        let (one, two) = TestNode::pair();
        let states = documents(&one, &two, VXLAN);
        one.apply(&states[0]);
        two.apply(&states[1]);
        (one, two, states)
    }

    /// A capture of what passes `eth1` while `work` runs, as text.
    fn captured(node: &TestNode, filter: &str, work: impl FnOnce()) -> String {
        let start = format!(
            "tcpdump -i eth1 -n --immediate-mode -U -w /run/labctl/wire.pcap {filter} \
             >/dev/null 2>/run/labctl/tcpdump.log & \
             echo $! >/run/labctl/tcpdump.pid; \
             for i in $(seq 1000); do \
               grep -q listening /run/labctl/tcpdump.log && exit 0; sleep 0.01; \
             done; exit 1"
        );
        node.run(&start);
        work();
        node.run(
            "pid=$(cat /run/labctl/tcpdump.pid); kill $pid; \
             for i in $(seq 1000); do kill -0 $pid 2>/dev/null || break; sleep 0.01; done; \
             tcpdump -n -v -r /run/labctl/wire.pcap 2>/dev/null",
        )
    }

    #[test]
    fn pods_of_two_nodes_reach_each_other_through_vxlan() {
        let (one, two, _) = tunnelled();
        let wire = captured(&one, "udp", || {
            one.run_in("default_pod-a", "ping -c 2 -W 2 10.244.1.10");
            two.run_in("default_pod-a", "ping -c 1 -W 2 10.244.0.10");
        });
        // pod-a has identity 266 on either node.
        assert!(
            wire.contains("192.168.10.101.8472: OTV, flags [I] (0x08), overlay 0, instance 266"),
            "{wire}"
        );
        assert!(
            wire.contains("10.244.0.10 > 10.244.1.10: ICMP echo request"),
            "{wire}"
        );
        assert!(
            wire.contains("10.244.1.10 > 10.244.0.10: ICMP echo reply"),
            "{wire}"
        );
        // One hop per node, as natively.
        assert!(wire.contains("ttl 63"), "{wire}");
        let flows = two.client().conntrack().expect("ask");
        let pod: Ipv4Addr = [10, 244, 0, 10].into();
        assert!(
            flows
                .iter()
                .any(|it| it.flow.inbound && it.flow.source == pod),
            "{flows:#?}"
        );
    }

    /// The host's own packets carry its address among the pods', and the identity that
    /// other nodes know it by.
    #[test]
    fn a_node_reaches_pods_of_another_through_the_tunnel() {
        let (one, two, _) = tunnelled();
        let wire = captured(&one, "udp", || {
            one.run("ping -c 1 -W 2 10.244.1.10");
            two.run("ping -c 1 -W 2 10.244.0.1");
        });
        assert!(wire.contains("instance 6"), "{wire}");
        assert!(
            wire.contains("10.244.0.1 > 10.244.1.10: ICMP echo request"),
            "{wire}"
        );
        // With the node's address on the segment as its source: answered past the tunnel.
        one.run("ping -c 1 -W 2 -I 192.168.10.100 10.244.1.10");
    }

    /// Case 4: another node is not behind the tunnel, and does not know the pod.
    #[test]
    fn case_4_a_pod_is_masqueraded_towards_another_node() {
        let (one, two, _) = tunnelled();
        one.run_in("default_pod-a", "ping -c 1 -W 2 192.168.10.101");
        let (_, entries) = one.client().nat().expect("ask");
        let node: Ipv4Addr = [192, 168, 10, 100].into();
        assert!(
            entries
                .iter()
                .any(|it| !it.flow.inbound && it.address == node),
            "{entries:#?}"
        );
        drop(two);
    }

    /// cilium/cilium#26908: outer packets are the node's own, from ports in the range for
    /// masquerading.
    #[test]
    fn bug_26908_tunnel_traffic_takes_no_port_for_masquerading() {
        let (one, two, _) = tunnelled();
        for port in 0..20 {
            let command = format!("ping -c 1 -W 2 -e {} 10.244.1.10", 1000 + port);
            one.run_in("default_pod-a", &command);
        }
        for node in [&one, &two] {
            let (_, entries) = node.client().nat().expect("ask");
            assert!(entries.is_empty(), "{entries:#?}");
        }
    }

    /// cilium/cilium#14339, cilium/cilium#23711.
    #[test]
    fn bug_14339_bug_23711_every_device_has_its_mtu() {
        let (one, _two, _) = tunnelled();
        let mtu = |output: String| -> Vec<(String, u32)> {
            let lines = output.lines().map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                let name = words[1].trim_end_matches(':');
                let name = name.split('@').next().unwrap_or(name).to_owned();
                let at = words
                    .iter()
                    .position(|word| *word == "mtu")
                    .expect("has one");
                (name, words[at + 1].parse().expect("a number"))
            });
            lines
                .filter(|(name, _)| name != "lo" && name != "wire")
                .collect()
        };
        let mut on_node = mtu(one.run("ip -o link"));
        on_node.sort();
        let expected = [
            ("cilium_host", 1500),
            ("cilium_net", 1500),
            ("cilium_vxlan", 1500),
            ("eth1", 1500),
            ("lxc0000000000a0", 1450),
            ("lxc0000000000b0", 1450),
        ];
        assert_eq!(on_node, expected.map(|(name, mtu)| (name.to_owned(), mtu)));
        assert_eq!(
            mtu(one.run_in("default_pod-a", "ip -o link")),
            [("eth0".to_owned(), 1450)]
        );
        assert_eq!(
            one.run_in("default_pod-a", "ip route show default"),
            "default via 10.244.0.1 dev eth0 mtu 1450 \n"
        );
        let routes = one.run("ip route");
        for line in [
            "10.244.0.1 dev cilium_host proto kernel scope link ",
            "10.244.1.0/24 via 10.244.0.1 dev cilium_host proto kernel src 10.244.0.1 mtu 1450 ",
        ] {
            assert!(routes.lines().any(|it| it == line), "{line:?} in {routes}");
        }
    }

    /// cilium/cilium#22624, cilium/cilium#45339: a large ping passes, in fragments of the
    /// pod's making; the tunnel makes none, neither for those that forbid it.
    #[test]
    fn bug_22624_large_packets_pass_and_the_tunnel_cuts_none_up() {
        let (one, two, _) = tunnelled();
        let wire = captured(&one, "ip", || {
            one.run_in("default_pod-a", "ping -c 1 -W 2 -s 4000 10.244.1.10");
            one.run_in("default_pod-a", "ping -c 1 -W 2 -M do -s 1422 10.244.1.10");
            one.run("ping -c 1 -W 2 -s 4000 10.244.1.10");
        });
        let outer = wire.lines().filter(|line| line.contains("proto UDP"));
        let mut count = 0;
        for line in outer {
            assert!(
                line.contains("offset 0, flags [none]") || line.contains("flags [DF]"),
                "{line}"
            );
            count += 1;
        }
        assert!(count >= 14, "{count} outer packets: {wire}");
        let refused = one.run_in(
            "default_pod-a",
            "ping -c 1 -W 2 -M do -s 1423 10.244.1.10 2>&1 || true",
        );
        assert!(refused.contains("message too long"), "{refused}");
        drop(two);
    }

    /// A pod with a larger MTU than the tunnel takes is told by the node.
    #[test]
    fn a_packet_too_long_for_the_tunnel_is_answered_not_cut_up() {
        let (one, _two, _) = tunnelled();
        one.run("ip link set lxc0000000000a0 mtu 1500");
        one.run_in(
            "default_pod-a",
            "ip link set eth0 mtu 1500; ip route replace default via 10.244.0.1 dev eth0",
        );
        let told = one.run_in(
            "default_pod-a",
            "ping -c 1 -W 2 -M do -s 1472 10.244.1.10 || true",
        );
        assert!(
            told.contains("Frag needed and DF set (mtu = 1450)"),
            "{told}"
        );
        one.run_in(
            "default_pod-a",
            "ping -c 1 -W 2 -M dont -s 1472 10.244.1.10",
        );
    }

    /// Datagrams, and connections with segments for the device to cut, both ways.
    #[test]
    fn sockets_talk_through_the_tunnel() {
        let (one, two, _) = tunnelled();
        let server = two.inside_pod("default_pod-a", || {
            std::net::TcpListener::bind("10.244.1.10:8080").expect("listen")
        });
        let client = one.inside_pod("default_pod-a", || {
            std::net::TcpStream::connect_timeout(
                &"10.244.1.10:8080".parse().expect("legal"),
                Duration::from_secs(5),
            )
            .expect("connect")
        });
        let (mut accepted, from) = server.accept().expect("accept");
        assert_eq!(from.ip(), Ipv4Addr::new(10, 244, 0, 10));
        let sent: Vec<u8> = (0..2_000_000_u32).map(|it| it.to_le_bytes()[1]).collect();
        std::thread::scope(|scope| {
            let (mut client, sent) = (&client, &sent);
            scope.spawn(move || {
                std::io::Write::write_all(&mut client, sent).expect("send");
                client.shutdown(std::net::Shutdown::Write).expect("close");
            });
            accepted
                .set_read_timeout(Some(Duration::from_secs(20)))
                .expect("set");
            let mut got = Vec::new();
            std::io::Read::read_to_end(&mut accepted, &mut got).expect("receive");
            assert!(got == *sent, "{} of {} bytes", got.len(), sent.len());
        });
        let bind = |node: &TestNode, address: &'static str| {
            node.inside_pod("default_pod-a", || UdpSocket::bind(address).expect("bind"))
        };
        let (a, b) = (
            bind(&one, "10.244.0.10:5000"),
            bind(&two, "10.244.1.10:5000"),
        );
        b.set_read_timeout(Some(Duration::from_secs(5)))
            .expect("set");
        a.send_to(b"hello", "10.244.1.10:5000").expect("send");
        let (length, from) = b.recv_from(&mut [0; 16]).expect("receive");
        assert_eq!(
            (length, from),
            (5, "10.244.0.10:5000".parse().expect("legal"))
        );
    }

    /// The same pods before, between and after, and nothing of the other mode is left.
    #[test]
    fn the_mode_of_a_running_lab_changes_both_ways() {
        let (one, two) = TestNode::pair();
        let native = documents(&one, &two, NATIVE);
        let tunnel = documents(&one, &two, VXLAN);
        let look = |node: &TestNode| {
            let on_node = node.run(
                "ip -o link | grep -v wire | sed -e 's/.*: \\([a-z]\\)/\\1/' -e 's/ qdisc.*//' | sort; \
                 ip route; ls /sys/fs/bpf/cilium/links",
            );
            on_node + &node.run_in("default_pod-a", "ip -o link | sed 's/ qdisc.*//'; ip route")
        };
        let apply = |states: &[NodeState; 2]| {
            let pods = one.apply(&states[0]).pods;
            two.apply(&states[1]);
            one.run_in("default_pod-a", "ping -c 1 -W 2 10.244.1.10");
            for node in [&one, &two] {
                assert_eq!(node.client().drift().expect("ask"), Vec::<String>::new());
            }
            pods
        };
        let pods = apply(&native);
        let natively = look(&one);
        assert_eq!(apply(&tunnel), pods, "no restarts");
        let tunnelled = look(&one);
        assert!(tunnelled.contains("cilium_vxlan"), "{tunnelled}");
        assert!(!tunnelled.contains("via 192.168.10.101"), "{tunnelled}");
        assert_eq!(apply(&native), pods, "no restarts");
        assert_eq!(look(&one), natively);
    }

    #[test]
    fn another_port_makes_another_device() {
        let (one, two, mut states) = tunnelled();
        for (node, state) in [&one, &two].into_iter().zip(&mut states) {
            state.datapath.routing = Routing::Tunnel {
                protocol: TunnelProtocol::Vxlan,
                port: 4789,
            };
            node.apply(state);
        }
        let device = one.run("ip -d link show cilium_vxlan");
        assert!(
            device.contains("external") && device.contains("dstport 4789"),
            "{device}"
        );
        one.run_in("default_pod-a", "ping -c 1 -W 2 10.244.1.10");
    }

    /// Where the kernel has no Geneve, it says so before anything is changed; where it has,
    /// pods reach each other through it.
    #[test]
    fn geneve_works_or_is_refused_before_anything_is_changed() {
        const GENEVE: Routing = Routing::Tunnel {
            protocol: TunnelProtocol::Geneve,
            port: 6081,
        };
        let (one, two) = TestNode::pair();
        let [native, other] = documents(&one, &two, NATIVE);
        one.apply(&native);
        two.apply(&other);
        let before = one.run("ip -o link; ip route; ls /sys/fs/bpf/cilium/links");
        let [first, second] = documents(&one, &two, GENEVE);
        match one.client().apply(&first) {
            Ok(_) => {
                two.apply(&second);
                one.run_in("default_pod-a", "ping -c 1 -W 2 10.244.1.10");
                assert!(one.run("ip -o link").contains("cilium_geneve"));
            }
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.contains("this kernel has no geneve interfaces"),
                    "{error}"
                );
                assert!(error.contains("CONFIG_GENEVE"), "{error}");
                assert_eq!(
                    one.run("ip -o link; ip route; ls /sys/fs/bpf/cilium/links"),
                    before
                );
                one.run_in("default_pod-a", "ping -c 1 -W 2 10.244.1.10");
            }
        }
    }

    /// What a student sees. The oldest bpftool about (7.1) lists filters, and does not
    /// know TCX links yet.
    #[test]
    fn bpftool_lists_the_programs_where_they_do_their_work() {
        let (one, two) = TestNode::pair_with(AttachMode::Clsact);
        let [state, _] = documents(&one, &two, VXLAN);
        one.apply(&state);
        let listed = one.run("bpftool net show");
        for (device, place) in [
            ("eth1", "clsact/ingress cil_from_netdev"),
            ("eth1", "clsact/egress cil_to_netdev"),
            ("cilium_net", "clsact/ingress cil_to_host"),
            ("cilium_host", "clsact/ingress cil_to_host"),
            ("cilium_host", "clsact/egress cil_from_host"),
            ("cilium_vxlan", "clsact/ingress cil_from_overlay"),
            ("cilium_vxlan", "clsact/egress cil_to_overlay"),
            ("lxc0000000000a0", "clsact/ingress cil_from_container"),
        ] {
            let is_there =
                |line: &str| line.starts_with(&format!("{device}(")) && line.contains(place);
            assert!(listed.lines().any(is_there), "{device} {place} in {listed}");
        }
        two.apply(&documents(&one, &two, VXLAN)[1]);
        one.run_in("default_pod-a", "ping -c 1 -W 2 10.244.1.10");
        one.run("ping -c 1 -W 2 10.244.1.10");
    }

    /// cilium/cilium#31124: a peer behind a router gets no direct route, and the others do.
    #[test]
    fn bug_31124_no_direct_route_to_a_node_behind_a_router() {
        let (one, two) = TestNode::pair();
        let [mut first, second] = documents(&one, &two, NATIVE);
        let mut far = one.peer("k8s-far", 2);
        far.address = Ipv4Addr::new(192, 168, 20, 102);
        first.peers.push(far);
        one.run("ip route add 192.168.20.0/24 via 192.168.10.101");
        one.apply(&first);
        two.apply(&second);
        let routes = one.run("ip route");
        assert!(
            routes.contains("10.244.1.0/24 via 192.168.10.101 dev eth1"),
            "{routes}"
        );
        assert!(!routes.contains("10.244.2.0/24"), "{routes}");
        assert_eq!(one.client().drift().expect("ask"), Vec::<String>::new());
    }
}
