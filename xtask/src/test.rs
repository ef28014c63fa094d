//! `cargo xtask test`: every test there is, in one command, which CI runs too.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command::{command, is_root, run};
use crate::{ebpf, setup, vm};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds that each fuzz target runs; 0 leaves fuzzing out.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    fuzz: u32,
    /// Run the tests of Vagrant alone, with those that make machines: a quarter of an
    /// hour without KVM.
    #[arg(long)]
    vagrant: bool,
    #[command(flatten)]
    vm: vm::MatrixOptions,
}

/// Tests that need root have this in their path (`mod as_root`). Without root they
/// fail, so nothing is skipped in silence.
const NEEDS_ROOT: &str = "as_root::";

const FUZZ_TARGETS: [&str; 4] = ["corefile", "dns", "lab_file", "pcap"];

/// Runs every test here, or those of the kernel matrix on its machines.
pub(crate) fn run_tests(options: &Options) -> Result<()> {
    if options.vagrant {
        setup::install_missing(&setup::Options::default())?;
        let test = ["test", "--locked", "--test", "labctl", "vagrant::"];
        run(command("cargo")
            .args(test)
            .args(["--", "--include-ignored"]))
    } else if options.vm.vm.is_empty() {
        everything(options)
    } else {
        vm::test(&options.vm)
    }
}

/// Sets up, then lints, rebuilds the kernel programs, tests and fuzzes.
fn everything(options: &Options) -> Result<()> {
    setup::install_missing(&setup::Options::default())?;
    run(command("cargo").args(["fmt", "--all", "--check"]))?;
    run(command("cargo").args([
        "clippy",
        "--all-targets",
        "--locked",
        "--features",
        "xtask/vm",
        "--",
        "--deny",
        "warnings",
    ]))?;
    run(command("cargo").args(["deny", "check", "licenses", "bans", "sources"]))?;
    ebpf::rebuild_and_compare()?;
    let tally = cargo_test()?;
    vm::with_machines(&["test", "--vm", vm::KERNELS, "--without-labs"])?;
    for target in FUZZ_TARGETS.iter().filter(|_| options.fuzz > 0) {
        fuzz(target, options.fuzz)?;
    }
    println!("{} tests ran as root", tally.passed_as_root);
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.ignored
    );
    if tally.failed > 0 {
        bail!("{} tests failed", tally.failed);
    }
    if tally.passed_as_root == 0 {
        bail!("no test ran as root: run `cargo xtask test` as root");
    }
    Ok(())
}

/// What libtest said of its tests.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) passed_as_root: u32,
    pub(crate) failed: u32,
    ignored: u32,
}

impl Tally {
    /// Counts one line of libtest's output: `test path::name ... ok`.
    pub(crate) fn count(&mut self, line: &str) {
        let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        match result {
            "ok" => {
                self.passed += 1;
                self.passed_as_root += u32::from(name.contains(NEEDS_ROOT));
            }
            "FAILED" => self.failed += 1,
            _ if result.starts_with("ignored") => self.ignored += 1,
            _ => {}
        }
    }
}

/// Runs `cargo test`, passing its output through and counting it.
fn cargo_test() -> Result<Tally> {
    if !is_root() {
        eprintln!("note: not root: the tests in `as_root` modules will fail");
    }
    let mut cargo = command("cargo");
    cargo.args([
        "test",
        "--locked",
        "--no-fail-fast",
        "--features",
        "xtask/vm",
    ]);
    eprintln!("$ cargo test --locked --no-fail-fast");
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to run cargo test")?;
    let output = child.stdout.take().expect("stdout was asked to be piped");
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("failed to read what cargo test prints")?;
        println!("{line}");
        tally.count(&line);
    }
    let status = child.wait().context("failed to wait for cargo test")?;
    if !status.success() && tally.failed == 0 {
        bail!("cargo test ended with {status}");
    }
    Ok(tally)
}

/// libFuzzer needs `-Z` flags, which stable takes with RUSTC_BOOTSTRAP. The
/// corpus grows in a folder that git ignores; the seeds are read only.
fn fuzz(target: &str, seconds: u32) -> Result<()> {
    let corpus = format!("fuzz/corpus/{target}");
    std::fs::create_dir_all(crate::command::root().join(&corpus))
        .with_context(|| format!("failed to make {corpus}"))?;
    let mut cargo = command("cargo");
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["fuzz", "run", target, &corpus]);
    cargo.arg(format!("fuzz/seeds/{target}"));
    cargo.args([
        "--",
        &format!("-max_total_time={seconds}"),
        "-print_final_stats=1",
    ]);
    run(&mut cargo).with_context(|| format!("fuzz target {target} found something"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_libtest_prints() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test up::as_root::second_up_plans_nothing ... ok",
            "test filter::tests::cidr ... ok",
            "test filter::tests::range ... FAILED",
            "test filter::tests::slow ... ignored, needs a day",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored",
        ] {
            tally.count(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 2,
                passed_as_root: 1,
                failed: 1,
                ignored: 1
            }
        );
    }
}
