use std::fs;
use std::sync::atomic::AtomicBool;

use lab_model::lab::{Role, StaticRoute};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};

use super::super::places::Kind;
use super::{Fixture, NEVER, Wait};
use crate::netns::{ProviderError, Target};

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

/// What a student may do by hand, and what the next `up` says about it.
#[test]
fn up_repairs_what_was_deleted_by_hand() {
    let lab = routers();
    lab.up();
    let damages: [(&[&str], &str); 6] = [
        (&["ip", "link", "del", "eth1"], "eth1 of r2 is missing"),
        (&["ip", "link", "del", "eth0"], "eth0 of r2 is missing"),
        (&["ip", "link", "set", "eth1", "down"], "eth1 of r2 is down"),
        (
            &["ip", "addr", "flush", "dev", "eth1"],
            "eth1 of r2 lacks 192.168.10.2/24",
        ),
        (
            &["ip", "route", "del", "10.10.0.0/16"],
            "r2 lacks the route to 10.10.0.0/16",
        ),
        (
            &["sysctl", "-qw", "net.ipv4.ip_forward=0"],
            "r2 does not forward",
        ),
    ];
    for (damage, reason) in damages {
        lab.output("r2", damage);
        let lines = lab.lines();
        assert!(
            lines
                .iter()
                .any(|line| line.ends_with(&format!("# {reason}"))),
            "{lines:#?}"
        );
        lab.up();
        assert_eq!(lab.lines(), Vec::<String>::new(), "after {damage:?}");
        lab.assert_reaches("r2", "10.10.1.200");
    }
}

#[test]
fn a_route_changed_by_hand_is_put_right() {
    let lab = routers();
    lab.up();
    lab.output(
        "r2",
        &[
            "ip",
            "route",
            "replace",
            "10.10.0.0/16",
            "via",
            "192.168.10.9",
        ],
    );
    let lines = lab.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("route of r2 differs: 10.10.0.0/16 via 192.168.10.9"),
        "{lines:#?}"
    );
    lab.up();
    lab.assert_reaches("r2", "10.10.1.200");
}

#[test]
fn a_node_whose_pause_process_is_gone_is_made_anew_with_its_links() {
    for node in ["r1", "internet"] {
        let lab = routers();
        lab.up();
        let places = lab.provider.places(lab.name()).expect("a legal name");
        let cgroup = places.cgroup_of(node, Kind::Pause);
        for pid in cgroup.own_pids().expect("list processes") {
            kill(pid, Signal::SIGKILL).expect("kill the pause process");
        }
        cgroup
            .wait_empty(std::time::Instant::now() + std::time::Duration::from_secs(5))
            .expect("the pause process ends");
        let reason = format!("# {node} cannot be mended: its pause process is gone");
        assert!(
            lab.lines().iter().any(|line| line.ends_with(&reason)),
            "{:#?}",
            lab.lines()
        );
        lab.up();
        assert_eq!(lab.lines(), Vec::<String>::new());
        lab.assert_reaches("r2", "10.10.1.200");
    }
}

#[test]
fn namespaces_unmounted_by_hand_come_back() {
    let lab = routers();
    lab.up();
    let places = lab.provider.places(lab.name()).expect("a legal name");
    for path in [places.netns("r1"), places.fabric()] {
        umount2(&path, MntFlags::MNT_DETACH).expect("unmount");
        assert!(!lab.lines().is_empty());
        lab.up();
        assert_eq!(lab.lines(), Vec::<String>::new());
        lab.assert_reaches("r2", "10.10.1.200");
    }
}

#[test]
fn a_server_that_was_killed_is_started_again() {
    let lab = routers();
    lab.up();
    let places = lab.provider.places(lab.name()).expect("a legal name");
    super::super::servers::stop(&places, "r1", Kind::Serve).expect("stop the server");
    assert_eq!(lab.up(), 2);
    assert!(
        !places
            .cgroup_of("r1", Kind::Serve)
            .own_pids()
            .expect("list")
            .is_empty()
    );
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
            .node_folder(lab.name(), "r3")
            .expect("a path")
            .exists()
    );
}

#[test]
fn a_failure_takes_a_new_lab_back_and_shows_the_log() {
    let mut lab = routers();
    lab.lab.nodes[1].serve_http = Some(1);
    let error = lab.try_up(&lab.lab, &NEVER).expect_err("port 1 fails");
    assert_eq!(
        error.to_string(),
        "do `ip netns exec r2 labctl app http --port 1 &` (r2 is new): start the server of r2: \
         it ended with exit code 7; the end of its log:\nport 1 is not to be had"
    );
    lab.assert_nothing_left();
}

#[test]
fn a_failure_takes_an_edited_lab_back_to_what_it_was() {
    let lab = routers();
    lab.up();
    let mut edited = lab.lab.clone();
    edited
        .nodes
        .push(super::lab("x", &[("r3", Role::Router, 3)]).nodes.remove(0));
    edited.nodes[3].serve_http = Some(1);
    edited.routes[0].gateway = "192.168.10.3".parse().expect("an address");
    let error = lab.try_up(&edited, &NEVER).expect_err("port 1 fails");
    assert_eq!(error.remains, Vec::<String>::new());
    assert_eq!(lab.lines(), Vec::<String>::new());
    lab.assert_reaches("r2", "10.10.1.200");
    let record = lab
        .provider
        .record(lab.name())
        .expect("a record that can be read");
    assert_eq!(record.expect("a record").nodes.len(), 3);
}

#[test]
fn an_interrupt_leaves_nothing() {
    let lab = routers();
    let error = lab
        .try_up(&lab.lab, &AtomicBool::new(true))
        .expect_err("interrupted");
    assert!(error.interrupted());
    lab.assert_nothing_left();
}

#[test]
fn down_needs_only_the_name() {
    let lab = routers();
    lab.up();
    let places = lab.provider.places(lab.name()).expect("a legal name");
    // All that can be lost while the lab runs: mount points cannot be removed.
    fs::remove_dir_all(places.nodes()).expect("remove the nodes' folders");
    for path in [places.record(), places.journal(), places.lock()] {
        fs::remove_file(path).expect("remove a file");
    }
    lab.down();
    lab.assert_nothing_left();
}

#[test]
fn up_makes_a_lab_whose_state_is_lost_anew() {
    let lab = routers();
    lab.up();
    let places = lab.provider.places(lab.name()).expect("a legal name");
    fs::remove_dir_all(places.nodes()).expect("remove the nodes' folders");
    fs::remove_file(places.record()).expect("remove the record");
    lab.up();
    assert_eq!(lab.lines(), Vec::<String>::new());
    lab.assert_reaches("r2", "10.10.1.200");
}

/// After a reboot on a system whose /run is on a disk: files, and nothing mounted.
#[test]
fn what_a_reboot_leaves_is_cleared_away() {
    let lab = routers();
    let places = lab.provider.places(lab.name()).expect("a legal name");
    let leave = || {
        fs::create_dir_all(places.netns_folder()).expect("make a folder");
        fs::create_dir_all(places.node("r1").join("etc")).expect("make a folder");
        fs::write(places.netns("r1"), "").expect("make a file");
        fs::write(places.fabric(), "").expect("make a file");
    };
    leave();
    lab.up();
    lab.assert_reaches("r2", "10.10.1.200");
    lab.down();
    leave();
    lab.down();
    lab.assert_nothing_left();
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
