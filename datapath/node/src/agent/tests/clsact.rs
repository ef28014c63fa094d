//! The agent as it is on kernels before 6.6, on whatever kernel runs the tests.

mod as_root {
    use std::path::Path;

    use crate::agent::tests::as_root::outlives_its_agent;
    use crate::agent::tests::node::TestNode;
    use crate::api::{AttachMode, Request};
    use crate::datapath;

    /// A classifier of somebody else's, where Cilium's would be: classic BPF that lets
    /// everything through.
    const ANOTHERS: &str = "tc qdisc add dev eth1 clsact
        tc filter add dev eth1 egress pref 1 handle 7 bpf bytecode '1,6 0 0 0,'";

    fn start() -> TestNode {
        TestNode::start_with(AttachMode::Clsact, "k8s-ctr", 0)
    }

    fn filters(node: &TestNode) -> String {
        node.run("tc filter show dev eth1 ingress; tc filter show dev eth1 egress")
    }

    /// Lines of ours: place, name, and id of the program.
    fn ours(node: &TestNode) -> Vec<String> {
        let lines = filters(node);
        let ours = lines.lines().filter(|line| line.contains("cil_"));
        ours.map(str::to_owned).collect()
    }

    #[test]
    fn programs_are_filters_where_cilium_has_them() {
        let node = start();
        let status = node.apply(&node.state());
        assert_eq!(status.attach_mode, Some(AttachMode::Clsact));
        assert_eq!(node.client().drift().expect("ask"), Vec::<String>::new());
        let ours = ours(&node);
        let place = |program| {
            format!("filter protocol all pref 1 bpf chain 0 handle 0x1 {program} direct-action ")
        };
        assert_eq!(ours.len(), 2, "{ours:#?}");
        assert!(ours[0].starts_with(&place("cil_from_netdev")), "{ours:#?}");
        assert!(ours[1].starts_with(&place("cil_to_netdev")), "{ours:#?}");
        assert_eq!(node.run("ls /sys/fs/bpf/cilium/qdiscs | wc -l"), "5\n");
        node.run_in("default_pod-a", "ping -c 1 -W 2 10.244.0.11");
    }

    #[test]
    fn a_connection_outlives_an_agent_that_attached_filters() {
        outlives_its_agent(TestNode::pair_with(AttachMode::Clsact));
    }

    #[test]
    fn a_new_agents_programs_take_the_old_ones_places() {
        let mut node = start();
        node.apply(&node.state());
        let before = ours(&node);
        node.stop_agent();
        assert_eq!(ours(&node), before, "filters outlive the agent");
        // As one with another object would find it.
        node.run("rm -r /sys/fs/bpf/cilium/programs");
        node.start_agent();
        let after = ours(&node);
        assert_eq!(after.len(), 2, "{after:#?}");
        assert_ne!(after, before, "programs of the new agent");
        assert_eq!(node.client().drift().expect("ask"), Vec::<String>::new());
        let links = node.run("ip -o link; ls /sys/fs/bpf/cilium/qdiscs");
        node.apply(&node.state());
        assert_eq!(ours(&node), after, "applying twice changes nothing");
        assert_eq!(node.run("ip -o link; ls /sys/fs/bpf/cilium/qdiscs"), links);
    }

    #[test]
    fn a_filter_that_somebody_removed_is_told_and_comes_back() {
        let node = start();
        let state = node.state();
        node.apply(&state);
        for (harm, told) in [
            ("tc filter del dev eth1 egress", "cil_to_netdev"),
            ("tc qdisc del dev eth1 clsact", "cil_from_netdev"),
        ] {
            node.run(harm);
            let drift = node.client().drift().expect("ask");
            let told = format!("{told} is not attached to eth1");
            assert!(drift.contains(&told), "after {harm}: {drift:#?}");
            node.apply(&state);
            let drift = node.client().drift().expect("ask");
            assert_eq!(drift, Vec::<String>::new(), "after {harm}");
        }
    }

    #[test]
    fn a_device_that_is_no_longer_managed_is_as_before() {
        let node = start();
        let mut state = node.state();
        let before = node.run("tc qdisc show dev eth1");
        node.apply(&state);
        assert_ne!(node.run("tc qdisc show dev eth1"), before);
        state.datapath.devices.clear();
        node.apply(&state);
        assert_eq!(node.run("tc qdisc show dev eth1"), before);
        assert_eq!(
            node.run("ls /sys/fs/bpf/cilium/qdiscs | wc -l"),
            "4\n",
            "the pods' own, and those of cilium_host and cilium_net"
        );
    }

    #[test]
    fn filters_of_others_stay_and_so_does_their_qdisc() {
        let node = start();
        let mut state = node.state();
        node.run(ANOTHERS);
        let before = filters(&node);
        node.apply(&state);
        let both = filters(&node);
        for line in before.lines() {
            assert!(both.lines().any(|it| it == line), "{line} in {both}");
        }
        let ours = ours(&node);
        assert!(ours[1].contains(" pref 2 "), "behind it: {ours:#?}");
        state.datapath.devices.clear();
        node.apply(&state);
        assert_eq!(filters(&node), before);
        assert!(node.run("tc qdisc show dev eth1").contains("clsact"));
    }

    #[test]
    fn removal_without_an_agent_leaves_only_what_others_have() {
        let mut node = start();
        let state = node.state();
        let qdiscs = "tc qdisc show dev lxc0000000000a0; tc qdisc show dev eth1";
        node.run("tc qdisc add dev eth1 clsact");
        node.apply(&state);
        node.stop_agent();
        node.as_node(|| datapath::remove(Path::new("/sys/fs/bpf")).expect("remove"));
        assert_eq!(filters(&node), "");
        let left = node.run(qdiscs);
        assert_eq!(left.matches("clsact").count(), 1, "{left}");
        assert!(!node.run("ls /sys/fs/bpf").contains("cilium"));
    }

    #[test]
    fn an_interface_made_anew_gets_its_filters() {
        let node = start();
        let state = node.state();
        node.apply(&state);
        node.run("ip link del lxc0000000000a0");
        node.apply(&state);
        node.run_in("default_pod-a", "ping -c 1 -W 2 10.244.0.11");
        assert_eq!(
            node.run("ls /sys/fs/bpf/cilium/qdiscs | wc -l"),
            "5\n",
            "the old one's record is gone"
        );
    }

    #[test]
    fn an_ingress_qdisc_in_the_way_is_told() {
        let node = start();
        node.run("tc qdisc add dev eth1 ingress");
        let state = Box::new(node.state());
        let error = node.client().ask(&Request::Apply { state });
        let error = error.expect_err("no place").to_string();
        assert!(
            error.starts_with("attach cil_from_netdev to eth1: an ingress qdisc is there"),
            "{error}"
        );
        assert_eq!(filters(&node), "");
    }
}
