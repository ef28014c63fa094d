//! The kernel matrix: the loaded programs, and labs, on kernels that this host does not run.
//!
//! Each kernel gets a machine, on which test binaries run as root. The verdict is theirs:
//! how they end, and what libtest counts. Logs are kept in `target/vm/<kernel>/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use lab_vm::machine::Base;
use lab_vm::store::Image;
use tokio::runtime::{Handle, Runtime};

use super::guest::{Guest, Guests};
use super::programs::{self, Program};
use super::suites::{ATTACH_MODES, SUITES, Suite, without_symbols};
use super::{MatrixOptions, image, lab};
use crate::artifacts::Artifacts;
use crate::command::target_folder;
use crate::libtest::Tally;

/// Memory of a machine, in MiB: the verifier's and the maps'.
const MEMORY: u32 = 512;
/// Seconds that one test binary may take on a machine without KVM.
const PATIENCE: &str = "600";

/// Runs what the options ask for on each kernel, and prints the table.
pub(super) fn run(options: &MatrixOptions) -> Result<()> {
    let began = Instant::now();
    let matrix = Matrix::build(&options.vm)?;
    eprintln!("vm: built after {:.0} s", began.elapsed().as_secs_f64());
    let mut reports = matrix.on_each_kernel(&options.vm);
    if !options.without_labs {
        for (kernel, report) in options.vm.iter().zip(&mut reports) {
            report.step("study lab", || {
                lab::check(&matrix.labctl, kernel, &logs(kernel))
            });
        }
    }
    let tested: Vec<_> = reports
        .iter()
        .map(|report| (report.release.clone(), report.programs.clone()))
        .collect();
    let table = programs::table(&tested).render();
    println!("\n{table}\n");
    for line in reports.iter().flat_map(|report| &report.lines) {
        println!("{line}");
    }
    println!("after {:.0} s", began.elapsed().as_secs_f64());
    let red: Vec<_> = reports.iter().filter(|it| it.failed).collect();
    if !red.is_empty() {
        let kernels: Vec<_> = red.iter().map(|it| it.kernel.as_str()).collect();
        bail!("red on {}", kernels.join(", "));
    }
    if options.write {
        programs::write(&table)?;
    }
    Ok(())
}

/// Where a kernel's logs are.
fn logs(kernel: &str) -> PathBuf {
    target_folder().join("vm").join(kernel)
}

/// What the machines are made of, and what they run.
struct Matrix {
    image: Image,
    suites: Vec<(&'static Suite, PathBuf)>,
    attach_modes: PathBuf,
    /// Puts itself onto its machines.
    labctl: PathBuf,
    runtime: Runtime,
}

/// What became of one kernel.
struct Report {
    kernel: String,
    /// `uname -r`; what it was asked for by, until that is known.
    release: String,
    programs: Vec<Program>,
    lines: Vec<String>,
    failed: bool,
}

impl Matrix {
    fn build(kernels: &[String]) -> Result<Self> {
        let image = image::build(&image::store()?)?;
        for kernel in kernels {
            image.kernel(Some(kernel))?;
        }
        let artifacts = Artifacts::build()?;
        let suites = SUITES
            .iter()
            .map(|suite| {
                let binary = artifacts.tests(suite.target)?;
                Ok((suite, without_symbols(&binary, suite.name)?))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            image,
            suites,
            attach_modes: without_symbols(&artifacts.program(ATTACH_MODES)?, "attach-modes")?,
            labctl: without_symbols(&artifacts.program("labctl")?, "labctl")?,
            runtime: Runtime::new().context("failed to start a runtime")?,
        })
    }

    /// All kernels at once: a machine has one processor, and waits a lot.
    fn on_each_kernel(&self, kernels: &[String]) -> Vec<Report> {
        thread::scope(|scope| {
            let running: Vec<_> = kernels
                .iter()
                .map(|kernel| scope.spawn(|| self.on_kernel(kernel)))
                .collect();
            running
                .into_iter()
                .map(|it| it.join().expect("no panic"))
                .collect()
        })
    }

    fn on_kernel(&self, kernel: &str) -> Report {
        let mut report = Report::new(kernel);
        let logs = logs(kernel);
        let machine = logs.join("machine");
        let outcome = self.with_machine(&mut report, &machine, &logs);
        if let Err(error) = outcome {
            report.fail("machine", &error);
        }
        // What is left of the machine is of no use without its keys; its console is.
        let serial = machine.join("node/serial.log");
        if let Err(error) = fs::copy(&serial, logs.join("serial.log")) {
            report.fail("serial log", &anyhow!("{}: {error}", serial.display()));
        }
        if let Err(error) = fs::remove_dir_all(&machine) {
            report.fail("clean-up", &anyhow!("{}: {error}", machine.display()));
        }
        report
    }

    fn with_machine(&self, report: &mut Report, folder: &Path, logs: &Path) -> Result<()> {
        let guests = Guests::new(folder)?;
        let base = Base::Image(self.image.clone(), Some(report.kernel.clone()));
        let spec = guests.spec("node", 1, base, MEMORY)?;
        let runtime: &Handle = self.runtime.handle();
        let began = Instant::now();
        let guest = guests.boot(&spec, runtime)?;
        report.release = guest.says(&["uname", "-r"])?.trim().to_owned();
        report.note("boot", began);
        let began = Instant::now();
        report.programs = self.programs(&guest)?;
        report.note("programs verified and attached", began);
        for (suite, binary) in &self.suites {
            report.step(suite.name, || run_suite(&guest, suite, binary, logs));
        }
        Ok(())
    }

    fn programs(&self, guest: &Guest) -> Result<Vec<Program>> {
        const TO: &str = "/root/attach-modes";
        guest.upload(&self.attach_modes, TO)?;
        Program::parse_all(&guest.says(&["timeout", PATIENCE, TO])?)
    }
}

/// Runs a test binary; its output is kept whole.
fn run_suite(guest: &Guest, suite: &Suite, binary: &Path, logs: &Path) -> Result<()> {
    let to = format!("/root/{}", suite.name);
    guest.upload(binary, &to)?;
    let mut argv = vec!["timeout", PATIENCE, &to];
    argv.extend(suite.tests);
    let output = guest.output(&argv)?;
    let log = logs.join(format!("{}.log", suite.name));
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    fs::write(&log, text).with_context(|| format!("failed to write {}", log.display()))?;
    let mut tally = Tally::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        tally.count(line);
    }
    ensure!(
        output.exit.success() && tally.failed.is_empty(),
        "{} passed, {} failed, it {}; see {}\n{}",
        tally.passed,
        tally.failed.len(),
        output.exit,
        log.display(),
        tally.failures()
    );
    ensure!(
        tally.passed_as_root > 0,
        "no test ran as root; see {}",
        log.display()
    );
    Ok(())
}

impl Report {
    fn new(kernel: &str) -> Self {
        Self {
            kernel: kernel.to_owned(),
            release: kernel.to_owned(),
            programs: Vec::new(),
            lines: Vec::new(),
            failed: false,
        }
    }

    /// One thing that must succeed; the next is tried in any case.
    fn step(&mut self, what: &str, work: impl FnOnce() -> Result<()>) {
        let began = Instant::now();
        match work() {
            Ok(()) => self.note(what, began),
            Err(error) => self.fail(what, &error),
        }
    }

    fn note(&mut self, what: &str, began: Instant) {
        let seconds = began.elapsed().as_secs_f64();
        self.line(format!("{}: {what}: ok, {seconds:.1} s", self.release));
    }

    fn fail(&mut self, what: &str, error: &anyhow::Error) {
        self.failed = true;
        self.line(format!("{}: {what}: FAILED: {error:#}", self.release));
    }

    /// At once on the screen, and once more at the end.
    fn line(&mut self, line: String) {
        eprintln!("vm: {line}");
        self.lines.push(line);
    }
}
