//! Which packets are measured, through which programs.

use std::net::SocketAddrV4;

use lab_datapath_common::programs::{FROM_CONTAINER, FROM_NETDEV, TO_CONTAINER, TO_NETDEV};
use lab_datapath_common::settings::flag;

use crate::datapath::{Datapath, LXC_MAC, NODE, Outcome, POD, POD_MAC, REMOTE_POD, WORLD};
use crate::frame::{ACK, Packet, SYN, echo_reply, echo_request, tcp, udp};

/// In the range that masquerading gives out: a pod's flow keeps it.
const PORT: u16 = 40000;
/// Long enough that every frame can be restored.
const PAYLOAD: &[u8] = b"a payload of 32 bytes, no less. ";

const fn pod() -> SocketAddrV4 {
    SocketAddrV4::new(POD, PORT)
}

const fn node() -> SocketAddrV4 {
    SocketAddrV4::new(NODE, PORT)
}

const fn world() -> SocketAddrV4 {
    SocketAddrV4::new(WORLD, 53)
}

/// One row of the table.
pub(crate) struct Case {
    pub(crate) program: &'static str,
    pub(crate) name: &'static str,
    pub(crate) frame: Vec<u8>,
    /// What the program must make of it.
    expected: Outcome,
    /// What passed before, through these programs: the flow is an established one.
    before: Vec<(&'static str, Vec<u8>)>,
    /// Whether the stack forwards; otherwise packets go straight into the pod.
    by_the_stack: bool,
}

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        let mut cases = Vec::from(Self::leaving());
        cases.extend(Self::coming_back());
        cases.extend(Self::tracked());
        cases
    }

    /// Packets that leave the node.
    fn leaving() -> [Self; 4] {
        let remote = SocketAddrV4::new(REMOTE_POD, 53);
        let passes = |name, from: Packet, to: &Packet| Self {
            program: TO_NETDEV,
            name,
            frame: from.frame(),
            expected: Outcome::Passed(to.frame()),
            before: vec![],
            by_the_stack: true,
        };
        [
            passes(
                "UDP, masqueraded",
                udp(pod(), world(), PAYLOAD),
                &udp(node(), world(), PAYLOAD),
            ),
            Self {
                before: vec![(TO_NETDEV, tcp(pod(), world(), SYN, b"").frame())],
                ..passes(
                    "TCP established, masqueraded",
                    tcp(pod(), world(), ACK, PAYLOAD),
                    &tcp(node(), world(), ACK, PAYLOAD),
                )
            },
            passes(
                "ICMP echo, masqueraded",
                echo_request(POD, WORLD, PORT, PAYLOAD),
                &echo_request(NODE, WORLD, PORT, PAYLOAD),
            ),
            passes(
                "UDP, pod to pod, left alone",
                udp(pod(), remote, PAYLOAD),
                &udp(pod(), remote, PAYLOAD),
            ),
        ]
    }

    /// Replies, to the stack and straight into the pod.
    fn coming_back() -> Vec<Self> {
        let kinds = [
            (
                udp(pod(), world(), PAYLOAD),
                udp(world(), node(), PAYLOAD),
                udp(world(), pod(), PAYLOAD),
                ["UDP reply, to the stack", "UDP reply, into the pod"],
            ),
            (
                tcp(pod(), world(), SYN, b""),
                tcp(world(), node(), ACK, PAYLOAD),
                tcp(world(), pod(), ACK, PAYLOAD),
                ["TCP reply, to the stack", "TCP reply, into the pod"],
            ),
            (
                echo_request(POD, WORLD, PORT, PAYLOAD),
                echo_reply(WORLD, NODE, PORT, PAYLOAD),
                echo_reply(WORLD, POD, PORT, PAYLOAD),
                [
                    "ICMP echo reply, to the stack",
                    "ICMP echo reply, into the pod",
                ],
            ),
        ];
        let mut cases = Vec::new();
        for (sent, reply, restored, [to_stack, to_pod]) in kinds {
            let into_pod = restored.clone().forwarded().framed(POD_MAC, LXC_MAC);
            for (name, by_the_stack, expected) in [
                (to_stack, true, Outcome::Passed(restored.frame())),
                (to_pod, false, Outcome::Redirected(into_pod)),
            ] {
                cases.push(Self {
                    program: FROM_NETDEV,
                    name,
                    frame: reply.frame(),
                    expected,
                    before: vec![(TO_NETDEV, sent.frame())],
                    by_the_stack,
                });
            }
        }
        cases
    }

    /// What is only tracked: both ends of the pod's veth.
    fn tracked() -> [Self; 2] {
        let (request, reply) = (
            tcp(pod(), world(), ACK, PAYLOAD).frame(),
            tcp(world(), pod(), ACK, PAYLOAD).frame(),
        );
        let opened = vec![(FROM_CONTAINER, tcp(pod(), world(), SYN, b"").frame())];
        [
            Self {
                program: FROM_CONTAINER,
                name: "TCP established, to the stack",
                expected: Outcome::Passed(request.clone()),
                frame: request,
                before: opened.clone(),
                by_the_stack: true,
            },
            Self {
                program: TO_CONTAINER,
                name: "TCP reply",
                expected: Outcome::Passed(reply.clone()),
                frame: reply,
                before: opened,
                by_the_stack: true,
            },
        ]
    }

    /// A datapath that has seen what came before, and does what it should.
    pub(crate) fn prepare(&self) -> Datapath {
        let mut datapath = Datapath::with(|settings| {
            if !self.by_the_stack {
                settings.flags &= !flag::HOST_LEGACY_ROUTING;
            }
        });
        for (program, frame) in &self.before {
            let outcome = datapath.run(program, frame);
            assert_ne!(outcome, Outcome::Dropped, "{}: what came before", self.name);
        }
        let outcome = datapath.run(self.program, &self.frame);
        assert_eq!(outcome, self.expected, "{}", self.name);
        datapath
    }
}
