//! `cargo xtask test`: every test there is, in one command, which CI runs too.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command::{command, is_root, run};
use crate::libtest::Tally;
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
    // Once more: thousands of lines came since.
    print!("{}", tally.failures());
    println!("{} tests ran as root", tally.passed_as_root);
    let failed = tally.failed.len();
    println!(
        "{} passed, {failed} failed, {} skipped",
        tally.passed, tally.ignored
    );
    if failed > 0 {
        bail!("{failed} tests failed");
    }
    if tally.passed_as_root == 0 {
        bail!("no test ran as root: run `cargo xtask test` as root");
    }
    Ok(())
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
    if !status.success() && tally.failed.is_empty() {
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
