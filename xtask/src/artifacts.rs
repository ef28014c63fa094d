//! What cargo builds of the workspace, all of it with one command: each selection of
//! packages and targets has features of its own, for which dependencies would be built anew.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::command;

/// The selection that `cargo test` without any has, and xtask's machines.
pub(crate) const WITH_MACHINES: [&str; 3] = ["--locked", "--features", "xtask/vm"];

/// Everything that can be run, in the dev profile.
pub(crate) struct Artifacts(Vec<Artifact>);

struct Artifact {
    target: String,
    is_test: bool,
    executable: PathBuf,
}

impl Artifacts {
    /// Builds what `cargo test` runs, and the binaries and examples, with the same features.
    ///
    /// # Errors
    /// When it does not build; cargo has said why.
    pub(crate) fn build() -> Result<Self> {
        let mut cargo = command("cargo");
        cargo.args(["build", "--all-targets"]).args(WITH_MACHINES);
        cargo.arg("--message-format=json-render-diagnostics");
        eprintln!("$ cargo build --all-targets {}", WITH_MACHINES.join(" "));
        let output = cargo.stderr(Stdio::inherit()).output();
        let output = output.context("failed to run cargo build")?;
        let status = output.status;
        ensure!(status.success(), "cargo build ended with {status}");
        let messages = String::from_utf8_lossy(&output.stdout);
        Ok(Self(messages.lines().filter_map(Artifact::read).collect()))
    }

    /// The binary or example of that name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn program(&self, target: &str) -> Result<PathBuf> {
        self.executable(target, false)
    }

    /// The tests of the target of that name.
    ///
    /// # Errors
    /// When there are none.
    #[cfg(any(test, feature = "vm"))]
    pub(crate) fn tests(&self, target: &str) -> Result<PathBuf> {
        self.executable(target, true)
    }

    fn executable(&self, target: &str, is_test: bool) -> Result<PathBuf> {
        let found = self
            .0
            .iter()
            .find(|it| it.target == target && it.is_test == is_test);
        let found = found.with_context(|| format!("cargo built no executable of {target}"))?;
        Ok(found.executable.clone())
    }
}

impl Artifact {
    /// What a message of cargo's is about, if that can be run.
    fn read(message: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(message).ok()?;
        Some(Self {
            target: message["target"]["name"].as_str()?.to_owned(),
            is_test: message["profile"]["test"].as_bool()?,
            executable: message["executable"].as_str()?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let message = |test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"lab_node"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let messages = [
            message(false, "null"),
            message(true, r#""/t/lab_node-1f""#),
            "warning: no JSON".to_owned(),
        ];
        let artifacts = Artifacts(
            messages
                .iter()
                .filter_map(|it| Artifact::read(it))
                .collect(),
        );
        let tests = artifacts.tests("lab_node").expect("it has tests");
        assert_eq!(tests, PathBuf::from("/t/lab_node-1f"));
        let program = artifacts.program("lab_node").expect_err("a library");
        assert!(program.to_string().contains("lab_node"), "{program}");
    }
}
