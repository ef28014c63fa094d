//! A lab that a benchmark brings up through the binary, and takes down when dropped.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::command::{command, output, target_folder};

/// A running lab of its own name.
pub(crate) struct Lab {
    name: String,
}

/// The release build of labctl.
pub(crate) fn labctl() -> Command {
    let mut labctl = command(release("labctl"));
    labctl.arg("--quiet");
    labctl
}

/// A file under the release build's folder.
pub(crate) fn release(file: &str) -> PathBuf {
    target_folder().join("release").join(file)
}

impl Lab {
    /// `labctl up FILE --name NAME OPTIONS`.
    pub(crate) fn up(file: &str, name: &str, options: &[&str]) -> Result<Self> {
        let name = format!("{name}-{}", std::process::id());
        output(labctl().args(["up", file, "--name", &name]).args(options))?;
        Ok(Self { name })
    }

    /// What a command prints that runs in a node or pod.
    pub(crate) fn exec(&self, target: &str, words: &[&str]) -> Result<String> {
        output(&mut self.command(target, words))
    }

    /// Starts a command in a node or pod and leaves it running; `down` ends it.
    pub(crate) fn spawn(&self, target: &str, words: &[&str]) -> Result<Child> {
        self.command(target, words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {} in {target}", words.join(" ")))
    }

    fn command(&self, target: &str, words: &[&str]) -> Command {
        let mut labctl = labctl();
        labctl
            .args(["exec", "--lab", &self.name, target, "--"])
            .args(words);
        labctl
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = output(labctl().args(["down", "--lab", &self.name])) {
            eprintln!("error: failed to take down {}: {error:#}", self.name);
        }
    }
}
