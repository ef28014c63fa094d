//! Every fault at once, with its place and what to do.

mod cluster;
mod manifest;

use lab_cluster::{Allocations, compute, parse};

use crate::{objects, study_lab};

/// The faults of a manifest, as users read them.
#[track_caller]
fn parse_faults(manifest: &str) -> String {
    let faults = parse("lab.yaml", manifest).expect_err("there are faults");
    faults.render(false)
}

/// The faults of manifests that only show in the study lab, as users read them.
#[track_caller]
pub(crate) fn compute_faults(manifests: &[&str]) -> String {
    let faults = compute(&study_lab(), &objects(manifests), &Allocations::default())
        .expect_err("there are faults");
    faults.render(false)
}

#[track_caller]
pub(crate) fn assert_parse_fails(manifest: &str, messages: &[&str]) {
    assert_messages(&parse_faults(manifest), messages);
}

/// The faults' messages alone, in their order.
#[track_caller]
pub(crate) fn assert_messages(faults: &str, expected: &[&str]) {
    let messages: Vec<&str> = faults
        .lines()
        .filter_map(|line| line.strip_prefix("error: "))
        .collect();
    assert_eq!(messages, expected, "got:\n{faults}");
}

/// The faults of a manifest word for word.
#[track_caller]
pub(crate) fn assert_parse_says(manifest: &str, expected: &str) {
    let faults = parse_faults(manifest);
    assert_eq!(faults, expected, "got:\n{faults}");
}
