//! Decisions, and a machine in namespaces of its own.

mod as_root;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_model::lab::Role;
use lab_model::plan::{Action, Cable, MacAddress, ObservedInterface, ObservedNode, Route, Service};

use super::api::Owner;
use super::before::{Before, Claimed};
use super::kept::Kept;

fn owner(lab: &str, node: &str, owner: &str) -> Owner {
    Owner {
        lab: lab.to_owned(),
        node: node.to_owned(),
        role: Role::Worker,
        owner: owner.to_owned(),
    }
}

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a CIDR")
}

fn route(to: &str, last: u8) -> Route {
    Route {
        to: net(to),
        via: Some(Ipv4Addr::new(192, 168, 10, last)),
        dev: "eth1".to_owned(),
    }
}

fn node() -> String {
    "w1".to_owned()
}

fn add(interface: &str, address: &str) -> Action {
    Action::AddAddress {
        node: node(),
        interface: interface.to_owned(),
        address: net(address),
    }
}

fn dummy() -> Action {
    Action::AddDummy {
        node: node(),
        interface: "loop1".to_owned(),
        mac: MacAddress::of("study", "w1", "loop1"),
    }
}

fn delete_dummy() -> Action {
    Action::DeleteInterface {
        node: node(),
        interface: "loop1".to_owned(),
    }
}

fn replace(route: Route) -> Action {
    Action::ReplaceRoute {
        node: node(),
        route,
        was: None,
    }
}

#[test]
fn a_reboot_brings_back_what_the_actions_made() {
    let actions = [
        dummy(),
        add("loop1", "10.10.1.200/24"),
        add("eth1", "192.168.10.101/24"),
        replace(route("10.10.0.0/16", 200)),
        replace(route("10.10.0.0/16", 199)),
        Action::SetForwarding {
            node: node(),
            enabled: true,
        },
        Action::StartService {
            node: node(),
            service: Service::Http { port: 80 },
        },
        Action::StartAgent { node: node() },
    ];
    let kept = Kept::default().after(&actions);
    assert!(kept.agent && kept.service == Some(Service::Http { port: 80 }));
    let restoring = kept.restoring("w1");
    assert_eq!(
        restoring[..5],
        [
            dummy(),
            Action::SetUp {
                node: node(),
                interface: "eth1".to_owned(),
            },
            add("eth1", "192.168.10.101/24"),
            add("loop1", "10.10.1.200/24"),
            replace(route("10.10.0.0/16", 199)),
        ]
    );
    // What it brings back is what is kept.
    let again = Kept {
        agent: true,
        service: kept.service.clone(),
        ..Kept::default()
    };
    assert_eq!(again.after(&restoring), kept);
}

#[test]
fn what_goes_with_an_interface_is_kept_no_longer() {
    let mut via = route("10.30.0.0/16", 9);
    via.dev = "loop1".to_owned();
    let made = [dummy(), add("loop1", "10.10.1.200/24"), replace(via)];
    let kept = Kept::default().after(&made);
    assert_eq!(kept.after(&[delete_dummy()]), Kept::default());
}

/// Whenever labctl is killed, what is on the machine is on record.
#[test]
fn what_comes_is_on_record_before_and_what_goes_until_after() {
    let kept = Kept::default().after(&[dummy()]);
    let actions = [delete_dummy(), add("eth1", "192.168.10.101/24")];
    let during = kept.during(&actions);
    assert_eq!(during.dummies.len(), 1);
    assert_eq!(during.addresses["eth1"], [net("192.168.10.101/24")].into());
    assert!(kept.after(&actions).dummies.is_empty());
}

#[test]
fn a_machine_is_taken_up_again_by_its_own_lab_alone() {
    let claimed = Claimed {
        owner: owner("study", "w1", "alice@laptop"),
        before: Before::default(),
    };
    assert!(claimed.admits(&owner("study", "w1", "alice@laptop")));
    for other in [
        owner("other", "w1", "alice@laptop"),
        owner("study", "w2", "alice@laptop"),
        owner("study", "w1", "bob@desktop"),
    ] {
        assert!(!claimed.admits(&other), "{other:?}");
    }
}

#[test]
fn what_was_there_before_is_seen_only_when_the_lab_asked_for_it() {
    let before = Before {
        addresses: BTreeMap::from([(
            "eth1".to_owned(),
            [net("192.168.10.101/24"), net("172.16.0.9/24")].into(),
        )]),
        static_routes: [route("10.99.0.0/16", 1)].into(),
        ..Before::default()
    };
    let eth1 = ObservedInterface {
        cable: Cable::Given,
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        up: true,
        addresses: [
            net("192.168.10.101/24"),
            net("172.16.0.9/24"),
            net("172.16.0.10/24"),
        ]
        .into(),
    };
    let mut seen = ObservedNode {
        interfaces: BTreeMap::from([("eth1".to_owned(), eth1)]),
        static_routes: [route("10.99.0.0/16", 1), route("10.10.0.0/16", 200)].into(),
        ..ObservedNode::default()
    };
    let kept = Kept::default().after(&[add("eth1", "192.168.10.101/24")]);
    before.hide(&mut seen, &kept);
    assert_eq!(
        seen.interfaces["eth1"].addresses,
        [net("192.168.10.101/24"), net("172.16.0.10/24")].into()
    );
    assert_eq!(seen.static_routes, [route("10.10.0.0/16", 200)].into());
}
