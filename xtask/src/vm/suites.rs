//! Test binaries that run on a machine, which has neither cargo nor the sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{command, output, target_folder};

/// A test binary, and which of its tests are run on each kernel.
pub(super) struct Suite {
    /// For people, and in names of logs.
    pub(super) name: &'static str,
    /// The target whose tests they are.
    pub(super) target: &'static str,
    /// Filters of libtest.
    pub(super) tests: &'static [&'static str],
}

/// The programs, packet by packet; and an agent that attaches them, both ways.
pub(super) const SUITES: &[Suite] = &[
    Suite {
        name: "datapath",
        target: "kernel",
        tests: &["as_root::"],
    },
    Suite {
        name: "agent",
        target: "lab_node",
        tests: &[
            "agent::tests::clsact::as_root::a_connection_outlives_an_agent_that_attached_filters",
            "agent::tests::clsact::as_root::a_new_agents_programs_take_the_old_ones_places",
            "agent::tests::clsact::as_root::removal_without_an_agent_leaves_only_what_others_have",
            "agent::tests::as_root::a_connection_outlives_its_agent",
        ],
    },
];

/// The example that tells how programs can be attached.
pub(super) const ATTACH_MODES: &str = "attach_modes";

/// A copy of the binary under that name, a quarter of the size: a machine without KVM receives
/// some 10 MB a second.
pub(super) fn without_symbols(binary: &Path, name: &str) -> Result<PathBuf> {
    let folder = target_folder().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let stripped = folder.join(name);
    // Of binutils, which every Rust compiler links with.
    let mut strip = command("strip");
    strip.arg("--strip-debug").arg("-o").arg(&stripped);
    output(strip.arg(binary))?;
    Ok(stripped)
}
