//! Captured packets against expectations.

use super::Captured;
use super::evidence::PacketFailure;
use super::hop::Path;
use crate::check_file::{Check, Expectation};
use crate::filter::NearMiss;
use crate::packet::{Capture, Describer, Packet};

/// Packets shown for one failed expectation.
const SHOWN: usize = 6;

/// Counts arriving packets, so that a runner can stop waiting as soon as all are in.
#[derive(Debug, Default)]
pub struct Progress {
    /// For each expectation: packets looked at, and how many of them matched.
    counted: Vec<(usize, u64)>,
}

impl Progress {
    /// Nothing looked at yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether at least as many packets have arrived as every expectation asks for. Looks only at
    /// packets that are new since the last call; `captures` are in the order of the check.
    #[must_use]
    pub fn satisfied(&mut self, check: &Check, captures: &[&Capture]) -> bool {
        self.counted.resize(check.expectations.len(), (0, 0));
        for (expectation, (seen, matched)) in check.expectations.iter().zip(&mut self.counted) {
            let Some(capture) = captures.get(expectation.capture) else {
                continue;
            };
            let new = capture.packets_from(*seen);
            *seen += new.len();
            *matched += new
                .filter(|packet| expectation.filter.matches(packet))
                .count() as u64;
        }
        check
            .expectations
            .iter()
            .zip(&self.counted)
            .all(|(expectation, (_, matched))| *matched >= expectation.count.min)
    }
}

/// Every expectation that is not met, in the order of the file.
pub(super) fn failures(check: &Check, captures: &[Captured]) -> Vec<PacketFailure> {
    let failures = check
        .expectations
        .iter()
        .filter_map(|expectation| failure(check, expectation, captures));
    failures.collect()
}

fn failure(
    check: &Check,
    expectation: &Expectation,
    captures: &[Captured],
) -> Option<PacketFailure> {
    let capture = &captures[expectation.capture].capture;
    let matching: Vec<Packet<'_>> = capture
        .packets()
        .filter(|packet| expectation.filter.matches(packet))
        .collect();
    let matched = matching.len() as u64;
    if expectation.count.contains(matched) {
        return None;
    }
    let path = Path {
        check,
        captures,
        at: expectation.capture,
    };
    let (shown, hint) = if matched < expectation.count.min {
        instead(&path, expectation, capture)
    } else {
        let hint = matching.first().and_then(|packet| path.unwanted(packet));
        (matching.iter().map(|packet| packet.number).collect(), hint)
    };
    let spec = &check.captures[expectation.capture];
    Some(PacketFailure {
        capture: spec.name.clone(),
        on: spec.on.to_string(),
        interface: spec.interface.clone(),
        expected: expectation.count.to_string(),
        filter: expectation.filter.text().to_owned(),
        matched,
        captured: capture.len() as u64,
        packets: describe(capture, &shown[..shown.len().min(SHOWN)]),
        packets_left_out: shown.len().saturating_sub(SHOWN) as u64,
        hint,
    })
}

/// Numbers of the packets that were there instead of those expected, and what to say of them.
fn instead(
    path: &Path<'_>,
    expectation: &Expectation,
    capture: &Capture,
) -> (Vec<u64>, Option<String>) {
    let near: Vec<(Packet<'_>, NearMiss)> = capture
        .packets()
        .filter_map(|packet| Some((packet, expectation.filter.near_miss(&packet)?)))
        .collect();
    let mut shown: Vec<u64> = near.iter().map(|(packet, _)| packet.number).collect();
    if shown.is_empty() {
        shown.extend(capture.packets().map(|packet| packet.number));
    }
    (shown, path.missing(expectation, &near))
}

/// The packets with those numbers, which ascend, as tcpdump prints them.
fn describe(capture: &Capture, numbers: &[u64]) -> Vec<String> {
    let mut describer = Describer::new();
    let mut lines = Vec::new();
    for packet in capture.packets() {
        let line = describer.describe(&packet);
        if numbers.contains(&packet.number) {
            lines.push(line);
        }
        if lines.len() == numbers.len() {
            break;
        }
    }
    lines
}

/// Why expectations that are met prove nothing: an absence at a capture that saw no packet, and
/// that nothing else shows to work.
pub(super) fn unproven(check: &Check, captures: &[Captured]) -> Option<String> {
    check.captures.iter().enumerate().find_map(|(index, spec)| {
        let here = || check.expectations.iter().filter(move |expectation| expectation.capture == index);
        let silent = captures[index].capture.is_empty();
        (silent && here().count() > 0 && here().all(|expectation| expectation.count.min == 0)).then(|| {
            format!(
                "absence at capture `{}` ({} {}) proves nothing: it saw no packet at all, so it may not work; \
                 expect something there that must be seen",
                spec.name, spec.on, spec.interface
            )
        })
    })
}
