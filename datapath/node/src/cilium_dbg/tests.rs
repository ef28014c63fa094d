use std::net::Ipv4Addr;
use std::path::Path;

use lab_datapath_common::service::{flag, flag2, scope};
use lab_model::node_state::{
    DatapathSettings, DnsPolicy, IpMasqAgent, Masquerade, NODE_STATE_VERSION, NodeIdentity,
    NodeState, Pod, PodDns, Protocol, Routing, TunnelProtocol, Workload,
};

use super::*;
use crate::api::{
    AttachMode, CtRecord, DeviceStatus, FlowKey, GarbageCollectionStatus, IpMasqAgentStatus,
    MetricRecord, NatRecord, PodStatus, ServiceRecord, Status,
};

fn state() -> NodeState {
    NodeState {
        version: NODE_STATE_VERSION,
        lab: "study".into(),
        node: NodeIdentity {
            name: "k8s-ctr".into(),
            address: Ipv4Addr::new(192, 168, 10, 100),
            pod_cidr: "10.244.0.0/24".parse().expect("legal"),
            cilium_host: Ipv4Addr::new(10, 244, 0, 12),
            control_plane: true,
        },
        peers: Vec::new(),
        pods: vec![Pod {
            namespace: "default".into(),
            name: "curl-pod".into(),
            hostname: None,
            subdomain: None,
            address: Ipv4Addr::new(10, 244, 0, 27),
            interface: "lxcd63c3c1415ff".into(),
            endpoint_id: 318,
            identity: 5580,
            labels: vec![
                "k8s:app=curl".into(),
                "k8s:io.kubernetes.pod.namespace=default".into(),
            ],
            dns_policy: DnsPolicy::ClusterFirst,
            workload: Workload::Netshoot,
            corefile: None,
        }],
        host_pods: Vec::new(),
        remote_pods: Vec::new(),
        identities: Vec::new(),
        services: Vec::new(),
        redirects: Vec::new(),
        announcements: Vec::new(),
        dns: PodDns {
            nameserver: Ipv4Addr::new(10, 96, 0, 10),
            search: vec!["svc.cluster.local".into()],
            node_search: vec![],
            ndots: 5,
        },
        datapath: DatapathSettings {
            snat_exclusion: Some("10.244.0.0/16".parse().expect("legal")),
            native_routing_cidr: Some("10.244.0.0/16".parse().expect("legal")),
            ..DatapathSettings::default()
        },
    }
}

fn applied(state: NodeState) -> Status {
    let device = |name: &str| DeviceStatus {
        name: name.into(),
        address: None,
    };
    Status {
        pid: 1,
        attach_mode: Some(AttachMode::Tcx),
        devices: vec![device("eth0"), device("eth1")],
        pods: vec![PodStatus {
            namespace: "default".into(),
            name: "curl-pod".into(),
            address: Ipv4Addr::new(10, 244, 0, 27),
            ready: true,
            restarts: 0,
            pid: Some(7),
            started: Some(1),
            message: None,
        }],
        ip_masq_agent: None,
        garbage_collection: GarbageCollectionStatus::default(),
        applied: Some(state),
    }
}

#[test]
fn status_has_the_originals_lines() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        tables::status(&applied(state())),
        format!(
            "\
KVStore:                 Disabled   
Kubernetes:              Disabled   
KubeProxyReplacement:    True   [eth0, eth1]
Cilium:                  Ok   labctl {version}
IPAM:                    IPv4: 2/254 allocated from 10.244.0.0/24, 
Routing:                 Network: Native   Host: BPF
Attach Mode:             TCX
Device Mode:             veth
Masquerading:            BPF   [eth0, eth1]   10.244.0.0/16  [IPv4: Enabled, IPv6: Disabled]
"
        )
    );
}

#[test]
fn status_says_which_tunnel() {
    let mut state = state();
    state.datapath.routing = Routing::Tunnel {
        protocol: TunnelProtocol::Vxlan,
        port: 8472,
    };
    let text = tables::status(&applied(state));
    let line = "Routing:                 Network: Tunnel [vxlan]   Host: BPF\n";
    assert!(text.contains(line), "{text}");
}

fn record(id: u16, address: [u8; 4], port: u16, protocol: Protocol) -> ServiceRecord {
    ServiceRecord {
        id,
        address: address.into(),
        port,
        protocol,
        scope: scope::EXT,
        flags: 0,
        flags2: 0,
        backends: Vec::new(),
        source_ranges: Vec::new(),
    }
}

fn records() -> Vec<ServiceRecord> {
    let webpod = vec![([10, 244, 1, 7].into(), 80), ([10, 244, 2, 9].into(), 80)];
    let dns = vec![([172, 20, 0, 211].into(), 53)];
    let node_port = flag::NODE_PORT | flag::ROUTABLE | flag::EXT_LOCAL_SCOPE;
    vec![
        ServiceRecord {
            backends: webpod.clone(),
            ..record(1, [10, 96, 54, 60], 80, Protocol::Tcp)
        },
        ServiceRecord {
            flags: node_port,
            flags2: flag2::TWO_SCOPES,
            ..record(2, [0, 0, 0, 0], 30080, Protocol::Tcp)
        },
        ServiceRecord {
            flags: node_port,
            flags2: flag2::TWO_SCOPES,
            scope: scope::INT,
            backends: webpod,
            ..record(2, [0, 0, 0, 0], 30080, Protocol::Tcp)
        },
        ServiceRecord {
            flags2: flag2::LOCAL_REDIRECT,
            backends: dns,
            ..record(17, [10, 96, 0, 10], 53, Protocol::Udp)
        },
    ]
}

/// The line of the local redirect is the transcript's, in columns that a longer
/// frontend makes wider.
#[test]
fn services_are_listed_in_the_originals_columns() {
    let text = services::list(&records());
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "ID   Frontend              Service Type    Backend",
            "1    10.96.54.60:80/TCP    ClusterIP       1 => 10.244.1.7:80/TCP (active)",
            "                                           2 => 10.244.2.9:80/TCP (active)",
            "2    0.0.0.0:30080/TCP     NodePort",
            "2    0.0.0.0:30080/TCP/i   NodePort        1 => 10.244.1.7:80/TCP (active)",
            "                                           2 => 10.244.2.9:80/TCP (active)",
            "17   10.96.0.10:53/UDP     LocalRedirect   1 => 172.20.0.211:53/UDP (active)",
        ]
    );
}

#[test]
fn the_maps_of_services_are_listed_by_slot() {
    let text = services::maps(&records());
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "SERVICE ADDRESS           BACKEND ADDRESS (REVNAT_ID) (SLOT)",
            "0.0.0.0:30080/TCP (0)     0.0.0.0:0 (2) (0) [NodePort, Local, two-scopes]",
            "0.0.0.0:30080/TCP/i (0)   0.0.0.0:0 (2) (0) [NodePort, Local, two-scopes]",
            "0.0.0.0:30080/TCP/i (1)   10.244.1.7:80/TCP (2) (1)",
            "0.0.0.0:30080/TCP/i (2)   10.244.2.9:80/TCP (2) (2)",
            "10.96.0.10:53/UDP (0)     0.0.0.0:0 (17) (0) [LocalRedirect, non-routable]",
            "10.96.0.10:53/UDP (1)     172.20.0.211:53/UDP (17) (1)",
            "10.96.54.60:80/TCP (0)    0.0.0.0:0 (1) (0) [ClusterIP, non-routable]",
            "10.96.54.60:80/TCP (1)    10.244.1.7:80/TCP (1) (1)",
            "10.96.54.60:80/TCP (2)    10.244.2.9:80/TCP (1) (2)",
        ]
    );
}

#[test]
fn source_ranges_are_listed_by_service() {
    let balanced = ServiceRecord {
        flags: flag::LOAD_BALANCER | flag::ROUTABLE | flag::SOURCE_RANGE,
        source_ranges: ["192.168.10.0/24", "10.0.0.0/8"]
            .map(|it| it.parse().expect("a range"))
            .into(),
        ..record(21, [192, 168, 10, 241], 80, Protocol::Tcp)
    };
    let inverted = ServiceRecord {
        flags2: flag2::SOURCE_RANGE_DENY,
        ..balanced.clone()
    };
    let flags = |record| {
        services::maps(&[record])
            .lines()
            .nth(1)
            .map(|it| it.trim_end().to_owned())
    };
    assert_eq!(
        flags(balanced.clone()).as_deref(),
        Some("192.168.10.241:80/TCP (0)   0.0.0.0:0 (21) (0) [LoadBalancer, check source-range]")
    );
    assert_eq!(
        flags(inverted).as_deref(),
        Some(
            "192.168.10.241:80/TCP (0)   0.0.0.0:0 (21) (0) [LoadBalancer, check source-range, deny]"
        )
    );
    let text = services::source_ranges(&[balanced]);
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "SOURCE RANGE (REVNAT_ID)",
            "10.0.0.0/8 (21)",
            "192.168.10.0/24 (21)"
        ]
    );
}

#[test]
fn verbose_status_has_the_replacements_details() {
    let mut status = applied(state());
    status.devices[1].address = Some(Ipv4Addr::new(192, 168, 10, 100));
    let text = services::details(&state(), &status.devices);
    for line in [
        "  Status:               True",
        "  Devices:              eth0, eth1   192.168.10.100 (Direct Routing)",
        "  - NodePort:       Enabled (Range: 30000-32767) ",
    ] {
        assert!(text.lines().any(|it| it == line), "{text}");
    }
}

#[test]
fn status_tells_of_a_configuration_that_was_not_taken_over() {
    let mut state = state();
    state.datapath.ip_masq_agent = Some(IpMasqAgent { config: None });
    state.datapath.native_routing_cidr = None;
    let error = Some("read the ip-masq-agent configuration: no".to_owned());
    let status = Status {
        ip_masq_agent: Some(IpMasqAgentStatus { cidrs: 12, error }),
        ..applied(state)
    };
    let text = tables::status(&status);
    let masquerading = "Masquerading:            BPF (ip-masq-agent)   [eth0, eth1]     [IPv4: Enabled, IPv6: Disabled]\n";
    assert!(text.contains(masquerading), "{text}");
    assert!(
        text.contains(
            "ip-masq-agent:           failed to read the ip-masq-agent configuration: no\n"
        )
    );
}

#[test]
fn masquerading_switched_off_is_disabled() {
    let mut state = state();
    state.datapath.masquerade = Masquerade::Off;
    assert!(tables::status(&applied(state)).contains("Masquerading:            Disabled\n"));
}

/// Columns as in the original lab, where the widest label was longer.
#[test]
fn endpoints_are_listed_in_the_originals_columns() {
    let status = applied(state());
    assert_eq!(
        tables::endpoints(&state(), &status.pods),
        "\
ENDPOINT   POLICY (ingress)   POLICY (egress)   IDENTITY   LABELS (source:key[=value])               IPv6   IPv4          STATUS   
           ENFORCEMENT        ENFORCEMENT                                                                                          
318        Disabled           Disabled          5580       k8s:app=curl                                     10.244.0.27   ready    
                                                           k8s:io.kubernetes.pod.namespace=default                                 
"
    );
}

/// The original lab's output, where only the first and the last blanks of the
/// last row were lost in copying.
#[test]
fn ip_masq_cidrs_are_listed_as_in_the_original_lab() {
    let cidrs = ["10.10.1.0/24", "10.10.2.0/24", "169.254.0.0/16"];
    let cidrs = cidrs.map(|cidr| cidr.parse().expect("legal"));
    assert_eq!(
        tables::ip_masq(&cidrs),
        concat!(
            "IP PREFIX/ADDRESS   \n",
            "10.10.1.0/24             \n",
            "10.10.2.0/24             \n",
            "169.254.0.0/16           \n",
        )
    );
}

fn flow(inbound: bool) -> FlowKey {
    let (pod, node) = (
        Ipv4Addr::new(10, 244, 0, 27),
        Ipv4Addr::new(192, 168, 10, 100),
    );
    let router = Ipv4Addr::new(192, 168, 10, 200);
    let (source, destination) = if inbound {
        (router, node)
    } else {
        (pod, router)
    };
    let (source_port, destination_port) = if inbound { (80, 34567) } else { (34567, 80) };
    FlowKey {
        protocol: 6,
        inbound,
        service: false,
        source,
        source_port,
        destination,
        destination_port,
    }
}

#[test]
fn nat_entries_print_as_the_originals() {
    let entry = |inbound, address: [u8; 4]| NatRecord {
        flow: flow(inbound),
        address: address.into(),
        port: 34567,
        created: 88,
        needs_ct: false,
    };
    assert_eq!(
        flows::nat(100, &[entry(true, [10, 244, 0, 27]), entry(false, [192, 168, 10, 100])]),
        "\
TCP OUT 10.244.0.27:34567 -> 192.168.10.200:80 XLATE_SRC 192.168.10.100:34567 Created=12sec ago NeedsCT=0
TCP IN 192.168.10.200:80 -> 192.168.10.100:34567 XLATE_DST 10.244.0.27:34567 Created=12sec ago NeedsCT=0
"
    );
}

#[test]
fn conntrack_counts_from_the_endpoints_side() {
    let entry = |inbound| CtRecord {
        flow: flow(inbound),
        lifetime: 8100,
        rx_packets: 4,
        rx_bytes: 400,
        rx_flags_seen: 0x12,
        last_rx_report: 99,
        tx_packets: 5,
        tx_bytes: 500,
        tx_flags_seen: 0x1b,
        last_tx_report: 100,
        flags: 0x0013,
    };
    assert_eq!(
        flows::conntrack(&[entry(false), entry(true)]),
        "\
TCP OUT 10.244.0.27:34567 -> 192.168.10.200:80 expires=8100 RxPackets=4 RxBytes=400 RxFlagsSeen=0x12 LastRxReport=99 TxPackets=5 TxBytes=500 TxFlagsSeen=0x1b LastTxReport=100 Flags=0x0013 [ RxClosing TxClosing SeenNonSyn ]
TCP IN 192.168.10.200:80 -> 192.168.10.100:34567 expires=8100 RxPackets=5 RxBytes=500 RxFlagsSeen=0x1b LastRxReport=100 TxPackets=4 TxBytes=400 TxFlagsSeen=0x12 LastTxReport=99 Flags=0x0013 [ RxClosing TxClosing SeenNonSyn ]
"
    );
}

#[test]
fn metrics_have_the_originals_words() {
    let entries = [
        MetricRecord {
            reason: 167,
            egress: true,
            packets: 12,
            bytes: 900,
        },
        MetricRecord {
            reason: 250,
            egress: false,
            packets: 1,
            bytes: 60,
        },
    ];
    assert_eq!(
        tables::metrics(&entries),
        "\
REASON                          DIRECTION   PACKETS   BYTES
No mapping for NAT masquerade   EGRESS      12        900
250                             INGRESS     1         60
"
    );
}

#[test]
fn settings_print_as_the_originals() {
    let text = tables::configuration(&state());
    let line = "ipv4-native-routing-cidr                          10.244.0.0/16\n";
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("enable-ip-masq-agent                              false\n"),
        "{text}"
    );
}

#[test]
fn help_is_output_and_a_wrong_command_is_not() {
    let ask = |args: &[&str]| -> Result<String, CiliumDbgError> {
        let connect = || Client::connect(Path::new("/nonexistent/agent.sock"));
        let answer = run("cilium", args.iter().map(OsString::from), connect)?;
        match answer {
            Answer::Text(text) => Ok(text),
            Answer::Monitor(_) => panic!("nobody asked for events"),
        }
    };
    let help = ask(&["bpf", "--help"]).expect("asked for");
    assert!(
        help.contains("NAT mapping tables") && help.contains("Usage: cilium bpf"),
        "{help}"
    );
    let wrong = ask(&["bpf", "nut"]).expect_err("no such map").to_string();
    assert!(
        wrong.starts_with("unrecognized subcommand 'nut'"),
        "{wrong}"
    );
    let lonely = ask(&["status"]).expect_err("nobody listens").to_string();
    assert!(
        lonely.starts_with("reach the node agent at /nonexistent/agent.sock: "),
        "{lonely}"
    );
}

#[test]
fn the_command_tree_is_consistent() {
    Arguments::command().debug_assert();
}
