//! What holds of every plan: it leads there, and then there is nothing to do.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::simulation::{apply_with, delete_interface, remove_interface, run_with, unplug_segment};
use super::{absent, net, plan_with};
use crate::lab::{Lab, Node, Role, StaticRoute};
use crate::plan::{Cable, MacAddress, Observed, Undo, Wiring, plan, undo};

/// A lab of up to seven nodes, with roles, dummies, servers and routes that differ.
pub(super) fn any_lab() -> impl Strategy<Value = Lab> {
    let node = (0..3_usize, any::<bool>(), any::<bool>(), any::<bool>());
    let nodes = prop::collection::btree_map(1..8_u8, node, 0..7);
    (nodes, any::<bool>(), any::<bool>(), 0..3_u8).prop_map(|(nodes, world, masquerade, shift)| {
        let mut lab = super::lab(&[]);
        lab.values.bpf.masquerade = masquerade;
        for (number, (role, dummy, serve, route)) in nodes {
            add_node(
                &mut lab,
                number,
                shift,
                [Role::ControlPlane, Role::Worker, Role::Router][role],
            );
            let node = lab.nodes.last_mut().expect("the node just added");
            if dummy {
                node.dummies = BTreeMap::from([("loop1".to_owned(), net("10.10.1.200/24"))]);
            }
            node.serve_http = serve.then_some(80);
            if route {
                add_route(&mut lab, number);
            }
        }
        if world {
            lab.nodes
                .push(super::lab(&[("internet", Role::World, 0)]).nodes.remove(0));
        }
        lab
    })
}

/// `shift` moves the node's address between two labs that both have the node.
fn add_node(lab: &mut Lab, number: u8, shift: u8, role: Role) {
    let name = format!("n{number}");
    let address = number + if number == 1 { 100 + shift } else { 0 };
    let mut nodes: Vec<Node> = super::lab(&[(&name, role, address)]).nodes;
    lab.nodes.append(&mut nodes);
}

fn add_route(lab: &mut Lab, number: u8) {
    let on = format!("n{number}");
    lab.routes.push(StaticRoute {
        to: net("10.20.0.0/16"),
        via: "elsewhere".to_owned(),
        gateway: [192, 168, 10, 200 + number % 2].into(),
        on: vec![on],
    });
}

/// One thing that goes wrong in a running lab.
#[derive(Clone, Copy, Debug)]
pub(super) enum Damage {
    Fault,
    NoRecord,
    DeleteInterface,
    ChangeMac,
    SetDown,
    LoseAddress,
    AddAddress,
    LoseRoutes,
    Forwarding,
    Hosts,
    KillService,
    KillAgent,
    Drift,
    LoseSegment,
    PortDown,
    StrayPort,
    StrayInterface,
}

pub(super) fn any_wiring() -> impl Strategy<Value = Wiring> {
    prop::sample::select(vec![Wiring::Cables, Wiring::Machines])
}

pub(super) fn any_damages() -> impl Strategy<Value = Vec<(Damage, Index)>> {
    prop::collection::vec((any_damage(), any::<Index>()), 0..6)
}

fn any_damage() -> impl Strategy<Value = Damage> {
    use Damage::*;
    prop::sample::select(vec![
        Fault,
        NoRecord,
        DeleteInterface,
        ChangeMac,
        SetDown,
        LoseAddress,
        AddAddress,
        LoseRoutes,
        Forwarding,
        Hosts,
        KillService,
        KillAgent,
        Drift,
        LoseSegment,
        PortDown,
        StrayPort,
        StrayInterface,
    ])
}

fn hurt(seen: &mut Observed, damage: Damage, at: Index) {
    match damage {
        Damage::LoseSegment => {
            seen.segment = None;
            unplug_segment(seen);
            return;
        }
        Damage::PortDown | Damage::StrayPort => {
            let Some(segment) = &mut seen.segment else {
                return;
            };
            segment.ports.insert("stray".to_owned(), true);
            let port = at.index(segment.ports.len());
            segment
                .ports
                .values_mut()
                .nth(port)
                .into_iter()
                .for_each(|it| *it = false);
            return;
        }
        _ => {}
    }
    if seen.nodes.is_empty() {
        return;
    }
    let names: Vec<_> = seen.nodes.keys().cloned().collect();
    let name = at.get(&names).clone();
    hurt_node(seen, &name, damage, at);
}

fn hurt_node(seen: &mut Observed, name: &str, damage: Damage, at: Index) {
    let node = seen
        .nodes
        .get_mut(name)
        .expect("a node that was just listed");
    let names: Vec<_> = node.interfaces.keys().cloned().collect();
    let interface = at.get(&names).clone();
    let mac = MacAddress::of("study", name, "old0");
    match damage {
        Damage::Fault => node.fault = Some("its pause process is gone".to_owned()),
        Damage::NoRecord => node.role = None,
        Damage::DeleteInterface if interface != "lo" => delete_interface(seen, name, &interface),
        Damage::LoseRoutes => {
            node.static_routes.clear();
            node.neighbours.clear();
        }
        Damage::Forwarding => node.forwarding ^= true,
        Damage::Hosts => node.hosts.clear(),
        Damage::KillService => node.service.iter_mut().for_each(|it| it.alive = false),
        Damage::KillAgent => node.agent.iter_mut().for_each(|it| it.alive = false),
        Damage::Drift => node
            .agent
            .iter_mut()
            .for_each(|it| it.drift.push("a map".to_owned())),
        Damage::StrayInterface => {
            let stray = crate::plan::ObservedInterface {
                cable: Cable::None,
                mac,
                up: true,
                addresses: [net("10.9.9.9/24")].into(),
            };
            node.interfaces.insert("old0".to_owned(), stray);
        }
        _ => hurt_interface(seen, name, &interface, damage),
    }
}

fn hurt_interface(seen: &mut Observed, name: &str, interface: &str, damage: Damage) {
    let node = seen
        .nodes
        .get_mut(name)
        .expect("a node that was just listed");
    let routes: Vec<_> = node
        .static_routes
        .iter()
        .filter(|it| it.dev == interface)
        .cloned()
        .collect();
    let at = node
        .interfaces
        .get_mut(interface)
        .expect("an interface that was just listed");
    match damage {
        Damage::ChangeMac if interface != "lo" => at.mac.0[5] ^= 1,
        Damage::SetDown => at.up = false,
        Damage::LoseAddress => {
            at.addresses.pop_first();
        }
        Damage::AddAddress if interface != "lo" => {
            at.addresses.insert(net("10.99.0.1/16"));
        }
        _ => {}
    }
    if !at.up || at.addresses.is_empty() {
        node.static_routes.retain(|route| !routes.contains(route));
    }
}

/// `lab`, up and then hurt.
pub(super) fn damaged(wiring: Wiring, lab: &Lab, damages: &[(Damage, Index)]) -> Observed {
    let mut seen = absent(lab);
    let plan = plan_with(wiring, lab, &seen);
    run_with(wiring, &mut seen, &plan);
    for (damage, at) in damages {
        hurt(&mut seen, *damage, *at);
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        // Many pairs of labs cannot be undone: see the last property.
        max_global_rejects: 50_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_plan_leads_to_the_lab(
        wiring in any_wiring(),
        before in any_lab(),
        after in any_lab(),
        damages in any_damages(),
    ) {
        let mut seen = damaged(wiring, &before, &damages);
        let plan = plan_with(wiring, &after, &seen);
        prop_assert!(plan.steps.is_sorted_by_key(|step| step.action.phase()));
        prop_assert!(plan.steps.iter().all(|step| !step.reason.is_empty()));
        run_with(wiring, &mut seen, &plan);
        prop_assert_eq!(plan_with(wiring, &after, &seen).steps, vec![]);
    }

    #[test]
    fn every_half_made_lab_is_finished(
        wiring in any_wiring(),
        lab in any_lab(),
        stop in any::<Index>(),
    ) {
        let mut seen = absent(&lab);
        let plan = plan_with(wiring, &lab, &seen);
        for step in &plan.steps[..stop.index(plan.steps.len() + 1)] {
            apply_with(wiring, &mut seen, &step.action);
        }
        let rest = plan_with(wiring, &lab, &seen);
        run_with(wiring, &mut seen, &rest);
        prop_assert_eq!(plan_with(wiring, &lab, &seen).steps, vec![]);
    }

    #[test]
    fn removal_leaves_nothing(
        wiring in any_wiring(),
        lab in any_lab(),
        damages in any_damages(),
    ) {
        let mut seen = damaged(wiring, &lab, &damages);
        let plan = plan(None, &seen);
        run_with(wiring, &mut seen, &plan);
        prop_assert_eq!(seen, absent(&lab));
    }

    /// Where nothing is lost, taking back half of a plan restores what was.
    #[test]
    fn undo_restores_what_was(
        wiring in any_wiring(),
        before in any_lab(),
        after in any_lab(),
        stop in any::<Index>(),
    ) {
        let was = damaged(wiring, &before, &[]);
        let plan = plan_with(wiring, &after, &was);
        let done = &plan.steps[..stop.index(plan.steps.len() + 1)];
        let done: Vec<_> = done.iter().map(|step| step.action.clone()).collect();
        let ways = undo(&done);
        prop_assume!(!ways.iter().any(|way| matches!(way, Undo::Lost(_))));
        let mut seen = was.clone();
        done.iter().for_each(|action| apply_with(wiring, &mut seen, action));
        for way in ways {
            if let Undo::By(action) = way {
                apply_with(wiring, &mut seen, &action);
            }
        }
        // A deleted node leaves no far ends: its cables were taken back before.
        for node in seen.nodes.values_mut() {
            let gone: Vec<_> = node.interfaces.iter()
                .filter(|(_, it)| it.cable == Cable::Other)
                .map(|(name, _)| name.clone()).collect();
            gone.iter().for_each(|name| drop(remove_interface(node, name)));
        }
        prop_assert_eq!(plan_with(wiring, &before, &seen).steps, vec![]);
    }
}
