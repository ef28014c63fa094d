//! LoadBalancer addresses out of pools (Cilium's LB-IPAM).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use lab_model::diagnostic::Diagnostics;
use lab_model::node_state::ServiceType;

use super::{ServiceObject, service_labels};
use crate::allocations::{Allocations, ServiceAllocation};
use crate::faults::beside;
use crate::object::{Kind, LoadBalancerIpPool, Object};
use crate::stable_hash::{hash64, probe};

/// A pool and its object.
type Pool<'a> = (&'a Object, &'a LoadBalancerIpPool);

/// Gives the services of type LoadBalancer the addresses that they ask for, or
/// else one out of the first pool that has one for them; what a service had
/// before, it keeps. Without any pool for it, it waits, as in Cilium.
pub(crate) fn allocate(
    services: &[ServiceObject<'_>],
    objects: &[&Object],
    previous: &Allocations,
    given: &mut BTreeMap<String, ServiceAllocation>,
    faults: &mut Diagnostics,
) {
    let pools: Vec<Pool<'_>> = objects
        .iter()
        .filter_map(|object| match &object.kind {
            Kind::LoadBalancerIpPool(pool) => Some((*object, pool)),
            _ => None,
        })
        .collect();
    overlaps(&pools, faults);
    let wanting: Vec<&ServiceObject<'_>> = services
        .iter()
        .filter(|service| service.spec.service_type == ServiceType::LoadBalancer)
        .collect();
    let mut taken = BTreeSet::new();
    let mut put = |service: &ServiceObject<'_>, address| {
        let allocation = given.entry(service.object.key()).or_default();
        allocation.load_balancer_ips.push(address);
    };
    for service in &wanting {
        for wanted in &service.spec.requested_ips {
            let address = wanted.value;
            let in_pool = selecting(&pools, service).any(|(_, pool)| pool.contains(address));
            let message = if !in_pool {
                format!("no CiliumLoadBalancerIPPool for this service has {address}")
            } else if !taken.insert(address) {
                format!("another service asks for {address} too")
            } else {
                put(service, address);
                continue;
            };
            faults.push(service.object.fault(&wanted.span, message));
        }
    }
    let mut new = Vec::new();
    for service in wanting
        .iter()
        .filter(|service| service.spec.requested_ips.is_empty())
    {
        let before = previous.services.get(&service.object.key());
        let kept = before
            .and_then(|before| before.load_balancer_ips.first().copied())
            .filter(|&address| selecting(&pools, service).any(|(_, pool)| pool.contains(address)))
            .filter(|&address| taken.insert(address));
        match kept {
            Some(address) => put(service, address),
            None => new.push(service),
        }
    }
    for service in new {
        let mut pools = selecting(&pools, service).filter(|(_, pool)| !pool.disabled);
        let key = service.object.key();
        if let Some(address) = pools.find_map(|(_, pool)| free(pool, &key, &taken)) {
            taken.insert(address);
            put(service, address);
        }
    }
}

/// The pools whose selector means the service.
fn selecting<'a>(
    pools: &'a [Pool<'a>],
    service: &ServiceObject<'_>,
) -> impl Iterator<Item = &'a Pool<'a>> {
    let labels = service_labels(service.object);
    pools.iter().filter(move |(_, pool)| {
        let selector = pool.service_selector.as_ref();
        selector.is_none_or(|selector| selector.matches(&labels))
    })
}

/// The address of the first block with room that belongs to the service by hash.
fn free(pool: &LoadBalancerIpPool, key: &str, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    pool.blocks.iter().find_map(|(block, _)| {
        let size = (block.end() - block.start()).saturating_add(1);
        let address = |slot| Ipv4Addr::from(block.start() + slot);
        let hash = hash64("load-balancer", &[key]);
        probe(hash, size, |slot| !taken.contains(&address(slot))).map(address)
    })
}

/// Pools that share addresses: Cilium disables one of them.
fn overlaps(pools: &[Pool<'_>], faults: &mut Diagnostics) {
    let mut seen = Vec::new();
    for (object, pool) in pools {
        for (block, span) in &pool.blocks {
            let shares = |(_, other, _): &&(&Object, &std::ops::RangeInclusive<u32>, _)| {
                block.start() <= other.end() && other.start() <= block.end()
            };
            if let Some((other, _, first)) = seen.iter().find(shares) {
                let message = format!(
                    "the block shares addresses with CiliumLoadBalancerIPPool `{}`",
                    other.key()
                );
                let fault = object.fault(span, message);
                faults.push(beside(fault, object, other, first, "the other block"));
            }
            seen.push((*object, block, span.clone()));
        }
    }
}
