//! DWARF out of an object. LLVM makes BTF from debug information and writes both; nobody reads
//! the DWARF of a kernel program, and loaders go through its relocations all the same.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{command, find, output, run};

/// LLVM's objcopy, which knows eBPF as binutils' does not.
pub(super) struct Objcopy {
    program: PathBuf,
    /// Where LLVM's library is, for Rust's own.
    libraries: PathBuf,
}

impl Objcopy {
    /// The one that comes with Rust, or one that is installed.
    pub(super) fn find() -> Result<Self> {
        let sysroot = output(command("rustc").args(["--print", "sysroot"]))?;
        let host = output(command("rustc").args(["--print", "host-tuple"]))?;
        let libraries = Path::new(sysroot.trim()).join("lib");
        let rusts = libraries
            .join("rustlib")
            .join(host.trim())
            .join("bin/rust-objcopy");
        let found = Some(rusts).filter(|path| path.exists());
        let program = found.or_else(|| find("llvm-objcopy")).context(
            "neither this Rust has rust-objcopy, nor is llvm-objcopy installed (Debian: llvm)",
        )?;
        Ok(Self { program, libraries })
    }

    /// Of its LLVM, as it has a say in what bytes come out.
    pub(super) fn version(&self) -> Result<String> {
        let text = output(self.command().arg("--version"))?;
        let line = text.lines().find(|line| line.contains("LLVM version"));
        let line = line.context("objcopy does not say its LLVM's version")?;
        Ok(format!("objcopy of {}", line.trim()))
    }

    /// Writes `from` to `to` without DWARF. BTF stays, with the names and lines that bpftool and
    /// the verifier's log show.
    pub(super) fn without_dwarf(&self, from: &Path, to: &Path) -> Result<()> {
        run(self.command().arg("--strip-debug").args([from, to]))
    }

    fn command(&self) -> Command {
        let mut objcopy = command(&self.program);
        objcopy.env("LD_LIBRARY_PATH", &self.libraries);
        objcopy
    }
}
