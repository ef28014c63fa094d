//! What happens on a machine between two boots.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lab_model::lab::Lab;
use lab_model::node_state::{NodeStates, Peer};
use lab_model::plan::{Action, Desired, Observed, ObservedSegment, Service, Wiring, plan};

use super::super::{net, owner};
use super::furnish::{furnish, up};
use crate::cgroup::Cgroup;
use crate::machine::api::{Claim, Owner};
use crate::machine::{HOME, Machine, MachineError, Server, release};
use crate::netlink::{LinkChange, Netlink, Request, Route, Scope, protocol};
use crate::node_network::Snapshot;

const NODE: &str = "w1";

/// This machine is `w1`.
const LAB: &str = "
name: study
network: 192.168.10.0/24
nodes:
  w1:
    role: control-plane
    address: 192.168.10.101
    dummies: {loop1: 10.10.1.200/24}
    serve: {http: 80}
  router: {role: router, address: 192.168.10.200}
  internet: {role: world}
routes:
  - {to: 10.10.0.0/16, via: router, on: [control-plane]}
";

fn lab(text: &str) -> Lab {
    lab_model::lab_file::parse("lab.yaml", text, Path::new("/")).expect("a lab")
}

fn me() -> Owner {
    owner("study", NODE, "alice@laptop")
}

/// What `up` would do on this machine, as it is or yet to be claimed.
fn plan_of(lab: &Lab, machine: Option<&Machine>) -> Vec<Action> {
    let mut state = crate::agent::tests::document(NODE, 1);
    state.peers = vec![Peer {
        name: "w2".to_owned(),
        address: [192, 168, 10, 102].into(),
        pod_cidr: net("10.244.2.0/24"),
        cilium_host: [10, 244, 2, 1].into(),
    }];
    let node_states = NodeStates::from([(NODE.to_owned(), state)]);
    let node = machine.map(|it| it.observe().unwrap_or_else(|error| panic!("{error}")));
    let observed = Observed {
        lab: lab.name.clone(),
        exists: true,
        segment: Some(ObservedSegment::default()),
        nodes: node.map(|it| (NODE.to_owned(), it)).into_iter().collect(),
    };
    let desired = Desired {
        lab,
        node_states: &node_states,
        wiring: Wiring::Machines,
    };
    let steps = plan(Some(desired), &observed).steps;
    let actions = steps.into_iter().map(|step| step.action);
    actions.filter(|it| it.node() == Some(NODE)).collect()
}

#[track_caller]
fn claim(lab: &Lab) -> Machine {
    let actions = plan_of(lab, None);
    let [Action::CreateNode { hosts, .. }, rest @ ..] = &actions[..] else {
        panic!("a new node is made first: {actions:?}");
    };
    let claim = Claim {
        owner: me(),
        hosts: hosts.clone(),
    };
    let machine = Machine::claim(&claim).unwrap_or_else(|error| panic!("failed to {error}"));
    perform(&machine, rest);
    machine
}

#[track_caller]
fn perform(machine: &Machine, actions: &[Action]) {
    if let Err((position, error)) = machine.perform(actions) {
        panic!("failed at {:?}: {error}", actions.get(position));
    }
}

/// Plans and performs, and shows that then there is nothing to do.
#[track_caller]
fn mend(lab: &Lab, machine: &Machine) -> String {
    let actions = plan_of(lab, Some(machine));
    perform(machine, &actions);
    assert_eq!(plan_of(lab, Some(machine)), []);
    let lines: Vec<_> = actions.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn cgroup(kind: &str) -> Cgroup {
    Cgroup::at("/sys/fs/cgroup/labctl.machine/w1").child(kind)
}

#[track_caller]
fn release_it(owner: Option<&Owner>) {
    release(owner).unwrap_or_else(|error| panic!("failed to {error}"));
}

/// All that a release must bring back.
fn everything() -> String {
    let network = Snapshot::take().expect("dump");
    let mut node = lab_model::plan::ObservedNode::default();
    network.describe(&mut node);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mounts = read("/proc/self/mountinfo");
    let points = mounts.lines().filter_map(|it| it.split(' ').nth(4));
    let list = |path: &str| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|it| it.file_name()).collect();
        names.sort();
        names
    };
    format!(
        "{node:#?} {:#?} {:?} {:#?} {:?} {:?} {} {}",
        network.routes,
        nix::unistd::gethostname(),
        points.collect::<Vec<_>>(),
        list("/run"),
        list("/sys/fs/cgroup"),
        read("/etc/hosts"),
        read("/proc/sys/net/ipv4/conf/eth1/rp_filter"),
    )
}

#[test]
#[ignore = "run by as_root, in namespaces of its own"]
fn comes_up() {
    furnish();
    let lab = lab(LAB);
    let machine = claim(&lab);
    assert_eq!(plan_of(&lab, Some(&machine)), []);
}

#[test]
#[ignore = "run by as_root, in namespaces of its own"]
fn comes_up_and_is_mended() {
    furnish();
    let machine = claim(&lab(LAB));
    assert_eq!(nix::unistd::gethostname().expect("ask"), NODE);
    let mut netlink = Netlink::open().expect("open");
    let down = Request::SetLink {
        name: "eth1".to_owned(),
        change: LinkChange {
            up: Some(false),
            ..LinkChange::default()
        },
    };
    let gone = Request::DeleteLink {
        name: "loop1".to_owned(),
    };
    netlink.execute_all(&[down, gone]).expect("hurt");
    fs::write("/etc/hosts", "127.0.0.1 localhost\n").expect("hurt");
    for kind in ["agent", "serve"] {
        cgroup(kind).kill().expect("kill");
        let deadline = Instant::now() + Duration::from_secs(20);
        cgroup(kind).wait_empty(deadline).expect("wait");
    }
    let done = mend(&lab(LAB), &machine);
    for part in [
        "link set eth1 up",
        "link add loop1",
        "addr add 10.10.1.200/24",
        "route add 10.10.0.0/16",
        "/etc/hosts",
        "labctl app http",
        "labctl node &",
    ] {
        assert!(done.contains(part), "no {part} in\n{done}");
    }
    let other = LAB
        .replace(".101", ".111")
        .replace("    serve: {http: 80}\n", "");
    let other = other.replace("    dummies: {loop1: 10.10.1.200/24}\n", "");
    let done = mend(&lab(&other), &machine);
    for part in [
        "link del loop1",
        "kill the server",
        "addr del 192.168.10.101/24",
    ] {
        assert!(done.contains(part), "no {part} in\n{done}");
    }
}

#[test]
#[ignore = "run by as_root, in namespaces of its own"]
fn is_back_after_a_reboot() {
    furnish();
    let machine = Machine::open().expect("read").expect("still claimed");
    machine
        .boot()
        .unwrap_or_else(|error| panic!("failed to {error}"));
    assert_eq!(plan_of(&lab(LAB), Some(&machine)), []);
    let pods = cgroup("pods").pids().expect("read");
    assert_eq!(pods.len(), 2, "the pods run again");
    assert_eq!(nix::unistd::gethostname().expect("ask"), NODE);
}

#[test]
#[ignore = "run by as_root, in namespaces of its own"]
fn is_mended_after_a_reboot() {
    furnish();
    let machine = Machine::open().expect("read").expect("still claimed");
    let done = mend(&lab(LAB), &machine);
    assert!(done.contains("link add loop1"), "{done}");
}

#[test]
#[ignore = "run by as_root, in namespaces of its own"]
fn is_released() {
    furnish();
    fs::write("/proc/sys/net/ipv4/conf/eth1/rp_filter", "2").expect("set");
    let before = everything();
    let machine = claim(&lab(LAB));
    assert_eq!(plan_of(&lab(LAB), Some(&machine)), []);
    assert_ne!(everything(), before);
    let other = owner("study", NODE, "bob@desktop");
    let error = release(Some(&other)).expect_err("not bob's");
    assert!(matches!(error, MachineError::NotYours(_)), "{error}");
    release_it(Some(&me()));
    assert_eq!(everything(), before);
    // Where nothing is, there is nothing to do.
    release_it(Some(&me()));
}

#[test]
#[ignore = "run by as_root, in namespaces of its own"]
fn is_released_without_a_record() {
    furnish();
    claim(&lab(LAB));
    fs::remove_file(Path::new(HOME).join("owner.json")).expect("remove");
    release_it(None);
    let network = Snapshot::take().expect("dump");
    let names: Vec<_> = network.links.iter().map(|link| &link.name).collect();
    let own = |name: &&String| *name == "lo" || name.starts_with("eth");
    assert!(names.iter().all(own), "{names:?}");
    assert!(!Path::new("/run/labctl").is_symlink());
    assert!(!Path::new("/sys/fs/cgroup/labctl.machine").exists());
}

#[test]
#[ignore = "run by as_root, in namespaces of its own"]
fn refuses_another_lab() {
    furnish();
    let machine = claim(&lab(LAB));
    for other in [
        owner("other", NODE, "alice@laptop"),
        owner("study", NODE, "bob@desktop"),
    ] {
        let claim = Claim {
            owner: other,
            hosts: [].into(),
        };
        let error = Machine::claim(&claim).expect_err("taken").to_string();
        assert_eq!(
            error,
            "claim w1: it carries lab study of alice@laptop as w1; take that down first"
        );
    }
    let node = "w2".to_owned();
    let (position, error) = machine
        .perform(&[Action::StopAgent { node }])
        .expect_err("not this node");
    assert_eq!(position, 0);
    assert_eq!(
        error.to_string(),
        "do `kill the agent of w2`: this machine is w1"
    );
    assert_eq!(plan_of(&lab(LAB), Some(&machine)), []);
}

#[test]
#[ignore = "run by as_root, in namespaces of its own"]
fn keeps_what_was_there() {
    furnish();
    let mut netlink = Netlink::open().expect("open");
    let device = netlink.index_of("eth1").expect("ask").expect("eth1");
    let address = |address: &str| Request::AddAddress {
        device,
        address: net(address),
        scope: Scope::Universe,
    };
    // As Vagrant does, which gives eth1 the lab's own address.
    let (own, other) = (address("192.168.10.101/24"), address("172.16.0.9/24"));
    let route = Route::via(net("10.99.0.0/16"), [192, 168, 10, 1].into());
    let route = Request::AddRoute(route.device(device).protocol(protocol::STATIC));
    netlink
        .execute_all(&[up("eth1"), up("eth1-wire"), own, other, route])
        .expect("give");
    let before = everything();
    let machine = claim(&lab(LAB));
    assert_eq!(plan_of(&lab(LAB), Some(&machine)), []);
    mend(&lab(&LAB.replace(".101", ".111")), &machine);
    let there = netlink.addresses().expect("dump");
    for kept in ["192.168.10.101/24", "172.16.0.9/24", "192.168.10.111/24"] {
        assert!(there.iter().any(|it| it.address == net(kept)), "{kept}");
    }
    release_it(Some(&me()));
    assert_eq!(everything(), before);
}

#[test]
#[ignore = "run by as_root, in namespaces of its own"]
fn tells_why_a_server_does_not_start() {
    furnish();
    let claim = Claim {
        owner: me(),
        hosts: [].into(),
    };
    let machine = Machine::claim(&claim).expect("claim");
    let (node, service) = (NODE.to_owned(), Service::Http { port: 1 });
    let start = Action::StartService { node, service };
    let (_, error) = machine.perform(&[start]).expect_err("port 1");
    let error = error.to_string();
    let how = "start the server: it ended with exit code 5; the end of its log:\n";
    assert!(error.starts_with(how), "{error}");
    assert!(error.contains("port 1 is taken"), "{error}");
    let seen = machine.observe().expect("look");
    assert_eq!(seen.service, None, "what did not start is not on record");
    let error = machine.start(Server::Serve).expect_err("nothing to start");
    assert!(matches!(error, MachineError::NoServer), "{error}");
}
