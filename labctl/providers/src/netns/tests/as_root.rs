mod leftovers;
mod repair;

use std::sync::atomic::AtomicBool;

use lab_model::lab::{Role, StaticRoute};

use super::{Fixture, Wait};
use crate::{ProviderError, Target};

/// Two routers and the outside; `r1` has a dummy and a server, and `r2` a route
/// to the dummy.
fn routers() -> Fixture {
    let nodes = [
        ("r1", Role::Router, 1),
        ("r2", Role::Router, 2),
        ("internet", Role::World, 0),
    ];
    let mut fixture = Fixture::new(&nodes);
    let lab = &mut fixture.lab;
    lab.nodes[0].dummies = [(
        "loop1".to_owned(),
        "10.10.1.200/24".parse().expect("a CIDR"),
    )]
    .into();
    lab.nodes[0].serve_http = Some(80);
    lab.routes = vec![StaticRoute {
        to: "10.10.0.0/16".parse().expect("a CIDR"),
        via: "r1".to_owned(),
        gateway: "192.168.10.1".parse().expect("an address"),
        on: vec!["r2".to_owned()],
    }];
    fixture
}

#[test]
fn a_lab_comes_up_and_goes_without_a_trace() {
    let lab = routers();
    assert!(lab.up() > 0);
    assert_eq!(
        lab.lines(),
        Vec::<String>::new(),
        "a second up plans something"
    );
    lab.assert_reaches("r1", "192.168.10.2");
    lab.assert_reaches("r2", "10.10.1.200");
    let addresses = lab.output("r1", &["ip", "-br", "-4", "addr"]);
    let columns: Vec<Vec<&str>> = addresses
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let names: Vec<_> = columns
        .iter()
        .map(|it| it[0].split('@').next().unwrap_or(""))
        .collect();
    assert_eq!(names, ["lo", "eth0", "eth1", "loop1"], "{addresses}");
    assert_eq!(columns[1][2], "10.0.2.15/24", "{addresses}");
    assert_eq!(columns[2][2], "192.168.10.1/24", "{addresses}");
    let routes = lab.output("r2", &["ip", "route"]);
    assert!(
        routes.contains("default via 10.0.2.2 dev eth0 proto static"),
        "{routes}"
    );
    assert!(
        routes.contains("10.10.0.0/16 via 192.168.10.1 dev eth1 proto static"),
        "{routes}"
    );
    lab.down();
    lab.assert_nothing_left();
}

#[test]
fn a_node_has_its_own_files_name_and_path() {
    let lab = routers();
    lab.up();
    assert_eq!(lab.output("r1", &["hostname"]), "r1\n");
    assert_eq!(
        lab.output("r1", &["cat", "/etc/resolv.conf"]),
        "nameserver 10.0.2.3\n"
    );
    let hosts = lab.output("r2", &["cat", "/etc/hosts"]);
    assert_eq!(
        hosts,
        "127.0.0.1 localhost\n192.168.10.1 r1\n192.168.10.2 r2\n10.0.2.2 internet\n"
    );
    let path = lab.output("r1", &["sh", "-c", "echo $PATH $HOSTNAME $LABCTL_NODE_DIR"]);
    assert!(path.starts_with("/run/labctl/bin:"), "{path}");
    assert!(path.ends_with(" r1 /run/labctl\n"), "{path}");
    assert!(lab.output("r1", &["ls", "/run/labctl"]).contains("etc"));
    let forwards = ["cat", "/proc/sys/net/ipv4/ip_forward"];
    assert_eq!(lab.output("r1", &forwards), "1\n");
    assert_eq!(lab.output("internet", &forwards), "0\n");
}

/// All nodes call themselves 10.0.2.15, and all ask for 10.0.2.2.
#[test]
fn the_world_answers_arp_on_every_link_and_knows_every_way_back() {
    let lab = routers();
    lab.up();
    for node in ["r1", "r2"] {
        // Answers come only through the translation, which the stand-in does not
        // do: that the address was resolved is what counts here.
        lab.run(node, &["ping", "-c", "1", "-W", "1", "10.0.2.2"]);
        let neighbour = lab.output(node, &["ip", "neigh", "show", "10.0.2.2"]);
        assert!(neighbour.contains("lladdr"), "{neighbour}");
    }
    let own = |node| lab.output(node, &["cat", "/sys/class/net/eth0/address"]);
    let neighbours = lab.output("internet", &["ip", "neigh"]);
    let r1 = format!("100.64.0.1 dev r1 lladdr {} PERMANENT", own("r1").trim());
    let r2 = format!("100.64.0.2 dev r2 lladdr {} PERMANENT", own("r2").trim());
    assert!(
        neighbours.contains(&r1) && neighbours.contains(&r2),
        "{neighbours}"
    );
    let routes = lab.output("internet", &["ip", "route"]);
    assert!(
        routes.contains("100.64.0.1 dev r1 proto static scope link"),
        "{routes}"
    );
}

#[test]
fn labs_with_the_same_addresses_stand_side_by_side() {
    let (one, other) = (routers(), routers());
    one.up();
    other.up();
    one.output("r1", &["ip", "link", "set", "eth1", "down"]);
    other.assert_reaches("r2", "192.168.10.1");
    assert!(
        !one.run("r2", &["ping", "-c", "1", "-W", "1", "192.168.10.1"])
            .status
            .success()
    );
    one.down();
    one.assert_nothing_left();
    other.assert_reaches("r2", "192.168.10.1");
    assert!(other.lines().is_empty());
}

#[test]
fn an_edited_lab_changes_only_what_differs() {
    let mut lab = routers();
    lab.up();
    let before = lab.output("r2", &["ip", "-o", "link", "show", "eth1"]);
    lab.lab.nodes.insert(
        0,
        super::lab("x", &[("r3", Role::Router, 3)]).nodes.remove(0),
    );
    lab.lab.nodes[1].dummies.clear();
    lab.lab.nodes[1].serve_http = None;
    lab.up();
    assert_eq!(lab.lines(), Vec::<String>::new());
    lab.assert_reaches("r3", "192.168.10.2");
    assert_eq!(
        lab.output("r2", &["ip", "-o", "link", "show", "eth1"]),
        before
    );
    assert!(
        !lab.run("r1", &["ip", "link", "show", "loop1"])
            .status
            .success()
    );
    lab.lab.nodes.remove(0);
    lab.up();
    assert_eq!(lab.lines(), Vec::<String>::new());
    assert!(
        !lab.provider
            .places(lab.name())
            .expect("a legal name")
            .node("r3")
            .exists()
    );
}

#[test]
fn one_at_a_time_changes_a_lab() {
    let lab = routers();
    let held = lab.lock();
    let error = lab
        .provider
        .lock(lab.name(), Wait::No)
        .expect_err("it is locked");
    let own = i32::try_from(std::process::id()).expect("a process number");
    assert!(
        matches!(error, ProviderError::Locked { pid: Some(pid), .. } if pid == own),
        "{error}"
    );
    let interrupted = AtomicBool::new(true);
    let mut holder = None;
    let mut waiting = |pid| holder = pid;
    let wait = Wait::Until {
        interrupt: &interrupted,
        waiting: &mut waiting,
    };
    let error = lab
        .provider
        .lock(lab.name(), wait)
        .expect_err("it is locked");
    assert!(matches!(error, ProviderError::Interrupted), "{error}");
    assert_eq!(holder, Some(own));
    drop(held);
    lab.assert_nothing_left();
}

#[test]
fn a_command_in_a_node_that_is_not_there_says_so() {
    let lab = routers();
    lab.up();
    let error = lab
        .provider
        .find(lab.name(), "r9")
        .expect_err("no such node");
    assert!(
        error.to_string().ends_with("it has internet, r1, r2"),
        "{error}"
    );
    let r9 = Target::Node {
        name: "r9".to_owned(),
    };
    assert!(lab.provider.command(lab.name(), &r9, &["true"]).is_err());
    let none = lab
        .provider
        .find("no-such-lab", "r1")
        .expect_err("no such lab");
    assert!(matches!(none, ProviderError::NoLab { .. }), "{none}");
}
