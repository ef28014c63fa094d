//! What holds for every lab file: valid ones say what they were made from, one
//! fault is found on its line, and no text at all makes the parser panic.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::Ipv4Net;
use lab_model::diagnostic::Diagnostics;
use lab_model::lab::{Lab, Node, Role, StaticRoute};
use lab_model::lab_file;
use lab_model::values::Values;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Lab, Diagnostics> {
    lab_file::parse("lab.yaml", text, Path::new("labs"))
}

/// A valid lab: a control plane, workers, routers with dummies, perhaps a world,
/// and a route through each router.
fn labs() -> impl Strategy<Value = Lab> {
    let name = "[a-z][a-z0-9-]{0,10}[a-z0-9]";
    (
        name,
        1..=250_u8,
        0..6_u8,
        1..4_u8,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(name, third, workers, routers, world, masquerade)| {
            let mut lab = lab_of(name, third, workers, routers, world);
            lab.values.bpf.masquerade = masquerade;
            lab
        })
}

fn lab_of(name: String, third: u8, workers: u8, routers: u8, world: bool) -> Lab {
    let network = Ipv4Net::new_assert(Ipv4Addr::new(172, 16, third, 0), 24);
    let node = |name: String, role, last: u8| Node {
        name,
        role,
        address: Some(Ipv4Addr::new(172, 16, third, last)),
        dummies: BTreeMap::new(),
        serve_http: None,
        zone: None,
        machine: <_>::default(),
    };
    let mut nodes = vec![node("ctr".to_owned(), Role::ControlPlane, 100)];
    nodes.extend((0..workers).map(|n| node(format!("w{n}"), Role::Worker, 101 + n)));
    nodes.extend((0..routers).map(|n| {
        Node {
            dummies: [(
                format!("loop{n}"),
                Ipv4Net::new_assert(Ipv4Addr::new(10, 10, n, 1), 24),
            )]
            .into(),
            serve_http: Some(80),
            ..node(format!("r{n}"), Role::Router, 200 + n)
        }
    }));
    if world {
        nodes.push(Node {
            address: None,
            ..node("out".to_owned(), Role::World, 0)
        });
    }
    let cluster: Vec<_> = nodes
        .iter()
        .filter(|node| node.role.runs_pods())
        .map(|node| node.name.clone())
        .collect();
    let routes = (0..routers)
        .map(|n| StaticRoute {
            to: Ipv4Net::new_assert(Ipv4Addr::new(10, 10, n, 0), 24),
            via: format!("r{n}"),
            gateway: Ipv4Addr::new(172, 16, third, 200 + n),
            on: cluster.clone(),
        })
        .collect();
    Lab {
        name,
        network,
        nodes,
        routes,
        values: Values::default(),
        dns: None,
        provider: <_>::default(),
        manifests: vec!["labs/pods.yaml".into()],
        checks: Vec::new(),
    }
}

/// The lab as a file, one node and one route a line.
fn text(lab: &Lab) -> String {
    let mut lines = vec![
        format!("name: \"{}\"", lab.name),
        format!("network: {}", lab.network),
    ];
    lines.push("nodes:".to_owned());
    for node in &lab.nodes {
        let mut keys = vec![format!("role: {}", node.role)];
        keys.extend(node.address.map(|address| format!("address: {address}")));
        let dummies = node
            .dummies
            .iter()
            .map(|(name, address)| format!("{name}: {address}"));
        let dummies: Vec<_> = dummies.collect();
        if !dummies.is_empty() {
            keys.push(format!("dummies: {{{}}}", dummies.join(", ")));
        }
        keys.extend(
            node.serve_http
                .map(|port| format!("serve: {{http: {port}}}")),
        );
        lines.push(format!("  {}: {{{}}}", node.name, keys.join(", ")));
    }
    lines.push("routes:".to_owned());
    let on = "on: [control-plane, worker]";
    let route = |route: &StaticRoute| format!("  - {{to: {}, via: {}, {on}}}", route.to, route.via);
    lines.extend(lab.routes.iter().map(route));
    lines.push(format!(
        "values: {{bpf: {{masquerade: {}}}}}",
        lab.values.bpf.masquerade
    ));
    lines.push("manifests: [pods.yaml]".to_owned());
    lines.join("\n") + "\n"
}

/// A line of a valid file that holds the first text, and what to put there.
const FAULTS: [(&str, &str, &str); 24] = [
    ("name: \"", "name: \"", "name: \"_"),
    ("name: \"", "name: \"", "nmae: \""),
    ("name: \"", "name: ", "? [x]\n: "),
    ("network:", ".0/24", ".1/24"),
    ("network:", ".0/24", ".0/33"),
    ("network:", "172.16", "10.244"),
    ("  ctr:", "control-plane", "contol-plane"),
    ("  ctr:", "172.16.", "172.17."),
    ("  ctr:", ".100", ".0"),
    ("  ctr:", ".100", ".255"),
    ("  ctr:", ".100", ".300"),
    ("  ctr:", "address", "adress"),
    ("  ctr:", "{role", "{zzz: 1, role"),
    ("  ctr:", "  ctr:", "  ctr_1:"),
    ("  ctr:", "role: control-plane", "role: [worker]"),
    ("  r0:", ".200", ".100"),
    ("  r0:", "loop0", "lxc0"),
    ("  r0:", "10.10.0.1/24", "10.96.0.1/24"),
    ("  r0:", "http: 80", "http: 0"),
    ("to: 10.10.0.0", "via: r0", "via: rr0"),
    ("to: 10.10.0.0", "worker]", "workers]"),
    ("to: 10.10.0.0", "10.10.0.0/24", "10.10.0.1/24"),
    ("values:", "masquerade:", "masqerade:"),
    ("manifests:", "pods.yaml", "pods.yaml, pods.yaml"),
];

proptest! {
    #[test]
    fn a_valid_file_says_what_it_was_made_from(lab in labs()) {
        match parse(&text(&lab)) {
            Ok(parsed) => prop_assert_eq!(parsed, lab),
            Err(faults) => return Err(TestCaseError::fail(faults.to_string())),
        }
    }

    #[test]
    fn one_fault_is_found_on_its_line(lab in labs(), fault in 0..FAULTS.len()) {
        let (line, before, after) = FAULTS[fault];
        let text = text(&lab);
        let number = text.lines().position(|other| other.contains(line)).expect("the line is there");
        let with_fault = |(n, text): (usize, &str)| {
            if n == number { text.replacen(before, after, 1) } else { text.to_owned() }
        };
        let faulty: Vec<_> = text.lines().enumerate().map(with_fault).collect();
        let faulty = faulty.join("\n");
        let faults = parse(&faulty).expect_err("there is a fault");
        prop_assert!(
            faults.iter().any(|fault| fault.line_column().0 == number + 1),
            "line {}:\n{faults}", number + 1
        );
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = parse(&text).map_err(|faults| faults.render(true));
    }

    #[test]
    fn no_cut_or_spliced_file_panics(lab in labs(), cut in any::<prop::sample::Index>(),
                                     splice in "[-:{}\\[\\]&*!|>'\"#%@`\t \n,?~a0]{0,6}") {
        let mut text = text(&lab);
        let at = cut.index(text.len());
        text.replace_range(at..(at + splice.len()).min(text.len()), &splice);
        let _ = parse(&text).map_err(|faults| faults.render(false));
    }
}
