//! Two nodes that are candidates for one address, on one wire.

use std::net::Ipv4Addr;

use lab_model::node_state::{Announcement, NodeState};

use super::node::TestNode;

const ANNOUNCED: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 211);

/// Both documents: k8s-ctr comes first.
fn documents(one: &TestNode, two: &TestNode) -> [NodeState; 2] {
    let (mut first, mut second) = (one.state(), two.state());
    first.peers.push(one.peer("k8s-w1", 1));
    second.peers.push(two.peer("k8s-ctr", 0));
    for state in [&mut first, &mut second] {
        state.announcements.push(Announcement {
            address: ANNOUNCED,
            service: "default/webpod".into(),
            interfaces: vec!["eth1".into()],
            candidates: vec!["k8s-ctr".into(), "k8s-w1".into()],
        });
    }
    [first, second]
}

mod as_root {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::agent::tests::node::until;

    /// The MAC address that a node learns for the announced address from its neighbours.
    fn asks(node: &TestNode) -> Option<String> {
        let learned = node.run(&format!(
            "ip neigh flush dev eth1; ping -c 1 -W 0.3 {ANNOUNCED} >/dev/null 2>&1; \
             ip neigh show {ANNOUNCED} dev eth1"
        ));
        let mut words = learned.split_whitespace();
        words.find(|word| *word == "lladdr")?;
        words.next().map(str::to_owned)
    }

    fn mac(node: &TestNode) -> Option<String> {
        Some(
            node.run("cat /sys/class/net/eth1/address")
                .trim()
                .to_owned(),
        )
    }

    #[test]
    fn the_first_candidate_answers_and_the_second_does_not() {
        let (one, two) = TestNode::pair();
        let [first, second] = documents(&one, &two);
        one.apply(&first);
        two.apply(&second);
        until("an answer", || asks(&two) == mac(&one));
        assert_eq!(asks(&one), None, "the second is silent");
        // No longer announced: no longer answered.
        one.apply(&NodeState {
            announcements: Vec::new(),
            ..first
        });
        until("silence", || asks(&two).is_none());
    }

    /// An agent that ends without a word, as by SIGKILL: nothing it left answers past the
    /// deadline, and the next candidate answers within five seconds, unasked first.
    #[test]
    fn the_next_candidate_takes_over_within_five_seconds_and_gives_up_again() {
        let (mut one, two) = TestNode::pair();
        let [first, second] = documents(&one, &two);
        one.apply(&first);
        two.apply(&second);
        until("an answer", || asks(&two).is_some());
        let capture = "tcpdump -i eth1 -n --immediate-mode -l arp and host 192.168.10.211 \
             >/run/labctl/arp.txt 2>/run/labctl/tcpdump.log & \
             echo $! >/run/labctl/tcpdump.pid; \
             for i in $(seq 1000); do \
               grep -q listening /run/labctl/tcpdump.log && exit 0; sleep 0.01; \
             done; exit 1";
        one.run(capture);
        one.stop_agent();
        let died = Instant::now();
        let announced = format!("Request who-has {ANNOUNCED} tell {ANNOUNCED}");
        until("a gratuitous ARP", || {
            one.run("cat /run/labctl/arp.txt").contains(&announced)
        });
        until("the second's answer", || asks(&one) == mac(&two));
        let took = died.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(asks(&two), None, "the first is silent past its deadline");
        one.run("kill $(cat /run/labctl/tcpdump.pid)");
        one.start_agent();
        until("the first again", || asks(&two) == mac(&one));
        until("the second's silence", || asks(&one).is_none());
    }
}
