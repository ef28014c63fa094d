use std::net::Ipv4Addr;

use lab_datapath_common::{Address, Port};
use proptest::prelude::*;

use super::*;

const MINUTES: Duration = Duration::from_secs(60);

#[test]
fn the_interval_follows_the_share_of_dead_entries() {
    let after = |share| next_interval(5 * MINUTES, 5 * MINUTES, share);
    assert_eq!(after(0.0), 5 * MINUTES, "nothing died: nothing learned");
    assert_eq!(after(0.01), Duration::from_secs(450));
    assert_eq!(after(0.05), 5 * MINUTES);
    assert_eq!(after(0.25), 5 * MINUTES);
    assert_eq!(after(0.5), Duration::from_secs(150));
    assert_eq!(
        after(0.99),
        Duration::from_secs(30),
        "never less than a tenth"
    );
    assert_eq!(next_interval(MIN_INTERVAL, MIN_INTERVAL, 1.0), MIN_INTERVAL);
    assert_eq!(
        next_interval(MAX_INTERVAL, MAX_INTERVAL, 0.01),
        MAX_INTERVAL
    );
}

/// cilium/cilium #27405: a signal wakes the collector after 30 s of 5 min, and it
/// finds few dead entries only because it came early. The interval must shorten,
/// not grow by half.
#[test]
fn a_pass_that_came_early_does_not_lengthen_the_interval() {
    let early = next_interval(5 * MINUTES, Duration::from_secs(30), 0.04);
    assert_eq!(early, Duration::from_secs(180));
}

proptest! {
    #[test]
    fn the_interval_stays_in_bounds(planned in 10_u64..50_000, passed in 0_u64..50_000, share in 0.0..=1.0) {
        let next = next_interval(Duration::from_secs(planned), Duration::from_secs(passed), share);
        prop_assert!((MIN_INTERVAL..=MAX_INTERVAL).contains(&next));
    }
}

fn tuple(
    protocol: u8,
    source: [u8; 4],
    source_port: u16,
    destination: [u8; 4],
    port: u16,
) -> Tuple {
    Tuple {
        source: Address::from(Ipv4Addr::from(source)),
        destination: Address::from(Ipv4Addr::from(destination)),
        source_port: Port::new(source_port),
        destination_port: Port::new(port),
        protocol,
        ..Tuple::default()
    }
}

const POD: [u8; 4] = [10, 244, 0, 5];
const NODE: [u8; 4] = [192, 168, 10, 100];
const ROUTER: [u8; 4] = [192, 168, 10, 200];

/// The pair of NAT entries of one flow from the pod to the router.
fn pair(protocol: u8, port: u16, remote: u16, nat: u16, created: u32) -> [(Tuple, NatEntry); 2] {
    let entry = |address: [u8; 4], port| NatEntry {
        created,
        address: Address::from(Ipv4Addr::from(address)),
        port: Port::new(port),
        needs_ct: 0,
    };
    let out = tuple(protocol, POD, port, ROUTER, remote);
    let back = tuple(protocol, ROUTER, remote, NODE, nat).with_direction(Direction::In);
    [(out, entry(NODE, nat)), (back, entry(POD, port))]
}

fn ct(key: Tuple, lifetime: u32) -> (Tuple, CtEntry) {
    (
        key,
        CtEntry {
            lifetime,
            ..CtEntry::default()
        },
    )
}

#[test]
fn a_pair_goes_with_its_conntrack_entry_and_stays_with_it() {
    let live = pair(protocol::TCP, 40_000, 80, 40_000, 100);
    let gone = pair(protocol::TCP, 40_001, 80, 40_001, 100);
    let nat = [live, gone].concat();
    let found = dead(&nat, &[ct(live[0].0, 1001), ct(gone[0].0, 1000)], 1000);
    assert_eq!(found.ct_tcp, [gone[0].0]);
    assert_eq!(found.ct_any, []);
    assert_eq!(found.nat, [gone[0].0, gone[1].0]);
}

/// cilium/cilium #12625: ICMP translations were never collected.
#[test]
fn icmp_translations_are_collected_too() {
    let echo = pair(protocol::ICMP, 123, 0, 123, 100);
    let found = dead(&echo, &[ct(echo[0].0, 900)], 1000);
    assert_eq!(found.ct_any, [echo[0].0]);
    assert_eq!(found.nat, [echo[0].0, echo[1].0]);
}

#[test]
fn an_orphan_goes_unless_it_is_new() {
    let old = pair(protocol::UDP, 40_000, 53, 40_000, 980);
    let new = pair(protocol::UDP, 40_001, 53, 40_001, 995);
    let found = dead(&[old, new].concat(), &[], 1000);
    assert_eq!(found.nat, [old[0].0, old[1].0]);
}

/// A flow opened towards the pod has nothing to do with a translation.
#[test]
fn an_inbound_flow_keeps_no_translation_alive() {
    let orphan = pair(protocol::TCP, 40_000, 80, 40_000, 100);
    let inbound = ct(orphan[0].0.with_direction(Direction::In), 5000);
    assert_eq!(dead(&orphan, &[inbound], 1000).nat.len(), 2);
}
