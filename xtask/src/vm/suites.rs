//! Test binaries that run on a machine, which has neither cargo nor the sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::{command, output as output_of, target_folder};

/// A test binary, and which of its tests are run on each kernel.
pub(super) struct Suite {
    /// For people, and in names of logs.
    pub(super) name: &'static str,
    cargo: &'static [&'static str],
    /// Filters of libtest.
    pub(super) tests: &'static [&'static str],
}

/// The programs, packet by packet; and an agent that attaches them, both ways.
pub(super) const SUITES: &[Suite] = &[
    Suite {
        name: "datapath",
        cargo: &[
            "test",
            "--no-run",
            "--package",
            "lab-datapath-common",
            "--test",
            "kernel",
        ],
        tests: &["as_root::"],
    },
    Suite {
        name: "agent",
        cargo: &["test", "--no-run", "--package", "lab-node", "--lib"],
        tests: &[
            "agent::tests::clsact::as_root::a_connection_outlives_an_agent_that_attached_filters",
            "agent::tests::clsact::as_root::a_new_agents_programs_take_the_old_ones_places",
            "agent::tests::clsact::as_root::removal_without_an_agent_leaves_only_what_others_have",
            "agent::tests::as_root::a_connection_outlives_its_agent",
        ],
    },
];

/// What tells how programs can be attached.
pub(super) const ATTACH_MODES: Suite = Suite {
    name: "attach-modes",
    cargo: &[
        "build",
        "--package",
        "lab-datapath-common",
        "--example",
        "attach_modes",
    ],
    tests: &[],
};

impl Suite {
    /// Builds it and says where it is.
    pub(super) fn build(&self) -> Result<PathBuf> {
        let mut cargo = command("cargo");
        cargo.args(self.cargo);
        cargo.args(["--locked", "--message-format=json-render-diagnostics"]);
        eprintln!("$ cargo {}", self.cargo.join(" "));
        let output = cargo.stderr(Stdio::inherit()).output();
        let output = output.context("failed to run cargo")?;
        let status = output.status;
        ensure!(
            status.success(),
            "cargo {} ended with {status}",
            self.cargo.join(" ")
        );
        let messages = String::from_utf8_lossy(&output.stdout);
        let binary = messages
            .lines()
            .find_map(executable)
            .with_context(|| format!("cargo {} built no binary", self.cargo.join(" ")))?;
        without_symbols(&binary, self.name)
    }
}

/// A copy of the binary under that name, a quarter of the size: a machine without KVM receives
/// some 10 MB a second.
pub(super) fn without_symbols(binary: &Path, name: &str) -> Result<PathBuf> {
    let folder = target_folder().join("vm");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let stripped = folder.join(name);
    // Of binutils, which every Rust compiler links with.
    let mut strip = command("strip");
    strip.arg("--strip-debug").arg("-o").arg(&stripped);
    output_of(strip.arg(binary))?;
    Ok(stripped)
}

/// The binary that a message of cargo's is about, if it is about one.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    message["executable"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_read_from_cargos_messages() {
        let library = r#"{"reason":"compiler-artifact","executable":null}"#;
        let binary = r#"{"reason":"compiler-artifact","executable":"/t/kernel-1f"}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable(binary), Some("/t/kernel-1f".into()));
        assert_eq!(executable("warning: no JSON"), None);
    }
}
