//! The study lab's plans on machines that come with their interfaces.

use super::simulation::{apply_with, run_with};
use super::{absent, plan_with, study};
use crate::lab::{Lab, Role};
use crate::plan::{Observed, ObservedSegment, Plan, Wiring, plan};

fn plan_for(lab: &Lab, seen: &Observed) -> Plan {
    plan_with(Wiring::Machines, lab, seen)
}

fn up(lab: &Lab) -> Observed {
    let mut seen = absent(lab);
    let plan = plan_for(lab, &seen);
    run_with(Wiring::Machines, &mut seen, &plan);
    seen
}

fn lines(plan: &Plan) -> Vec<String> {
    let line = |step: &crate::plan::Step| {
        let action = step.action.shell(Wiring::Machines);
        format!("{action}  # {}", step.reason)
    };
    plan.steps.iter().map(line).collect()
}

#[test]
fn machines_get_addresses_dummies_and_routes_and_no_cables() {
    let lab = study();
    let lines = lines(&plan_for(&lab, &absent(&lab)));
    assert_eq!(
        lines,
        [
            "begin the state of study  # study is new",
            "start the segment's switch  # the segment is missing",
            "make and claim k8s-ctr  # k8s-ctr is new",
            "make and claim k8s-w1  # k8s-w1 is new",
            "make and claim router  # router is new",
            "ssh router ip link add loop1 up address 66:0c:32:0b:8c:ee type dummy  # router is new",
            "ssh k8s-ctr ip addr add 192.168.10.100/24 dev eth1  # k8s-ctr is new",
            "ssh k8s-w1 ip addr add 192.168.10.101/24 dev eth1  # k8s-w1 is new",
            "ssh router ip addr add 192.168.10.200/24 dev eth1  # router is new",
            "ssh router ip addr add 10.10.1.200/24 dev loop1  # router is new",
            "ssh k8s-ctr ip route add 10.10.0.0/16 via 192.168.10.200 dev eth1 proto static  # k8s-ctr is new",
            "ssh k8s-w1 ip route add 10.10.0.0/16 via 192.168.10.200 dev eth1 proto static  # k8s-w1 is new",
            "ssh k8s-ctr labctl node &  # k8s-ctr is new",
            "ssh k8s-w1 labctl node &  # k8s-w1 is new",
            "ssh router labctl app http --port 80 &  # router is new",
            "labctl node apply k8s-ctr  # 1 pods, 1 peers  # k8s-ctr is new",
            "labctl node apply k8s-w1  # 1 pods, 1 peers  # k8s-w1 is new",
        ]
    );
}

#[test]
fn the_world_is_neither_made_nor_named() {
    let lab = study();
    let seen = up(&lab);
    assert!(!seen.nodes.contains_key("internet"));
    let hosts = &seen.nodes["router"].hosts;
    assert!(
        hosts.iter().all(|(_, name)| name != "internet"),
        "{hosts:?}"
    );
    assert!(plan_for(&lab, &seen).is_empty());
}

#[test]
fn a_machine_that_was_the_world_goes() {
    let lab = study();
    let mut seen = up(&lab);
    let world = seen.nodes["router"].clone();
    seen.nodes.insert("internet".to_owned(), world);
    assert_eq!(
        lines(&plan_for(&lab, &seen)),
        ["release and remove internet  # internet is not in the lab file"]
    );
}

#[test]
fn the_way_out_is_not_labctls() {
    let lab = study();
    let mut seen = up(&lab);
    let router = seen.nodes.get_mut("router").expect("the router");
    router.other_routes.clear();
    let outside = router.interfaces.get_mut("eth0").expect("eth0");
    outside.up = false;
    outside.addresses.clear();
    assert!(plan_for(&lab, &seen).is_empty());
    seen.nodes
        .get_mut("router")
        .expect("the router")
        .interfaces
        .remove("eth0");
    assert!(plan_for(&lab, &seen).is_empty());
}

#[test]
fn an_interface_set_down_is_set_up_with_its_routes() {
    let lab = study();
    let mut seen = up(&lab);
    let node = seen.nodes.get_mut("k8s-w1").expect("the worker");
    node.interfaces.get_mut("eth1").expect("eth1").up = false;
    node.static_routes.retain(|route| route.dev != "eth1");
    let plan = plan_for(&lab, &seen);
    assert_eq!(
        lines(&plan),
        [
            "ssh k8s-w1 ip link set eth1 up  # eth1 of k8s-w1 is down",
            "ssh k8s-w1 ip route add 10.10.0.0/16 via 192.168.10.200 dev eth1 proto static  # k8s-w1 lacks the route 10.10.0.0/16 via 192.168.10.200 dev eth1",
            "labctl node apply k8s-w1  # 1 pods, 1 peers  # eth1 of k8s-w1 is down",
        ]
    );
    run_with(Wiring::Machines, &mut seen, &plan);
    assert!(plan_for(&lab, &seen).is_empty());
}

#[test]
fn a_machine_without_its_interface_is_made_anew() {
    let lab = study();
    let mut seen = up(&lab);
    let router = seen.nodes.get_mut("router").expect("the router");
    router.interfaces.remove("eth1");
    let plan = plan_for(&lab, &seen);
    assert_eq!(
        lines(&plan)[0],
        "release and remove router  # router cannot be mended: it has no eth1"
    );
    run_with(Wiring::Machines, &mut seen, &plan);
    assert!(plan_for(&lab, &seen).is_empty());
}

#[test]
fn a_segment_made_anew_touches_no_machine() {
    let lab = study();
    let mut seen = up(&lab);
    seen.segment = None;
    assert_eq!(
        lines(&plan_for(&lab, &seen)),
        ["start the segment's switch  # the segment is missing"]
    );
    // A switch may know ports; they are its own.
    let ports = [("k8s-w1".to_owned(), false), ("stray".to_owned(), true)];
    seen.segment = Some(ObservedSegment {
        ports: ports.into(),
    });
    assert!(plan_for(&lab, &seen).is_empty());
}

#[test]
fn a_dummy_that_the_lab_file_drops_goes() {
    let mut lab = study();
    let seen = up(&lab);
    lab.nodes[2].dummies.clear();
    assert_eq!(
        lines(&plan_for(&lab, &seen)),
        ["ssh router ip link del loop1  # loop1 of router is not in the lab file"]
    );
}

#[test]
fn another_role_needs_another_machine() {
    let mut lab = study();
    let mut seen = up(&lab);
    lab.nodes[2].role = Role::Worker;
    let plan = plan_for(&lab, &seen);
    assert_eq!(
        lines(&plan)[0],
        "release and remove router  # router was a router and is now a worker"
    );
    run_with(Wiring::Machines, &mut seen, &plan);
    assert!(plan_for(&lab, &seen).is_empty());
}

#[test]
fn down_leads_to_nothing() {
    let lab = study();
    let mut seen = up(&lab);
    let down = plan(None, &seen);
    assert_eq!(
        lines(&down),
        [
            "release and remove k8s-ctr  # the lab goes down",
            "release and remove k8s-w1  # the lab goes down",
            "release and remove router  # the lab goes down",
            "stop the segment's switch  # the lab goes down",
            "remove the state of study  # the lab goes down",
        ]
    );
    for step in &down.steps {
        apply_with(Wiring::Machines, &mut seen, &step.action);
    }
    assert_eq!(seen, absent(&lab));
}
