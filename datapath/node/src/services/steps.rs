//! In which order the maps are written: at no moment may a program find a service
//! that is only half there.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use lab_datapath_common::service::{
    AffinityMatch, Backend, ReverseNat, Service, ServiceKey, SkipKey,
};

use super::entries::Entries;

/// One write to one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    PutBackend(u32, Backend),
    PutReverseNat(u16, ReverseNat),
    PutMatch(AffinityMatch),
    PutSkip(SkipKey),
    PutSourceRange(u16, Ipv4Net),
    PutService(ServiceKey, Service),
    DropService(ServiceKey),
    DropSkip(SkipKey),
    DropSourceRange(u16, Ipv4Net),
    DropMatch(AffinityMatch),
    DropReverseNat(u16),
    DropBackend(u32),
}

/// What turns `there` into `wanted`: what is referred to goes before what refers to it,
/// and the other way round on removal.
///
/// Slots go before the frontend that counts them, and slots that it no longer counts
/// after it; what a frontend leads on to (an inner scope, what it would be without its
/// redirect) before the frontend.
pub(crate) fn steps(there: &Entries, wanted: &Entries) -> Vec<Step> {
    let mut steps = Vec::new();
    let puts = |it: BTreeMap<_, _>| it.into_iter().map(|(id, it)| Step::PutBackend(id, it));
    steps.extend(puts(missing(&there.backends, &wanted.backends)));
    for (id, frontend) in missing(&there.reverse_nat, &wanted.reverse_nat) {
        steps.push(Step::PutReverseNat(id, frontend));
    }
    let matches = wanted.matches.difference(&there.matches);
    steps.extend(matches.map(|it| Step::PutMatch(*it)));
    let skips = wanted.skips.difference(&there.skips);
    steps.extend(skips.map(|it| Step::PutSkip(*it)));

    let ranges = wanted.source_ranges.difference(&there.source_ranges);
    steps.extend(ranges.map(|(id, range)| Step::PutSourceRange(*id, *range)));

    let mut services: Vec<_> = missing(&there.services, &wanted.services)
        .into_iter()
        .collect();
    services.sort_by_key(|(key, _)| (key.slot == 0, Reverse(key.scope)));
    steps.extend(
        services
            .into_iter()
            .map(|(key, it)| Step::PutService(key, it)),
    );
    let mut gone: Vec<_> = there
        .services
        .keys()
        .filter(|key| !wanted.services.contains_key(key))
        .collect();
    gone.sort_by_key(|key| (key.slot != 0, key.scope));
    steps.extend(gone.into_iter().map(|key| Step::DropService(*key)));

    let ranges = there.source_ranges.difference(&wanted.source_ranges);
    steps.extend(ranges.map(|(id, range)| Step::DropSourceRange(*id, *range)));
    let skips = there.skips.difference(&wanted.skips);
    steps.extend(skips.map(|it| Step::DropSkip(*it)));
    let matches = there.matches.difference(&wanted.matches);
    steps.extend(matches.map(|it| Step::DropMatch(*it)));
    let unused = |id: &&u16| !wanted.reverse_nat.contains_key(id);
    steps.extend(
        there
            .reverse_nat
            .keys()
            .filter(unused)
            .map(|id| Step::DropReverseNat(*id)),
    );
    let unused = |id: &&u32| !wanted.backends.contains_key(id);
    steps.extend(
        there
            .backends
            .keys()
            .filter(unused)
            .map(|id| Step::DropBackend(*id)),
    );
    steps
}

/// What of `wanted` is not in `there`, or differs.
fn missing<K: Copy + Ord, V: Copy + PartialEq>(
    there: &BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
) -> BTreeMap<K, V> {
    wanted
        .iter()
        .filter(|(key, value)| there.get(key) != Some(value))
        .map(|(key, value)| (*key, *value))
        .collect()
}
