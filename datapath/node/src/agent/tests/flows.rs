//! Flows of a node, read through the agent's socket, with real packets.

mod as_root {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};

    use crate::agent::tests::node::{TestNode, until};
    use crate::api::{FlowsEnd, FlowsRequest, Request, Response};
    use crate::flows::{Flow, Record};

    const PING: &str = "ping -c 1 -W 2 10.244.0.11";

    /// Everything that the node remembers.
    fn flows(node: &TestNode) -> Vec<Flow> {
        let mut stream = node.client().into_stream();
        let request = Request::Flows(Box::default());
        let mut line = serde_json::to_vec(&request).expect("JSON");
        line.push(b'\n');
        stream.write_all(&line).expect("ask");
        let lines = BufReader::new(stream).lines();
        let mut lines: Vec<_> = lines.map(|line| line.expect("read")).collect();
        let last = lines.pop().expect("a last line");
        let end: FlowsEnd = serde_json::from_str(&last).expect("the end");
        assert!(end.end);
        let records = lines
            .iter()
            .map(|line| serde_json::from_str::<Record>(line).expect("a record"));
        records
            .filter_map(|record| record.flow)
            .map(|it| *it)
            .collect()
    }

    fn requests(node: &TestNode) -> usize {
        let is_request = |flow: &&Flow| {
            flow.summary == "ICMPv4 EchoRequest"
                && flow.source.pod_name == "pod-a"
                && flow.destination.pod_name == "pod-b"
                && flow.is_reply == Some(false)
        };
        flows(node).iter().filter(is_request).count()
    }

    /// What is forwarded while there is no agent waits in the pinned ring buffer.
    #[test]
    fn packets_without_an_agent_are_told_by_the_next_one() {
        let mut node = TestNode::start("k8s-ctr", 0);
        node.apply(&node.state());
        node.run_in("default_pod-a", PING);
        until("a flow", || requests(&node) == 1);
        node.stop_agent();
        // A new identifier each, and so a new flow.
        node.run_in("default_pod-a", PING);
        node.run_in("default_pod-a", PING);
        node.start_agent();
        until("what happened meanwhile", || requests(&node) == 2);
        node.run_in("default_pod-a", PING);
        until("what happens now", || requests(&node) == 3);
    }

    #[test]
    fn who_asks_for_flows_and_reads_nothing_holds_up_nobody() {
        let node = TestNode::start("k8s-ctr", 0);
        let mut state = node.state();
        state.datapath.flows.aggregation = lab_model::node_state::Aggregation::None;
        node.apply(&state);
        let request = Request::Flows(Box::new(FlowsRequest {
            follow: true,
            ..FlowsRequest::default()
        }));
        let mut line = serde_json::to_vec(&request).expect("JSON");
        line.push(b'\n');
        let mut silent = node.client().into_stream();
        silent.write_all(&line).expect("ask");
        // More than a socket's buffers take.
        node.run_in("default_pod-a", "ping -q -f -c 2000 10.244.0.11");
        let seen = || match node.client().ask(&Request::FlowStatus).expect("ask") {
            Response::FlowStatus(status) => status.seen + status.lost,
            other => panic!("{other:?}"),
        };
        until("all packets", || seen() >= 4000);
        assert!(node.client().status().is_ok());
        // It still gets its flows, as many as there are.
        let mut some = [0; 1];
        silent.read_exact(&mut some).expect("a flow");
    }

    #[test]
    fn another_node_gets_flows_on_the_peer_port_and_nothing_else() {
        let node = TestNode::start("k8s-ctr", 0);
        node.apply(&node.state());
        let ask = |question: &'static [u8]| {
            node.inside(move || {
                let mut peer = std::net::TcpStream::connect(("192.168.10.100", crate::flows::PORT))
                    .expect("connect");
                peer.write_all(question).expect("ask");
                let mut answer = String::new();
                BufReader::new(peer).read_line(&mut answer).expect("read");
                answer
            })
        };
        let status = ask(b"{\"request\":\"flow-status\"}\n");
        assert!(status.contains("\"node\":\"k8s-ctr\""), "{status}");
        for question in [
            &b"{\"request\":\"status\"}\n"[..],
            b"{\"request\":\"drift\"}\n",
            b"nonsense\n",
        ] {
            let refused = ask(question);
            assert!(refused.starts_with("{\"response\":\"failed\""), "{refused}");
        }
    }
}
