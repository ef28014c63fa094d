//! Virtual machines: the kernel matrix, and machines to measure beside.
//!
//! All of it is behind the feature `vm`; an xtask without it builds one that has it and
//! hands its arguments on.

#[cfg(feature = "vm")]
pub(crate) mod guest;
#[cfg(feature = "vm")]
pub(crate) mod image;
#[cfg(feature = "vm")]
mod lab;
#[cfg(feature = "vm")]
mod matrix;
#[cfg(feature = "vm")]
mod programs;
#[cfg(feature = "vm")]
mod suites;

use anyhow::Result;
use clap::Args;

use crate::artifacts::Artifacts;
use crate::command::{command, root, run};

/// Kernels of the matrix, as images have them: Debian 12's, backports', and unstable's.
pub(crate) const KERNELS: &str = "6.1,6.12,sid";

/// Options of `cargo xtask test --vm`.
#[derive(Args, Default)]
pub(crate) struct MatrixOptions {
    /// Run the datapath's tests and the study lab's checks on these kernels instead.
    #[arg(long, value_delimiter = ',', value_name = "KERNELS")]
    pub(crate) vm: Vec<String>,
    /// The datapath's tests alone.
    #[arg(long, requires = "vm")]
    pub(crate) without_labs: bool,
    /// Write the table into docs/performance.md.
    #[arg(long, requires = "vm")]
    pub(crate) write: bool,
}

/// Runs the matrix.
#[cfg(feature = "vm")]
pub(crate) fn test(options: &MatrixOptions) -> Result<()> {
    matrix::run(options)
}

/// Has an xtask with machines run the matrix.
#[cfg(not(feature = "vm"))]
pub(crate) fn test(options: &MatrixOptions) -> Result<()> {
    let kernels = options.vm.join(",");
    let mut words = vec!["test", "--vm", &kernels];
    words.extend(options.without_labs.then_some("--without-labs"));
    words.extend(options.write.then_some("--write"));
    with_machines(&words)
}

/// Runs an xtask that has machines.
pub(crate) fn with_machines(words: &[&str]) -> Result<()> {
    let xtask = Artifacts::build()?.program("xtask")?;
    // Where cargo would say that it is: a target folder may be several checkouts'.
    let folder = root().join("xtask");
    run(command(xtask).args(words).env("CARGO_MANIFEST_DIR", folder))
}
