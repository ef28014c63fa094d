//! `cargo xtask test`: every test there is, in one command, which CI runs too.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::artifacts::{Artifacts, WITH_MACHINES};
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

/// What tests that make machines have in their path (`mod vm`).
const OF_MACHINES: &str = "vm::";

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
    Artifacts::build()?;
    // Machines are emulated, and half of the other tests wait: side by side they take less.
    let (here, on_machines) = thread::scope(|scope| {
        let on_machines = scope.spawn(on_machines);
        let here = here(options);
        (here, on_machines.join().expect("no panic"))
    });
    let tallies = [here?, on_machines?];
    // Once more: thousands of lines came since.
    for tally in &tallies {
        print!("{}", tally.failures());
    }
    let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum::<usize>();
    let as_root = sum(|tally| tally.passed_as_root);
    println!("{as_root} tests ran as root");
    let failed = sum(|tally| tally.failed.len());
    println!(
        "{} passed, {failed} failed, {} skipped",
        sum(|tally| tally.passed),
        sum(|tally| tally.ignored)
    );
    if failed > 0 {
        bail!("{failed} tests failed");
    }
    if as_root == 0 {
        bail!("no test ran as root: run `cargo xtask test` as root");
    }
    Ok(())
}

/// The tests that need no machine, and fuzzing.
fn here(options: &Options) -> Result<Tally> {
    let tally = cargo_test(&["--", "--skip", OF_MACHINES], "")?;
    for target in FUZZ_TARGETS.iter().filter(|_| options.fuzz > 0) {
        fuzz(target, options.fuzz)?;
    }
    Ok(tally)
}

/// The tests that make machines, and then those of the kernel matrix.
fn on_machines() -> Result<Tally> {
    let targets = ["--lib", "--bins", "--tests"];
    let filter = ["--", OF_MACHINES];
    let tally = cargo_test(&[&targets[..], &filter].concat(), "machines: ")?;
    vm::with_machines(&["test", "--vm", vm::KERNELS, "--without-labs"])?;
    Ok(tally)
}

/// Runs `cargo test` with these words, passing its output through, `mark` before each
/// line, and counting it.
fn cargo_test(words: &[&str], mark: &str) -> Result<Tally> {
    if !is_root() {
        eprintln!("{mark}note: not root: the tests in `as_root` modules will fail");
    }
    let mut cargo = command("cargo");
    cargo.args(["test", "--no-fail-fast"]).args(WITH_MACHINES);
    cargo.args(words);
    eprintln!("{mark}$ cargo test --no-fail-fast {}", words.join(" "));
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to run cargo test")?;
    let output = child.stdout.take().expect("stdout was asked to be piped");
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("failed to read what cargo test prints")?;
        println!("{mark}{line}");
        tally.count(&line);
    }
    let status = child.wait().context("failed to wait for cargo test")?;
    if !status.success() && tally.failed.is_empty() {
        bail!("cargo test ended with {status}");
    }
    Ok(tally)
}

/// libFuzzer needs `-Z` flags, which stable takes with RUSTC_BOOTSTRAP. No sanitizer: what the
/// targets reach of ours has no `unsafe`, and without one there are five times the inputs. The
/// corpus grows in a folder that git ignores; the seeds are read only.
fn fuzz(target: &str, seconds: u32) -> Result<()> {
    let corpus = format!("fuzz/corpus/{target}");
    std::fs::create_dir_all(crate::command::root().join(&corpus))
        .with_context(|| format!("failed to make {corpus}"))?;
    let mut cargo = command("cargo");
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["fuzz", "run", "--sanitizer", "none", target, &corpus]);
    cargo.arg(format!("fuzz/seeds/{target}"));
    cargo.args([
        "--",
        &format!("-max_total_time={seconds}"),
        "-print_final_stats=1",
    ]);
    run(&mut cargo).with_context(|| format!("fuzz target {target} found something"))
}
