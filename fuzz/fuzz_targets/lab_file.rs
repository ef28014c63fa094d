//! Lab files: any text is a lab or has faults, each at a place in the text, and
//! what is read is what is written at the place it is said to be.

#![no_main]

use std::collections::HashSet;
use std::path::Path;

use lab_model::diagnostic::Diagnostics;
use lab_model::document::{At, Document};
use lab_model::lab::{Lab, Role};
use lab_model::lab_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match lab_file::parse("lab.yaml", text, Path::new("labs")) {
        Ok(lab) => check_lab(&lab),
        Err(faults) => check_faults(text, &faults),
    }
    match Document::parse_all("manifest.yaml", text) {
        Ok(documents) => documents
            .iter()
            .for_each(|document| check_places(text, &document.at())),
        Err(faults) => check_faults(text, &faults),
    }
});

/// What the rest of labctl relies on.
fn check_lab(lab: &Lab) {
    assert!(lab.nodes.iter().any(|node| node.role == Role::ControlPlane));
    let mut addresses = HashSet::new();
    for node in &lab.nodes {
        let Some(address) = node.address else {
            assert_eq!(node.role, Role::World);
            continue;
        };
        assert!(lab.network.contains(&address) && addresses.insert(address));
    }
    for route in &lab.routes {
        assert_eq!(
            lab.node(&route.via).and_then(|node| node.address),
            Some(route.gateway)
        );
        assert!(route.on.iter().all(|on| lab.node(on).is_some()));
    }
}

fn check_faults(text: &str, faults: &Diagnostics) {
    assert!(!faults.is_empty());
    for fault in faults {
        assert!(
            text.get(fault.span.clone()).is_some(),
            "{:?} of {text:?}",
            fault.span
        );
        assert!(!fault.message.is_empty());
    }
    assert!(faults.render(false).contains(".yaml:"));
    assert!(!faults.render(true).is_empty());
}

/// Plain words stand at their places as they read. Text of several lines, which
/// has spaces when read, is marked by its key or its first line.
fn check_places(text: &str, at: &At<'_>) {
    let written = text.get(at.span()).expect("a place is in the text");
    if let Some(read) = at.as_str()
        && at.span() != at.key_span()
        && written.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !read.contains(char::is_whitespace)
    {
        assert_eq!(written, read);
    }
    at.items().for_each(|item| check_places(text, &item));
    at.entries()
        .for_each(|(_, value)| check_places(text, &value));
}
