//! The study lab's plans, as a user reads them.

use super::simulation::{apply, delete_interface, run};
use super::{absent, lab, lines, net, plan_for, study};
use crate::lab::Role;
use crate::plan::{Action, Observed, Service, Undo, plan, undo};

fn up(lab: &crate::lab::Lab) -> Observed {
    let mut seen = absent(lab);
    let plan = plan_for(lab, &seen);
    run(&mut seen, &plan);
    seen
}

#[test]
fn a_new_lab_is_made_from_the_ground_up() {
    let expected = [
        "mkdir -m 700 /run/labctl/study  # study is new",
        "ip netns add fabric; ip -n fabric link add lab up type bridge  # the segment is missing",
        "ip netns add k8s-ctr  # k8s-ctr is new",
        "ip netns add internet  # internet is new",
        "ip -n k8s-ctr link add eth0 up address a2:53:78:5b:27:ef type veth peer name k8s-ctr netns internet  # k8s-ctr is new",
        "ip -n internet link add nat_gw up address e2:bc:03:c7:2e:51 type dummy  # internet is new",
        "ip -n k8s-ctr addr add 192.168.10.100/24 dev eth1  # k8s-ctr is new",
        "ip -n k8s-ctr route add default via 10.0.2.2 dev eth0 proto static  # k8s-ctr is new",
        "ip -n internet route add 100.64.0.1 dev k8s-ctr scope link proto static  # internet is new",
        "ip netns exec internet labctl app world &  # internet is new",
        "ip netns exec k8s-ctr labctl node &  # k8s-ctr is new",
        "labctl node apply k8s-ctr  # 1 pods, 0 peers  # k8s-ctr is new",
    ];
    let lab = lab(&[
        ("k8s-ctr", Role::ControlPlane, 100),
        ("internet", Role::World, 0),
    ]);
    let lines = lines(&plan_for(&lab, &absent(&lab)));
    for line in expected {
        assert!(
            lines.iter().any(|it| it == line),
            "no line {line:?} in\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn nothing_is_planned_for_a_lab_that_is_up() {
    let lab = study();
    assert_eq!(lines(&plan_for(&lab, &up(&lab))), Vec::<String>::new());
}

#[test]
fn an_interface_deleted_by_hand_comes_back_with_what_was_on_it() {
    let lab = study();
    let mut seen = up(&lab);
    delete_interface(&mut seen, "k8s-w1", "eth1");
    assert_eq!(
        lines(&plan_for(&lab, &seen)),
        [
            "ip -n k8s-w1 link add eth1 up address d6:62:34:02:c5:2f type veth peer name k8s-w1 netns fabric  # eth1 of k8s-w1 is missing",
            "ip -n k8s-w1 addr add 192.168.10.101/24 dev eth1  # eth1 of k8s-w1 lacks 192.168.10.101/24",
            "ip -n k8s-w1 route add 10.10.0.0/16 via 192.168.10.200 dev eth1 proto static  # k8s-w1 lacks the route 10.10.0.0/16 via 192.168.10.200 dev eth1",
            "labctl node apply k8s-w1  # 1 pods, 1 peers  # eth1 of k8s-w1 is missing",
        ]
    );
}

#[test]
fn a_route_that_leads_elsewhere_is_put_right() {
    let mut lab = study();
    let seen = up(&lab);
    lab.routes[0].gateway = "192.168.10.199".parse().expect("an address");
    assert_eq!(
        lines(&plan_for(&lab, &seen))[0],
        "ip -n k8s-ctr route replace 10.10.0.0/16 via 192.168.10.199 dev eth1 proto static  \
         # route of k8s-ctr differs: 10.10.0.0/16 via 192.168.10.200 dev eth1, \
         should be 10.10.0.0/16 via 192.168.10.199 dev eth1"
    );
}

/// containerlab#3379: recreating or adding a node changes its neighbours, and
/// the plan must show each of them.
#[test]
fn a_new_node_is_a_step_on_every_peer() {
    let lab = study();
    let seen = up(&lab);
    let mut wider = lab.clone();
    wider.nodes.insert(
        2,
        super::lab(&[("k8s-w2", Role::Worker, 102)]).nodes.remove(0),
    );
    wider.routes[0].on.push("k8s-w2".to_owned());
    let lines = lines(&plan_for(&wider, &seen));
    for peer in ["k8s-ctr", "k8s-w1"] {
        let hosts = format!(
            "ip netns exec {peer} tee /etc/hosts  # 5 names  # /etc/hosts of {peer} lacks k8s-w2"
        );
        let apply = format!(
            "labctl node apply {peer}  # 1 pods, 2 peers  \
             # peer k8s-w2 is new: route to its podCIDR 10.244.102.0/24"
        );
        assert!(lines.contains(&hosts), "{lines:#?}");
        assert!(lines.contains(&apply), "{lines:#?}");
    }
    // The nodes that are there keep the addresses that the world knows them by.
    assert!(
        lines
            .iter()
            .any(|line| line.contains("route add 100.64.0.4 dev k8s-w2")),
        "{lines:#?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains("100.64.0.3")),
        "{lines:#?}"
    );
}

#[test]
fn a_world_made_anew_takes_every_outside_link_along() {
    let lab = study();
    let mut seen = up(&lab);
    let world = seen.nodes.get_mut("internet").expect("the world");
    world.fault = Some("its pause process is gone".to_owned());
    let plan = plan_for(&lab, &seen);
    let lines = lines(&plan);
    let reason = "internet cannot be mended: its pause process is gone";
    assert_eq!(lines[0], format!("ip -n k8s-ctr link del eth0  # {reason}"));
    let route = "ip -n router route add default via 10.0.2.2 dev eth0 proto static  \
                 # router lacks the route default via 10.0.2.2 dev eth0";
    assert!(lines.iter().any(|it| it == route), "{lines:#?}");
    let anew = "# internet is made anew, and eth0 of router with it";
    assert!(lines.iter().any(|it| it.ends_with(anew)), "{lines:#?}");
    run(&mut seen, &plan);
    assert!(plan_for(&lab, &seen).is_empty());
}

#[test]
fn a_server_that_changes_is_restarted() {
    let mut lab = study();
    let seen = up(&lab);
    lab.nodes[2].serve_http = Some(8080);
    assert_eq!(
        lines(&plan_for(&lab, &seen)),
        [
            "kill the server of router  # what router serves changes",
            "ip netns exec router labctl app http --port 8080 &  # what router serves changes",
        ]
    );
}

#[test]
fn a_changed_address_takes_routes_and_peers_along() {
    let mut lab = study();
    let mut seen = up(&lab);
    lab.nodes[1].address = Some("192.168.10.111".parse().expect("an address"));
    let plan = plan_for(&lab, &seen);
    let lines = lines(&plan);
    let delete = lines
        .iter()
        .position(|it| it.contains("addr del 192.168.10.101/24 dev eth1"));
    let add = lines
        .iter()
        .position(|it| it.contains("addr add 192.168.10.111/24 dev eth1"));
    assert!(delete < add && delete.is_some(), "{lines:#?}");
    assert!(
        lines
            .iter()
            .any(|it| it.starts_with("ip -n k8s-w1 route add 10.10.0.0/16"))
    );
    run(&mut seen, &plan);
    assert!(plan_for(&lab, &seen).is_empty());
}

#[test]
fn settings_are_named_when_they_change() {
    let mut lab = study();
    let seen = up(&lab);
    lab.values.bpf.masquerade = true;
    assert_eq!(
        lines(&plan_for(&lab, &seen))[0],
        "labctl node apply k8s-ctr  # 1 pods, 1 peers  # datapath masquerade: \
         {\"mode\":\"off\"} becomes {\"mode\":\"ebpf\"}"
    );
}

#[test]
fn what_was_made_by_hand_stays() {
    let lab = study();
    let mut seen = up(&lab);
    let router = seen.nodes.get_mut("router").expect("the router");
    let mut by_hand = router.interfaces["loop1"].clone();
    by_hand.mac.0 = [2, 0, 0, 0, 0, 1];
    router.interfaces.insert("mine".to_owned(), by_hand);
    let mut route = router.static_routes.first().expect("a route").clone();
    route.to = net("172.20.1.0/24");
    router.other_routes.insert(route);
    assert!(plan_for(&lab, &seen).is_empty());
}

#[test]
fn a_lab_goes_down_whole() {
    let lab = study();
    let mut seen = up(&lab);
    let plan = plan(None, &seen);
    assert_eq!(
        lines(&plan),
        [
            "ip netns del internet  # the lab goes down",
            "ip netns del k8s-ctr  # the lab goes down",
            "ip netns del k8s-w1  # the lab goes down",
            "ip netns del router  # the lab goes down",
            "ip netns del fabric  # the lab goes down",
            "rm -r /run/labctl/study  # the lab goes down",
        ]
    );
    run(&mut seen, &plan);
    assert_eq!(seen, absent(&lab));
    assert!(super::plan(None, &seen).is_empty());
}

#[test]
fn a_new_lab_that_fails_is_taken_back_whole() {
    let lab = study();
    let mut seen = absent(&lab);
    let plan = plan_for(&lab, &seen);
    let done: Vec<_> = plan.steps.iter().map(|step| step.action.clone()).collect();
    done.iter().for_each(|action| apply(&mut seen, action));
    for way in undo(&done) {
        match way {
            Undo::By(action) => apply(&mut seen, &action),
            other => assert!(matches!(other, Undo::Lost(_)), "{other:?}"),
        }
    }
    assert_eq!(seen, absent(&lab));
}

#[test]
fn a_service_goes_when_the_lab_file_drops_it() {
    let mut lab = study();
    let seen = up(&lab);
    lab.nodes[2].serve_http = None;
    let plan = plan_for(&lab, &seen);
    let was = Some(Service::Http { port: 80 });
    assert_eq!(
        plan.steps[0].action,
        Action::StopService {
            node: "router".to_owned(),
            was
        }
    );
    assert_eq!(plan.steps.len(), 1);
}
