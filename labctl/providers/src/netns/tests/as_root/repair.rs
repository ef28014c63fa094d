//! What is broken by hand, and mended by the next `up`.

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};

use super::routers;
use crate::netns::places::Kind;
use crate::netns::servers;

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
            "r2 lacks the route 10.10.0.0/16 via 192.168.10.1 dev eth1",
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
    servers::stop(&places, "r1", Kind::Serve).expect("stop the server");
    assert_eq!(lab.up(), 2);
    assert!(
        !places
            .cgroup_of("r1", Kind::Serve)
            .own_pids()
            .expect("list")
            .is_empty()
    );
}

/// An `up` that is killed while a server starts leaves one that ends when it finds
/// nobody to tell that it is ready: it runs now, and does not count.
#[test]
fn a_server_that_never_got_ready_is_started_again() {
    let lab = routers();
    lab.up();
    let places = lab.provider.places(lab.name()).expect("a legal name");
    std::fs::remove_file(servers::ready_mark(&places, "r1")).expect("remove the mark");
    assert_eq!(lab.up(), 2);
    assert_eq!(lab.lines(), Vec::<String>::new());
}
