//! The printer against lines of the original (reference, §4); flags against flows.

use chrono::{DateTime, Utc};
use clap::Parser as _;

use super::arguments::{Arguments, Command, ObserveArguments, Output, TimeFormat, mark_negated};
use super::merge::{Sent, merged};
use super::observe::request;
use super::printer::Printer;
use super::status;
use crate::api::FlowStatus;
use crate::flows::{
    Endpoint, EventType, Flow, Icmp, Ip, Layer4, Ports, Record, Tcp, TcpFlags, Verdict,
};

fn at(time: &str) -> DateTime<Utc> {
    time.parse().expect("a time")
}

fn pod(name: &str, identity: u32) -> Endpoint {
    Endpoint {
        identity,
        namespace: "default".to_owned(),
        pod_name: name.to_owned(),
        labels: vec!["k8s:app=curl".to_owned()],
        ..Endpoint::default()
    }
}

fn reserved(identity: u32) -> Endpoint {
    Endpoint {
        identity,
        ..Endpoint::default()
    }
}

fn tcp(source_port: u16, destination_port: u16, flags: &[&str]) -> Layer4 {
    Layer4::Tcp(Tcp {
        source_port,
        destination_port,
        flags: TcpFlags::named(flags.iter().copied()).filter(|_| !flags.is_empty()),
    })
}

/// A flow from 10.244.0.5 to 10.96.54.60.
fn flow(event: (u8, u8), ends: [Endpoint; 2], l4: Layer4, summary: &str) -> Record {
    let time = at("2026-08-09T22:59:32.196432Z");
    let [source, destination] = ends;
    let flow = Flow {
        time,
        verdict: match event {
            (1, _) => Verdict::Dropped,
            (7, 1 | 3) => Verdict::Traced,
            (7, _) => Verdict::Translated,
            _ => Verdict::Forwarded,
        },
        drop_reason: None,
        ethernet: None,
        ip: Some(Ip {
            source: [10, 244, 0, 5].into(),
            source_xlated: None,
            destination: [10, 96, 54, 60].into(),
            version: "IPv4".to_owned(),
        }),
        l4: Some(l4),
        source,
        destination,
        kind: "L3_L4".to_owned(),
        node_name: "k8s-ctr".to_owned(),
        event_type: EventType {
            kind: event.0,
            sub_type: event.1,
        },
        source_service: None,
        destination_service: None,
        traffic_direction: None,
        trace_observation_point: None,
        trace_reason: None,
        drop_reason_desc: None,
        is_reply: (event.0 == 4).then_some(false),
        interface: None,
        sock_xlate_point: None,
        socket_cookie: None,
        cgroup_id: None,
        summary: summary.to_owned(),
    };
    Record {
        flow: Some(Box::new(flow)),
        lost_events: None,
        node_name: "k8s-ctr".to_owned(),
        time,
    }
}

fn with(mut record: Record, change: impl FnOnce(&mut Flow)) -> Record {
    change(record.flow.as_mut().expect("a flow"));
    record
}

fn printer(output: Output) -> Printer {
    Printer {
        output,
        time_format: TimeFormat::StampMilli,
        node_name: false,
        numeric: false,
    }
}

fn compact(record: &Record) -> String {
    printer(Output::Compact).flow(record, 0)
}

fn curl_to_webpod(flags: &[&str]) -> Record {
    let ends = [pod("curl-pod", 31109), pod("webpod-697b545f57-9lpt4", 9214)];
    let summary = format!("TCP Flags: {}", flags.join(", "));
    flow((4, 11), ends, tcp(39306, 80, flags), &summary)
}

#[test]
fn a_socket_before_and_after_translation() {
    let ends = [pod("curl-pod", 31109), reserved(2)];
    let before = flow((7, 1), ends, tcp(0, 80, &[]), "TCP");
    assert_eq!(
        compact(&before),
        "Aug  9 22:59:32.196: default/curl-pod (ID:31109) <> 10.96.54.60:80 (world) \
         pre-xlate-fwd TRACED (TCP)\n"
    );
    let ends = [pod("curl-pod", 31109), pod("webpod-697b545f57-9lpt4", 9214)];
    let after = flow((7, 2), ends, tcp(0, 80, &[]), "TCP");
    assert_eq!(
        compact(&after),
        "Aug  9 22:59:32.196: default/curl-pod (ID:31109) <> \
         default/webpod-697b545f57-9lpt4:80 (ID:9214) post-xlate-fwd TRANSLATED (TCP)\n"
    );
    let udp = Layer4::Udp(Ports {
        source_port: 53,
        destination_port: 0,
    });
    let back = flow((7, 4), [reserved(2), pod("curl-pod", 12091)], udp, "UDP");
    let back = with(back, |flow| {
        flow.ip.as_mut().expect("addresses").source = [10, 96, 0, 10].into();
    });
    assert_eq!(
        compact(&back),
        "Aug  9 22:59:32.196: 10.96.0.10:53 (world) <> default/curl-pod (ID:12091) \
         post-xlate-rev TRANSLATED (UDP)\n"
    );
}

#[test]
fn requests_point_right_and_replies_left_with_the_client_on_the_left() {
    assert_eq!(
        compact(&curl_to_webpod(&["SYN"])),
        "Aug  9 22:59:32.196: default/curl-pod:39306 (ID:31109) -> \
         default/webpod-697b545f57-9lpt4:80 (ID:9214) to-network FORWARDED (TCP Flags: SYN)\n"
    );
    let ends = [pod("webpod-697b545f57-smfjd", 7945), pod("curl-pod", 17401)];
    let flags = ["SYN", "ACK"];
    let reply = flow((4, 0), ends, tcp(80, 56560, &flags), "TCP Flags: SYN, ACK");
    let reply = with(reply, |flow| flow.is_reply = Some(true));
    assert_eq!(
        compact(&reply),
        "Aug  9 22:59:32.196: default/curl-pod:56560 (ID:17401) <- \
         default/webpod-697b545f57-smfjd:80 (ID:7945) to-endpoint FORWARDED (TCP Flags: SYN, ACK)\n"
    );
}

#[test]
fn pings_have_no_ports_and_drops_say_why() {
    let ends = [
        pod("curl-pod", 15584),
        pod("webpod-857687f8b6-wdxhq", 46396),
    ];
    let echo = Layer4::Icmp(Icmp { kind: 8, code: 0 });
    let ping = flow((4, 11), ends, echo, "ICMPv4 EchoRequest");
    assert_eq!(
        compact(&ping),
        "Aug  9 22:59:32.196: default/curl-pod (ID:15584) -> \
         default/webpod-857687f8b6-wdxhq (ID:46396) to-network FORWARDED (ICMPv4 EchoRequest)\n"
    );
    let drop = flow((1, 175), [reserved(6), reserved(1)], tcp(0, 0, &[]), "IPv4");
    assert_eq!(
        compact(&drop),
        "Aug  9 22:59:32.196: 10.244.0.5 (remote-node) <> 10.96.54.60 (host) \
         First logical datagram fragment not found DROPPED (IPv4)\n"
    );
}

#[test]
fn dict_and_table_leave_identities_out() {
    let record = curl_to_webpod(&["SYN"]);
    let block = "  TIMESTAMP: Aug  9 22:59:32.196\n     SOURCE: default/curl-pod:39306\n\
                 DESTINATION: default/webpod-697b545f57-9lpt4:80\n       TYPE: to-network\n    \
                 VERDICT: FORWARDED\n    SUMMARY: TCP Flags: SYN\n";
    let dict = printer(Output::Dict);
    assert_eq!(dict.flow(&record, 0), block);
    assert_eq!(dict.flow(&record, 1), format!("------------\n{block}"));
    assert_eq!(
        printer(Output::Table).table(&[&record]),
        "TIMESTAMP             SOURCE                   DESTINATION                          \
         TYPE         VERDICT     SUMMARY\n\
         Aug  9 22:59:32.196   default/curl-pod:39306   default/webpod-697b545f57-9lpt4:80   \
         to-network   FORWARDED   TCP Flags: SYN\n"
    );
}

#[test]
fn names_of_nodes_numbers_for_names_and_other_clocks() {
    let record = curl_to_webpod(&["ACK", "FIN"]);
    let printer = Printer {
        output: Output::Compact,
        time_format: TimeFormat::Rfc3339Milli,
        node_name: true,
        numeric: true,
    };
    assert_eq!(
        printer.flow(&record, 0),
        "2026-08-09T22:59:32.196Z [k8s-ctr]: 10.244.0.5:39306 (ID:31109) -> 10.96.54.60:80 \
         (ID:9214) to-network FORWARDED (TCP Flags: ACK, FIN)\n"
    );
}

#[test]
fn json_reads_back_as_what_it_was() {
    let record = curl_to_webpod(&["ACK", "PSH"]);
    let line = printer(Output::Json).flow(&record, 0);
    assert_eq!(serde_json::from_str::<Record>(&line).expect("JSON"), record);
    let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let flow = &value["flow"];
    assert_eq!(flow["l4"]["TCP"]["flags"]["PSH"], true);
    assert_eq!(flow["IP"]["source"], "10.244.0.5");
    assert_eq!(flow["source"]["pod_name"], "curl-pod");
    assert_eq!(flow["event_type"]["sub_type"], 11);
}

#[test]
fn status_has_the_originals_lines() {
    let of = |node: &str, flows, rate| {
        let status = FlowStatus {
            node: node.to_owned(),
            flows,
            capacity: 4095,
            seen: flows,
            lost: 0,
            rate,
            uptime: 3723,
        };
        (node.to_owned(), Some(status))
    };
    let mut nodes = vec![of("a", 4095, 30.0), of("b", 4095, 8.0)];
    assert_eq!(
        status::status("localhost:4245", &nodes),
        "Healthcheck (via localhost:4245): Ok\nCurrent/Max Flows: 8,190/8,190 (100.00%)\n\
         Flows/s: 38.00\nConnected Nodes: 2/2\n"
    );
    nodes.push(("c".to_owned(), None));
    let text = status::status("localhost:4245", &nodes);
    assert!(
        text.ends_with("Connected Nodes: 2/3\nUnavailable Nodes: 1\n  - c\n"),
        "{text}"
    );
    assert_eq!(
        status::nodes(&nodes),
        "NAME   STATUS        AGE      FLOWS/S   CURRENT/MAX-FLOWS\n\
         a      Connected     1h2m3s   30.00     4095/4095 (100.00%)\n\
         b      Connected     1h2m3s   8.00      4095/4095 (100.00%)\n\
         c      Unavailable   N/A      N/A       N/A\n"
    );
}

fn observe(line: &str) -> Result<ObserveArguments, clap::Error> {
    let words = ["hubble", "observe"]
        .into_iter()
        .chain(line.split_whitespace());
    let arguments = Arguments::try_parse_from(mark_negated(words.map(Into::into)))?;
    match arguments.command {
        Command::Observe(observe) => Ok(*observe),
        other => panic!("{other:?}"),
    }
}

/// Whether `hubble observe LINE` shows the record.
#[track_caller]
fn shows(line: &str, record: &Record) -> bool {
    let arguments = observe(line).expect("a command line");
    let request = request(&arguments, at("2026-08-10T00:00:00Z")).expect("values");
    let flow = record.flow.as_ref().expect("a flow");
    request.filter.matches(flow)
}

#[test]
fn values_of_one_flag_are_alternatives_and_flags_add_up() {
    let syn = curl_to_webpod(&["SYN"]);
    for line in [
        "",
        "--pod curl",
        "--pod default/webpod",
        "--pod default/",
        "--from-pod curl-pod --to-pod webpod",
        "--pod nobody --pod curl-pod",
        "--ip 10.244.0.0/16 --to-ip 10.96.54.60",
        "--port 80 --from-port 39306 --protocol tcp",
        "-n default --identity 9214 --from-identity 31109",
        "--label app=curl --from-label k8s:app --to-label app",
        "-t trace:to-network --verdict forwarded",
        "-t drop -t trace",
        "--tcp-flags SYN",
        "--not --verdict DROPPED --node-name k8s",
        "--not --port=53",
    ] {
        assert!(shows(line, &syn), "{line}");
    }
    for line in [
        "--pod pod",
        "--pod kube-system/curl",
        "--from-pod webpod",
        "--pod curl-pod --port 81",
        "--ip 10.0.0.0/16",
        "--from-port 80",
        "--protocol udp",
        "--identity world",
        "--label app=cu",
        "-t trace:to-endpoint",
        "-t trace-sock",
        "--tcp-flags SYN,ACK",
        "--verdict DROPPED",
        "--not --pod curl-pod",
        "--pod curl-pod --not --to-ip=10.96.54.60",
        "--fqdn example.com",
        "--snat-ip 192.168.10.100",
        "--service webpod",
    ] {
        assert!(!shows(line, &syn), "{line}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    for line in [
        "--last 1 --first 1",
        "--last 1 --all",
        "--first 1 --all",
        "--first 1 -f",
        "--from-file x -f",
        "--last many",
        "--not",
    ] {
        let refused = observe(line).is_err();
        // A lone `--not` is a flag of its own to clap, and about nothing.
        assert!(refused || line == "--not", "{line}");
    }
    for line in [
        "--ip 10.0.0",
        "--port 70000",
        "--verdict MAYBE",
        "--type nothing",
        "--type trace:nowhere",
        "--tcp-flags SIN",
        "--identity somebody",
        "--since yesterday",
        "--protocol smoke",
    ] {
        let arguments = observe(line).expect("only the value is wrong");
        assert!(
            request(&arguments, at("2026-08-10T00:00:00Z")).is_err(),
            "{line}"
        );
    }
}

#[test]
fn how_many_and_since_when() {
    let now = at("2026-08-10T12:00:00Z");
    let asked = |line| request(&observe(line).expect("a command line"), now).expect("values");
    assert_eq!(asked("").number, Some(20));
    assert_eq!(asked("-f").number, Some(0));
    assert_eq!(asked("--all").number, None);
    assert_eq!(asked("--since 1h").number, None);
    assert_eq!(asked("--last 3 -f").number, Some(3));
    assert!(asked("--first 3").first);
    assert_eq!(
        asked("--since 1h30m").since,
        Some(at("2026-08-10T10:30:00Z"))
    );
    assert_eq!(
        asked("--until 1.5s").until,
        Some(at("2026-08-10T11:59:58.5Z"))
    );
    let date = asked("--since 2026-08-09 --until 2026-08-09T10:00:00+02:00");
    assert_eq!(date.since, Some(at("2026-08-09T00:00:00Z")));
    assert_eq!(date.until, Some(at("2026-08-09T08:00:00Z")));
}

#[test]
fn nodes_are_merged_by_time_and_each_stays_in_its_order() {
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Sent>(16);
    let seen = |node: usize, millis: i64| {
        let mut record = curl_to_webpod(&["ACK"]);
        record.time += chrono::TimeDelta::milliseconds(millis);
        (node, Some(record))
    };
    for sent in [
        seen(1, 2),
        seen(1, 4),
        (1, None),
        seen(0, 1),
        seen(0, 3),
        (0, None),
    ] {
        sender.send(sent).expect("room");
    }
    let start = curl_to_webpod(&["ACK"]).time;
    let order: Vec<_> = merged(2, receiver, None)
        .map(|record| (record.time - start).num_milliseconds())
        .collect();
    assert_eq!(order, [1, 2, 3, 4]);
}
