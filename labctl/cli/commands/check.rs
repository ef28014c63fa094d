//! `check`: chosen checks run one after another, each with its verdict.

use std::path::{Path, PathBuf};
use std::time::Instant;

use lab_checks::check_file::{CheckFile, Suite};
use lab_checks::judge::{CheckReport, TwinVerdict, Verdict, judge_twin};
use lab_model::diagnostic::nearest;

use super::check_report::{Kept, Report, keep};
use crate::args::CheckArgs;
use crate::check::{Evidence, Runner};
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::labs::choose;
use crate::live::{LiveLab, sources_of};
use crate::output::{Format, Table, count, print_as};
use crate::progress::Progress;

pub(crate) fn run(args: &CheckArgs, quiet: bool) -> Result<Exit, Failure> {
    let (provider, lab) = choose(args.lab.lab.as_deref())?;
    let sources = sources_of(&provider, &lab)?;
    let chosen = choose_checks(&sources.suites, &args.suites, &args.only)?;
    if args.list {
        return list(&chosen, args.format.output);
    }
    let chosen = chosen
        .into_iter()
        .map(|(suite, check)| (suite.to_owned(), check.clone()))
        .collect();
    let interrupt = Interrupt::listen()?;
    interrupt.would_leave(format!(
        "what a check changed may still be changed; `labctl up {}` mends it",
        sources.file.display()
    ));
    let live = LiveLab::lock(provider, sources, &interrupt)?;
    warn_of_drift(&live)?;
    run_chosen(
        &live,
        &chosen,
        args.twins,
        &interrupt,
        quiet,
        args.format.output,
    )
}

/// All of the lab's checks, after `up`.
pub(super) fn run_all(live: &LiveLab, interrupt: &Interrupt, quiet: bool) -> Result<Exit, Failure> {
    let chosen = choose_checks(&live.sources.suites, &[], &[])?;
    let chosen = chosen
        .into_iter()
        .map(|(suite, check)| (suite.to_owned(), check.clone()))
        .collect();
    run_chosen(live, &chosen, false, interrupt, quiet, Format::Table)
}

/// A suite's name and one of its checks.
type Chosen = Vec<(String, CheckFile)>;

/// The checks that suites and names choose. A name that chooses nothing, and a choice
/// of nothing, are errors: zero checks run is not a pass.
fn choose_checks<'a>(
    suites: &'a [Suite],
    wanted: &[String],
    only: &[String],
) -> Result<Vec<(&'a str, &'a CheckFile)>, Failure> {
    let names: Vec<&str> = suites.iter().map(|suite| suite.name.as_str()).collect();
    all_known("suite", wanted, &names)?;
    let all: Vec<(&str, &CheckFile)> = suites
        .iter()
        .filter(|suite| wanted.is_empty() || wanted.contains(&suite.name))
        .flat_map(|suite| {
            suite
                .checks
                .iter()
                .map(|check| (suite.name.as_str(), check))
        })
        .collect();
    let names: Vec<&str> = all.iter().map(|(_, check)| check.name.as_str()).collect();
    all_known("check", only, &names)?;
    let chosen: Vec<_> = all
        .into_iter()
        .filter(|(_, check)| only.is_empty() || only.contains(&check.name))
        .collect();
    if chosen.is_empty() {
        return Err(Failure::usage("there is no check to run")
            .help("name check files in the lab file's `checks:`"));
    }
    Ok(chosen)
}

fn all_known(what: &str, wanted: &[String], known: &[&str]) -> Result<(), Failure> {
    let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let failure = Failure::usage(format_args!("there is no {what} {unknown}"));
    Err(failure.help(match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there is: {}", known.join(", ")),
    }))
}

fn list(chosen: &[(&str, &CheckFile)], format: Format) -> Result<Exit, Failure> {
    let document: Vec<_> = chosen
        .iter()
        .map(|(suite, check)| {
            serde_json::json!({
                "suite": suite, "check": check.name, "why": check.why,
                "twin": check.twin.is_some(),
            })
        })
        .collect();
    print_as(format, &document, || {
        let mut table = Table::new(&["SUITE", "CHECK", "WHY"]);
        for (suite, check) in chosen {
            table.row([(*suite).to_owned(), check.name.clone(), check.why.clone()]);
        }
        table.render()
    })?;
    Ok(Exit::Success)
}

/// A lab that someone has changed by hand is checked as it is: but it is said.
fn warn_of_drift(live: &LiveLab) -> Result<(), Failure> {
    let plan = live.plan()?;
    if !plan.is_empty() {
        let (lab, file) = (&live.sources.lab.name, live.sources.file.display());
        let places = count(plan.steps.len(), "place");
        eprintln!("warning: lab {lab} differs from its file in {places}; see `labctl plan {file}`");
    }
    Ok(())
}

fn run_chosen(
    live: &LiveLab,
    chosen: &Chosen,
    twins: bool,
    interrupt: &Interrupt,
    quiet: bool,
    format: Format,
) -> Result<Exit, Failure> {
    let began = Instant::now();
    let runner = Runner::new(live, interrupt);
    let progress = Progress::new(chosen.len(), quiet);
    let mut report = Report::new(&live.sources.lab.name, twins);
    let folder = live.captures()?;
    for (suite, check) in chosen {
        progress.doing(format!("{suite}: {}", check.name));
        let (entry, kept) = run_one(&runner, suite, check, twins, &folder)?;
        report.add(entry, kept);
        progress.done();
    }
    drop(progress);
    print_as(format, &report, || report.table(began.elapsed(), quiet))?;
    if interrupt.asked() {
        return Err(Failure::interrupted());
    }
    Ok(if report.all_passed() {
        Exit::Success
    } else {
        Exit::CheckFailed
    })
}

/// One check, and its twin when asked for. Captures of whatever isn't as it must be
/// are kept.
fn run_one(
    runner: &Runner<'_>,
    suite: &str,
    check: &CheckFile,
    twins: bool,
    captures: &Path,
) -> Result<(CheckReport, Option<PathBuf>), Failure> {
    let began = Instant::now();
    let folder = captures.join(suite).join(&check.name);
    let Evidence { verdict, captures } = runner.run(check);
    let mut kept = None;
    if !matches!(verdict, Verdict::Passed | Verdict::NotRun) {
        kept = keep(&folder, &captures)?;
    }
    let mut twin = None;
    if twins && verdict.is_passed() {
        let (judged, captures) = run_twin(runner, check);
        if !judged.is_red() {
            kept = keep(&folder.join("twin"), &captures)?;
        }
        twin = Some(judged);
    }
    let report = CheckReport {
        suite: suite.to_owned(),
        check: check.name.clone(),
        why: check.why.clone(),
        verdict,
        seconds: began.elapsed().as_secs_f64(),
        twin,
    };
    Ok((report, kept))
}

fn run_twin(runner: &Runner<'_>, check: &CheckFile) -> (TwinVerdict, Kept) {
    match check.twin() {
        None => {
            let reason = "it has no twin: nothing shows that this check can fail".to_owned();
            (TwinVerdict::Inconclusive { reason }, Vec::new())
        }
        Some(twin) => {
            let Evidence { verdict, captures } = runner.run(&twin);
            (judge_twin(verdict), captures)
        }
    }
}
