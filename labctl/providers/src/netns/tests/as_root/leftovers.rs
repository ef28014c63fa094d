//! What failures, lost state and reboots leave, which is nothing.

use std::fs;
use std::sync::atomic::AtomicBool;

use lab_model::lab::Role;

use super::routers;
use crate::netns::tests::{NEVER, lab as example};

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
        .push(example("x", &[("r3", Role::Router, 3)]).nodes.remove(0));
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
    for path in [
        places.folder().record(),
        places.folder().journal(),
        places.folder().lock(),
    ] {
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
    fs::remove_file(places.folder().record()).expect("remove the record");
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
