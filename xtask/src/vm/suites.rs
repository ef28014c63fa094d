//! Test binaries that run on a machine, which has neither cargo nor the sources.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::command;

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
        cargo: &["--package", "lab-datapath-common", "--test", "kernel"],
        tests: &["as_root::"],
    },
    Suite {
        name: "agent",
        cargo: &["--package", "lab-node", "--lib"],
        tests: &[
            "agent::tests::clsact::as_root::",
            "agent::tests::as_root::a_connection_outlives_its_agent",
        ],
    },
];

/// What tells how programs can be attached.
pub(super) const ATTACH_MODES: Suite = Suite {
    name: "attach-modes",
    cargo: &[
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
        cargo.args(["test", "--locked", "--no-run", "--message-format=json"]);
        cargo.args(self.cargo).stderr(Stdio::inherit());
        eprintln!("$ cargo test --no-run {}", self.cargo.join(" "));
        let output = cargo.output().context("failed to run cargo test")?;
        ensure!(
            output.status.success(),
            "cargo test ended with {}",
            output.status
        );
        let messages = String::from_utf8_lossy(&output.stdout);
        messages
            .lines()
            .find_map(executable)
            .with_context(|| format!("cargo built no binary for {}", self.cargo.join(" ")))
    }
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
