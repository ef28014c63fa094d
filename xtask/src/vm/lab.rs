//! The study lab on virtual machines with a certain kernel, through the binary.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::image;
use crate::command::command;

/// Brings the study lab up, runs the shipped checks, and takes it down, whatever they said.
pub(super) fn check(labctl: &Path, kernel: &str, logs: &Path) -> Result<()> {
    let lab = Lab {
        labctl: labctl.to_owned(),
        name: format!("matrix-{}", kernel.replace('.', "-")),
    };
    let machines = [
        "--provider",
        "qemu",
        "--image",
        image::NAME,
        "--kernel",
        kernel,
    ];
    let mut up = lab.command();
    up.args(["up", "labs/study.yaml", "--check", "--name", &lab.name]);
    let checked = logged(up.args(machines), &logs.join("lab.log"));
    let mut down = lab.command();
    let gone = logged(
        down.args(["down", "--lab", &lab.name]),
        &logs.join("down.log"),
    );
    checked.and(gone)
}

struct Lab {
    labctl: PathBuf,
    name: String,
}

impl Lab {
    fn command(&self) -> Command {
        let mut labctl = command(&self.labctl);
        labctl.env("XDG_DATA_HOME", image::data_home());
        labctl
    }
}

/// Runs a command with its output in a file.
fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let shown = log.display();
    let file = File::create(log).with_context(|| format!("failed to make {shown}"))?;
    let errors = file
        .try_clone()
        .with_context(|| format!("failed to write {shown}"))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .status()
        .context("failed to run labctl")?;
    let words: Vec<_> = command.get_args().map(|it| it.to_string_lossy()).collect();
    ensure!(
        status.success(),
        "labctl {} ended with {status}; see {shown}",
        words.join(" ")
    );
    Ok(())
}
