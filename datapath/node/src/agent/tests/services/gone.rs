//! Sockets of a backend that is gone.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server in a pod that answers a client's first datagram at once. Of the second it
/// tells, and answers when it is released.
fn slow_udp_server(node: &TestNode, pod: &'static str, port: u16) -> (Receiver<()>, Sender<()>) {
    let socket = node.inside_pod(&format!("default_{pod}"), || {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("free")
    });
    let (asked, asks) = channel();
    let (release, released) = channel();
    thread::spawn(move || {
        let (mut known, mut waiting) = (Vec::new(), Vec::new());
        let mut buffer = [0; 64];
        while waiting.len() < 3 {
            let Ok((_, from)) = socket.recv_from(&mut buffer) else {
                return;
            };
            if known.contains(&from) {
                waiting.push(from);
                let _ = asked.send(());
            } else {
                known.push(from);
                let _ = socket.send_to(pod.as_bytes(), from);
            }
        }
        let _ = released.recv();
        for from in waiting {
            let _ = socket.send_to(pod.as_bytes(), from);
        }
    });
    (asks, release)
}

mod as_root {
    use super::*;

    #[test]
    fn case_48096_a_connected_udp_socket_does_not_stay_with_a_backend_that_is_gone() {
        let node = TestNode::start("k8s-ctr", 0);
        let web = |pod, address| service(Protocol::Udp, vec![backend(pod, address, 8080)]);
        node.apply(&with(node.state(), &[web("pod-b", POD_B)]));
        let (asks, release) = slow_udp_server(&node, "pod-b", 8080);
        let clients = [
            ("udp-connected-twice", at(CLUSTER_IP, 80)),
            ("udp-twice", at(CLUSTER_IP, 80)),
            ("udp-connected-twice", at(POD_B, 8080)),
        ];
        let answers = thread::scope(|scope| {
            let node = &node;
            let clients = clients.map(|(call, to)| scope.spawn(move || from_pod(node, call, to)));
            for _ in 0..clients.len() {
                asks.recv_timeout(PATIENCE).expect("each client asks twice");
            }
            node.apply(&with(node.state(), &[web("pod-a", POD_A)]));
            release.send(()).expect("the server waits");
            clients.map(|client| client.join().expect("no panic"))
        });
        let [connected, free, direct] = answers;
        assert_eq!(connected, "error 103", "ECONNABORTED");
        assert!(free.ends_with(" pod-b"), "cilium#48564: {free}");
        assert_eq!(direct, "10.244.0.11:8080 pod-b");
    }
}
