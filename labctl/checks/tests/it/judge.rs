//! Verdicts and their evidence, on captures of the study's own scene.

use lab_checks::check_file::{self, Check, TcpOutcome};
use lab_checks::judge::{
    Captured, CheckReport, Progress, StepOutcome, TwinVerdict, Verdict, judge, judge_twin,
};
use lab_checks::packet::Capture;

use crate::lab;
use crate::traffic::{self, Ip, NODE, POD, ROUTER, echo};

const CHECK: &str = r#"
suite: masquerade
checks:
  - name: pod-to-router
    why: it leaves the cluster
    capture:
      pod: {on: curl-pod, filter: icmp}
      node: {on: k8s-ctr, interface: eth1, filter: icmp}
      router: {on: router, interface: eth1, filter: icmp}
    run:
      - ping: {from: curl-pod, to: "{{ node('router').address }}"}
    expect:
      - {at: pod, count: 3, where: "icmp.type == 8 && ip.src == {{ pod('curl-pod').ip }}"}
      - {at: node, count: 3, where: "icmp.type == 8 && ip.src == {{ node('k8s-ctr').address }}"}
      - {at: router, count: 0, where: "ip.addr == {{ pod('curl-pod').ip }}"}
      - {at: router, count: {min: 1, max: 3}, where: "icmp.type == 8 && ip.src == {{ node('k8s-ctr').address }}"}
      - {at: pod, count: {max: 3}, where: "icmp.type == 0"}
"#;

fn check() -> Check {
    let suite = check_file::parse("one.yaml", CHECK).unwrap_or_else(|faults| panic!("{faults}"));
    suite.checks[0]
        .render(&lab::study())
        .expect("the lab has it all")
}

fn requests(from: [u8; 4], ident: u16) -> Vec<Vec<u8>> {
    (1..=3)
        .map(|seq| {
            Ip {
                id: 100 + seq,
                ..Ip::new(from, ROUTER, 1)
            }
            .frame(&echo(8, ident, seq))
        })
        .collect()
}

fn captured(frames: &[Vec<u8>]) -> Captured {
    let capture = Capture::read(&traffic::pcap(frames)).expect("a whole capture");
    Captured {
        capture,
        dropped: 0,
        broken: None,
    }
}

fn pinged(received: u32) -> StepOutcome {
    StepOutcome::Command {
        exit: Some(i32::from(received == 0)),
        stdout: format!(
            "PING 192.168.10.200 (192.168.10.200) 56(84) bytes of data.\n\n--- 192.168.10.200 ping statistics ---\n\
             3 packets transmitted, {received} received, 0% packet loss, time 100ms\n"
        ),
        stderr: String::new(),
    }
}

#[track_caller]
fn evidence(verdict: Verdict) -> String {
    match verdict {
        Verdict::Failed { evidence } => evidence.to_string(),
        other => panic!("{other:?} is no failure"),
    }
}

#[track_caller]
fn reason(verdict: Verdict) -> String {
    match verdict {
        Verdict::Error { reason } => reason,
        other => panic!("{other:?} is no error"),
    }
}

#[test]
fn translated_pings_pass() {
    let captures = [
        captured(&requests(POD, 7)),
        captured(&requests(NODE, 9)),
        captured(&requests(NODE, 9)),
    ];
    assert_eq!(judge(&check(), &[pinged(3)], &captures), Verdict::Passed);
}

#[test]
fn untranslated_pings_fail_at_the_first_hop_that_should_have_translated() {
    let captures = [
        captured(&requests(POD, 7)),
        captured(&requests(POD, 7)),
        captured(&requests(POD, 7)),
    ];
    assert_eq!(
        evidence(judge(&check(), &[pinged(0)], &captures)),
        "\
first wrong hop: node (k8s-ctr eth1)
step 1: curl-pod: ping -c 3 192.168.10.200
  expected 3 of 3 replies
  observed 0 replies
at node (k8s-ctr eth1): expected 3 packets, 0 of 3 matched
  where icmp.type == 8 && ip.src == 192.168.10.100
  3 packets match but for `ip.src == 192.168.10.100`: ip.src is 10.244.0.5; the same as at `pod`: not rewritten on the way
  09:15:15.000000 IP 10.244.0.5 > 192.168.10.200: ICMP echo request, id 7, seq 1, length 64
  09:15:16.000017 IP 10.244.0.5 > 192.168.10.200: ICMP echo request, id 7, seq 2, length 64
  09:15:17.000034 IP 10.244.0.5 > 192.168.10.200: ICMP echo request, id 7, seq 3, length 64
at router (router eth1): expected no packet, 3 of 3 matched
  where ip.addr == 10.244.0.5
  the packet is as it was at `node`: not rewritten on the way
  09:15:15.000000 IP 10.244.0.5 > 192.168.10.200: ICMP echo request, id 7, seq 1, length 64
  09:15:16.000017 IP 10.244.0.5 > 192.168.10.200: ICMP echo request, id 7, seq 2, length 64
  09:15:17.000034 IP 10.244.0.5 > 192.168.10.200: ICMP echo request, id 7, seq 3, length 64
at router (router eth1): expected 1 to 3 packets, 0 of 3 matched
  where icmp.type == 8 && ip.src == 192.168.10.100
  3 packets match but for `ip.src == 192.168.10.100`: ip.src is 10.244.0.5; the same as at `node`: not rewritten on the way
  09:15:15.000000 IP 10.244.0.5 > 192.168.10.200: ICMP echo request, id 7, seq 1, length 64
  09:15:16.000017 IP 10.244.0.5 > 192.168.10.200: ICMP echo request, id 7, seq 2, length 64
  09:15:17.000034 IP 10.244.0.5 > 192.168.10.200: ICMP echo request, id 7, seq 3, length 64"
    );
}

#[test]
fn a_wrong_translation_is_told_from_none() {
    let wrong = [192, 168, 10, 101];
    let captures = [
        captured(&requests(POD, 7)),
        captured(&requests(wrong, 9)),
        captured(&requests(NODE, 9)),
    ];
    let told = evidence(judge(&check(), &[pinged(3)], &captures));
    assert!(
        told.contains("ip.src is 192.168.10.101; at `pod` it is 10.244.0.5: rewritten on the way"),
        "{told}"
    );
}

#[test]
fn packets_that_do_not_arrive_are_traced_to_where_they_were_last_seen() {
    let captures = [captured(&requests(POD, 7)), captured(&[]), captured(&[])];
    let told = evidence(judge(&check(), &[pinged(0)], &captures));
    assert!(
        told.starts_with("first wrong hop: node (k8s-ctr eth1)\n"),
        "{told}"
    );
    assert!(
        told.contains(
            "no packet that matches `icmp` came here; the last place that saw any is `pod`"
        ),
        "{told}"
    );
}

#[test]
fn many_packets_are_shown_in_part() {
    let many: Vec<Vec<u8>> = (0..4).flat_map(|_| requests(POD, 7)).collect();
    let captures = [
        captured(&many),
        captured(&requests(NODE, 9)),
        captured(&requests(NODE, 9)),
    ];
    let told = evidence(judge(&check(), &[pinged(3)], &captures));
    assert!(
        told.contains("expected 3 packets, 12 of 12 matched"),
        "{told}"
    );
    assert!(told.ends_with("\n  … and 6 more"), "{told}");
}

#[test]
fn a_harness_that_cannot_tell_is_an_error() {
    let good = || {
        [
            captured(&requests(POD, 7)),
            captured(&requests(NODE, 9)),
            captured(&requests(NODE, 9)),
        ]
    };
    let with = |change: fn(&mut Captured)| {
        let mut captures = good();
        change(&mut captures[1]);
        reason(judge(&check(), &[pinged(3)], &captures))
    };
    assert_eq!(
        with(|captured| captured.dropped = 2),
        "capture `node` (k8s-ctr eth1): the kernel dropped 2 packets before tcpdump read them"
    );
    assert_eq!(
        with(|captured| captured.broken = Some("tcpdump: eth1: No such device exists".to_owned())),
        "capture `node` (k8s-ctr eth1): tcpdump: eth1: No such device exists"
    );
    let cut = with(|captured| {
        captured
            .capture
            .push(&[0; 5])
            .expect("five bytes are part of a record");
    });
    assert_eq!(
        cut,
        "capture `node` (k8s-ctr eth1): failed to read the capture to its end: 5 bytes after packet 3 are an unfinished record"
    );
    let impossible = StepOutcome::Impossible("pod is gone".to_owned());
    assert_eq!(
        reason(judge(&check(), &[impossible], &good())),
        "step 1 (curl-pod: ping -c 3 192.168.10.200): pod is gone"
    );
    assert_eq!(
        reason(judge(&check(), &[], &good())),
        "0 of 1 steps and 3 of 3 captures were reported"
    );
    let mute = StepOutcome::Command {
        exit: Some(2),
        stdout: String::new(),
        stderr: "ping: bad".to_owned(),
    };
    assert!(
        reason(judge(&check(), &[mute], &good()))
            .ends_with("ping printed no statistics (exit code 2): ping: bad")
    );
}

/// A capture that never saw a packet may be the wrong interface: its silence is no evidence.
#[test]
fn absence_alone_proves_nothing() {
    let text = "suite: one\nchecks:\n  - name: silence\n    why: nothing goes there\n    \
        capture: {wire: {on: k8s-ctr, interface: eth1}}\n    run: [tcp: {from: curl-pod, to: 10.10.1.200, port: 80}]\n    \
        expect: [{at: wire, count: 0, where: tcp}]\n";
    let suite = check_file::parse("one.yaml", text).unwrap_or_else(|faults| panic!("{faults}"));
    let check = suite.checks[0]
        .render(&lab::study())
        .expect("the lab has it all");
    let connected = [StepOutcome::Tcp(TcpOutcome::Connected)];
    let told = reason(judge(&check, &connected, &[captured(&[])]));
    assert!(
        told.starts_with("absence at capture `wire` (k8s-ctr eth1) proves nothing"),
        "{told}"
    );
    // Other packets show that the capture works.
    assert_eq!(
        judge(&check, &connected, &[captured(&requests(POD, 7))]),
        Verdict::Passed
    );
    // A step that failed is a failure, whatever the captures prove.
    let refused = [StepOutcome::Tcp(TcpOutcome::Refused)];
    let told = evidence(judge(&check, &refused, &[captured(&[])]));
    assert_eq!(
        told,
        "step 1: curl-pod: connect to 10.10.1.200:80\n  expected connected\n  observed refused"
    );
}

#[test]
fn waiting_ends_when_all_packets_are_in() {
    let check = check();
    let mut progress = Progress::new();
    let (pod, node) = (
        traffic::pcap(&requests(POD, 7)),
        traffic::pcap(&requests(NODE, 9)),
    );
    let mut captures = [Capture::new(), Capture::new(), Capture::new()];
    let mut satisfied =
        |captures: &[Capture; 3]| progress.satisfied(&check, &captures.each_ref()[..]);
    assert!(!satisfied(&captures));
    captures[0].push(&pod).expect("a capture");
    captures[1]
        .push(&node[..node.len() - 1])
        .expect("a capture");
    captures[2].push(&node).expect("a capture");
    assert!(
        !satisfied(&captures),
        "the node's third packet is not in yet"
    );
    captures[1]
        .push(&node[node.len() - 1..])
        .expect("a capture");
    assert!(satisfied(&captures));
    assert!(satisfied(&captures), "packets are counted once");
}

#[test]
fn only_a_failure_makes_a_twin_red() {
    let captures = [
        captured(&requests(POD, 7)),
        captured(&requests(POD, 7)),
        captured(&requests(POD, 7)),
    ];
    assert!(judge_twin(judge(&check(), &[pinged(0)], &captures)).is_red());
    assert_eq!(judge_twin(Verdict::Passed), TwinVerdict::StayedGreen);
    let error = Verdict::Error {
        reason: "no tcpdump".to_owned(),
    };
    assert_eq!(
        judge_twin(error),
        TwinVerdict::Inconclusive {
            reason: "no tcpdump".to_owned()
        }
    );
}

/// The shape that `labctl check -o json` prints, as docs/checks.md has it.
#[test]
fn reports_are_flat_json() {
    let report = CheckReport {
        suite: "masquerade".to_owned(),
        check: "pod-to-router".to_owned(),
        why: "it leaves the cluster".to_owned(),
        verdict: Verdict::NotRun,
        seconds: 0.5,
        twin: Some(TwinVerdict::StayedGreen),
    };
    let json = serde_json::to_value(&report).expect("a report is JSON");
    assert_eq!(
        json,
        serde_json::json!({
            "suite": "masquerade", "check": "pod-to-router", "why": "it leaves the cluster",
            "verdict": "not-run", "seconds": 0.5, "twin": {"verdict": "stayed-green"},
        })
    );
    assert_eq!(
        serde_json::from_value::<CheckReport>(json).expect("it is read back"),
        report
    );
}

/// A reply that never comes is missing at the first capture of all, which is not where it went
/// wrong: expectations follow the packet there and back.
#[test]
fn the_first_wrong_hop_is_not_where_the_reply_is_missed() {
    let text = CHECK.replace(
        "count: {max: 3}, where: \"icmp.type == 0",
        "count: 3, where: \"icmp.type == 0",
    );
    let suite = check_file::parse("one.yaml", &text).unwrap_or_else(|faults| panic!("{faults}"));
    let check = suite.checks[0]
        .render(&lab::study())
        .expect("the lab has it all");
    let captures = [
        captured(&requests(POD, 7)),
        captured(&requests(POD, 7)),
        captured(&requests(POD, 7)),
    ];
    let told = evidence(judge(&check, &[pinged(0)], &captures));
    assert!(
        told.starts_with("first wrong hop: node (k8s-ctr eth1)\n"),
        "{told}"
    );
    assert!(
        told.contains(
            "at pod (curl-pod eth0): expected 3 packets, 0 of 3 matched\n  where icmp.type == 0"
        ),
        "{told}"
    );
}
