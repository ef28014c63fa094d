//! Corefiles: any text is a configuration that can be served, or has a fault at a
//! line of it.

#![no_main]

use std::path::Path;

use lab_dns::corefile::{self, Pillars};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Other files are no part of the input.
    if text.contains("import") {
        return;
    }
    let pillars = Pillars {
        cluster_dns: Some(vec![[10, 96, 0, 10].into()]),
        upstream_servers: vec!["192.0.2.1".to_owned()],
        local_dns: vec![[169, 254, 20, 10].into()],
    };
    match corefile::parse(Path::new("Corefile"), text, &pillars) {
        Ok(config) => {
            for block in &config.blocks {
                assert!(!block.keys.is_empty(), "a block has a zone");
                assert!(block.keys.iter().all(|key| key.zone.ends_with('.')));
            }
        }
        Err(fault) => {
            let said = fault.to_string();
            assert!(said.contains("Corefile"), "{said}");
        }
    }
});
