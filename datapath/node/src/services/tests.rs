//! From documents to maps, and every moment on the way.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_datapath_common::service::{ServiceKey, flag, flag2, scope};
use lab_model::node_state::{
    Backend, LocalRedirect, NodeState, Protocol, RedirectFrontend, Service, ServicePort,
    ServiceType, TrafficPolicy,
};
use proptest::prelude::*;

use super::entries::Entries;
use super::frontends::{Frontend, Kind, frontends};
use super::ids::Ids;
use super::steps::{Step, steps};
use crate::agent::tests::document;

const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 100);
const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 80);
const LOAD_BALANCER: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 241);

fn backend(host: u8, node: &str) -> Backend {
    Backend {
        pod: format!("default/pod-{host}"),
        node: node.into(),
        address: Ipv4Addr::new(10, 244, 0, host),
        port: 8080,
    }
}

fn service(backends: Vec<Backend>) -> Service {
    Service {
        namespace: "default".into(),
        name: "web".into(),
        external_name: None,
        service_type: ServiceType::NodePort,
        cluster_ip: Some(CLUSTER_IP),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        denies_source_ranges: false,
        external_ips: Vec::new(),
        ports: vec![ServicePort {
            name: None,
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30080),
            backends,
        }],
        endpoints: vec![],
        external_traffic_policy: TrafficPolicy::Cluster,
        internal_traffic_policy: TrafficPolicy::Cluster,
        session_affinity: None,
    }
}

fn redirect(backends: Vec<Backend>, skip: bool) -> LocalRedirect {
    LocalRedirect {
        namespace: "default".into(),
        name: "local".into(),
        skip_redirect_from_backend: skip,
        frontends: vec![RedirectFrontend {
            service: Some("default/web".into()),
            address: CLUSTER_IP,
            port: 80,
            protocol: Protocol::Tcp,
            backends,
        }],
    }
}

fn state(services: Vec<Service>, redirects: Vec<LocalRedirect>) -> NodeState {
    NodeState {
        services,
        redirects,
        ..document("k8s-ctr", 0)
    }
}

fn front(address: Ipv4Addr, port: u16) -> Frontend {
    Frontend {
        address,
        port,
        protocol: Protocol::Tcp,
    }
}

fn entries(state: &NodeState, ids: &mut Ids) -> Entries {
    let (frontends, skips) = frontends(state, &[NODE]);
    ids.assign(&frontends);
    let cookies = (0..32).map(|host| (format!("default/pod-{host}"), 100 + host));
    Entries::new(&frontends, &skips, ids, &cookies.collect())
}

#[test]
fn a_node_port_is_on_each_address_and_on_any() {
    let state = state(vec![service(vec![backend(10, "k8s-ctr")])], Vec::new());
    let (frontends, _) = frontends(&state, &[NODE]);
    let kinds: Vec<_> = frontends
        .iter()
        .map(|((frontend, _), it)| (frontend.to_string(), it.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("0.0.0.0:30080/TCP".into(), Kind::NodePort),
            ("10.96.0.80:80/TCP".into(), Kind::ClusterIp),
            ("192.168.10.100:30080/TCP".into(), Kind::NodePort),
        ]
    );
}

#[test]
fn external_traffic_policy_local_has_an_entry_for_each_side() {
    let mut web = service(vec![backend(10, "k8s-ctr"), backend(20, "k8s-w1")]);
    web.external_traffic_policy = TrafficPolicy::Local;
    let (frontends, _) = frontends(&state(vec![web], Vec::new()), &[NODE]);
    let outside = &frontends[&(front(NODE, 30080), scope::EXT)];
    let inside = &frontends[&(front(NODE, 30080), scope::INT)];
    assert_eq!((outside.backends.len(), inside.backends.len()), (1, 2));
    assert_ne!(outside.flags2 & flag2::TWO_SCOPES, 0);
    let cluster_ip = &frontends[&(front(CLUSTER_IP, 80), scope::EXT)];
    assert_eq!(cluster_ip.backends.len(), 2, "no outside, no policy for it");
}

#[test]
fn source_ranges_are_those_of_load_balancer_addresses() {
    let mut web = service(vec![backend(10, "k8s-ctr")]);
    web.load_balancer_ips = vec![LOAD_BALANCER];
    web.external_ips = vec![Ipv4Addr::new(203, 0, 113, 80)];
    web.source_ranges = vec!["192.168.10.0/24".parse().expect("a range")];
    let mut ids = Ids::default();
    let ranged = entries(&state(vec![web.clone()], Vec::new()), &mut ids);
    let checked = |entries: &Entries| -> Vec<_> {
        let services = entries.services.iter();
        let fronts =
            services.filter(|(key, it)| key.slot == 0 && it.flags & flag::SOURCE_RANGE != 0);
        fronts
            .map(|(key, it)| {
                (
                    Ipv4Addr::from(key.address),
                    it.flags2 & flag2::SOURCE_RANGE_DENY,
                )
            })
            .collect()
    };
    assert_eq!(checked(&ranged), [(LOAD_BALANCER, 0)]);
    let id = ids.services[&front(LOAD_BALANCER, 80)];
    assert_eq!(ranged.source_ranges, [(id, web.source_ranges[0])].into());
    web.denies_source_ranges = true;
    let inverted = entries(&state(vec![web.clone()], Vec::new()), &mut ids);
    assert_eq!(
        checked(&inverted),
        [(LOAD_BALANCER, flag2::SOURCE_RANGE_DENY)]
    );
    web.source_ranges.clear();
    let open = entries(&state(vec![web], Vec::new()), &mut ids);
    assert_eq!((checked(&open), open.source_ranges.len()), (vec![], 0));
}

#[test]
fn bug_43454_a_redirect_without_backends_changes_nothing() {
    let services = vec![service(vec![backend(20, "k8s-w1")])];
    let without = frontends(&state(services.clone(), Vec::new()), &[NODE]);
    let with = frontends(&state(services, vec![redirect(Vec::new(), true)]), &[NODE]);
    assert_eq!(with, without);
}

#[test]
fn a_redirect_replaces_the_service_and_keeps_it_for_those_exempt() {
    let local = redirect(vec![backend(10, "k8s-ctr")], true);
    let state = state(vec![service(vec![backend(20, "k8s-w1")])], vec![local]);
    let (frontends, skips) = frontends(&state, &[NODE]);
    let cluster_ip = front(CLUSTER_IP, 80);
    let redirected = &frontends[&(cluster_ip, scope::EXT)];
    assert_eq!(redirected.kind, Kind::LocalRedirect);
    assert_eq!(redirected.backends, [(Ipv4Addr::new(10, 244, 0, 10), 8080)]);
    let before = &frontends[&(cluster_ip, scope::UNREDIRECTED)];
    assert_eq!(before.kind, Kind::ClusterIp);
    assert_eq!(skips, [("default/pod-10".to_owned(), cluster_ip)].into());
}

#[test]
fn numbers_are_kept_and_the_last_freed_is_the_last_reused() {
    let mut ids = Ids::default();
    let one = vec![service(vec![backend(10, "k8s-ctr")])];
    let first = entries(&state(one.clone(), Vec::new()), &mut ids);
    let mut more = one.clone();
    more[0].ports[0].backends.push(backend(9, "k8s-ctr"));
    let second = entries(&state(more, Vec::new()), &mut ids);
    assert_eq!(second.reverse_nat, first.reverse_nat);
    assert_eq!(second.backends[&1], first.backends[&1]);
    assert_eq!(
        Ids::of(&second),
        ids,
        "another agent reads them off the maps"
    );
    entries(&state(Vec::new(), Vec::new()), &mut ids);
    let third = entries(&state(one, Vec::new()), &mut ids);
    assert!(
        third
            .reverse_nat
            .keys()
            .all(|id| !first.reverse_nat.contains_key(id))
    );
    assert_eq!(third.backends.keys().copied().collect::<Vec<_>>(), [3]);
}

/// What a program may meet: every frontend has its slots, each with a backend, and its
/// way back.
fn assert_whole(entries: &Entries) {
    for (key, service) in entries.services.iter().filter(|(key, _)| key.slot == 0) {
        for slot in 1..=service.count {
            let at_slot = entries.services.get(&key.at_slot(slot));
            let id = at_slot.unwrap_or_else(|| panic!("{key:?} lacks slot {slot}"));
            let known = entries.backends.contains_key(&id.backend_or_timeout);
            assert!(known, "{key:?} has no backend at slot {slot}");
        }
        assert!(entries.reverse_nat.contains_key(&service.rev_nat_index));
        let mut ranges = entries.source_ranges.iter();
        let has_ranges = ranges.any(|(id, _)| *id == service.rev_nat_index);
        assert!(
            has_ranges || service.flags & flag::SOURCE_RANGE == 0,
            "{key:?}"
        );
        if service.flags2 & flag2::TWO_SCOPES != 0 {
            let inner = ServiceKey {
                scope: scope::INT,
                ..*key
            };
            assert!(entries.services.contains_key(&inner), "{key:?}");
        }
    }
}

fn carry_out(entries: &mut Entries, step: Step) {
    match step {
        Step::PutBackend(id, it) => drop(entries.backends.insert(id, it)),
        Step::PutReverseNat(id, it) => drop(entries.reverse_nat.insert(id, it)),
        Step::PutMatch(it) => drop(entries.matches.insert(it)),
        Step::PutSkip(it) => drop(entries.skips.insert(it)),
        Step::PutSourceRange(id, it) => drop(entries.source_ranges.insert((id, it))),
        Step::PutService(key, it) => drop(entries.services.insert(key, it)),
        Step::DropService(key) => drop(entries.services.remove(&key)),
        Step::DropSourceRange(id, it) => drop(entries.source_ranges.remove(&(id, it))),
        Step::DropSkip(it) => drop(entries.skips.remove(&it)),
        Step::DropMatch(it) => drop(entries.matches.remove(&it)),
        Step::DropReverseNat(id) => drop(entries.reverse_nat.remove(&id)),
        Step::DropBackend(id) => drop(entries.backends.remove(&id)),
    }
}

fn any_state() -> impl Strategy<Value = NodeState> {
    let backends = prop::collection::btree_set((1_u8..16, any::<bool>()), 0..6);
    let policy = prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)];
    let ranges = prop::collection::btree_set(0_u8..4, 0..3);
    let one = (backends, policy, any::<bool>(), any::<bool>(), ranges);
    let local = prop::option::of((0_u8..3, any::<bool>()));
    (prop::collection::vec(one, 0..3), local).prop_map(|(services, local)| {
        let services = services.into_iter().enumerate().map(|(number, it)| {
            let (backends, policy, sticky, cluster, ranges) = it;
            let number = u8::try_from(number).expect("few");
            let place = |local| if local { "k8s-ctr" } else { "k8s-w1" };
            let backends = backends
                .iter()
                .map(|(host, local)| backend(*host, place(*local)));
            let mut service = service(backends.collect());
            service.cluster_ip = cluster.then(|| Ipv4Addr::new(10, 96, 0, 80 + number));
            service.ports[0].node_port = Some(30080 + u16::from(number));
            service.external_traffic_policy = policy;
            service.session_affinity = sticky.then_some(60);
            service.load_balancer_ips = vec![Ipv4Addr::new(192, 168, 10, 240 + number)];
            let range = |third: &u8| Ipv4Net::new_assert(Ipv4Addr::new(10, 0, *third, 0), 24);
            service.source_ranges = ranges.iter().map(range).collect();
            service
        });
        let local = local.map(|(count, skip)| {
            redirect(
                (0..count).map(|host| backend(host, "k8s-ctr")).collect(),
                skip,
            )
        });
        state(services.collect(), local.into_iter().collect())
    })
}

proptest! {
    #[test]
    fn no_service_is_ever_half_there(states in prop::collection::vec(any_state(), 1..5)) {
        let (mut ids, mut there) = (Ids::default(), Entries::default());
        for state in states {
            let wanted = entries(&state, &mut ids);
            for step in steps(&there, &wanted) {
                carry_out(&mut there, step);
                assert_whole(&there);
            }
            prop_assert_eq!(&there, &wanted);
            prop_assert_eq!(steps(&there, &wanted), []);
        }
    }
}

#[test]
fn kube_proxys_node_has_none() {
    let mut state = state(vec![service(Vec::new())], Vec::new());
    state.datapath.services = lab_model::node_state::ServiceHandling::KubeProxy;
    assert_eq!(entries(&state, &mut Ids::default()), Entries::default());
}
