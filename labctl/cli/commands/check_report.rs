//! What `check` prints: the table, and below it the evidence of what failed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab_checks::judge::{CheckReport, TwinVerdict, Verdict};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::output::{Table, count};

/// Name and content of capture files.
pub(super) type Kept = Vec<(String, Vec<u8>)>;

/// Verdicts of one run, as `-o json` writes them.
#[derive(Serialize)]
pub(super) struct Report {
    lab: String,
    checks: Vec<Entry>,
    #[serde(skip)]
    twins: bool,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    report: CheckReport,
    /// Folder of the captures that the verdict rests on; kept until the lab goes down.
    #[serde(skip_serializing_if = "Option::is_none")]
    captures: Option<PathBuf>,
}

impl Report {
    pub(super) fn new(lab: &str, twins: bool) -> Self {
        Self {
            lab: lab.to_owned(),
            checks: Vec::new(),
            twins,
        }
    }

    pub(super) fn add(&mut self, report: CheckReport, captures: Option<PathBuf>) {
        self.checks.push(Entry { report, captures });
    }

    /// Whether every check passed and, with twins, each twin was red.
    pub(super) fn all_passed(&self) -> bool {
        self.checks.iter().all(|entry| self.good(&entry.report))
    }

    fn good(&self, report: &CheckReport) -> bool {
        let red = report.twin.as_ref().is_some_and(TwinVerdict::is_red);
        report.verdict.is_passed() && (red || !self.twins)
    }

    /// The table, the evidence, and the sum; only what is wrong when `quiet`.
    pub(super) fn table(&self, took: Duration, quiet: bool) -> String {
        let mut text = if quiet { String::new() } else { self.rows() };
        for entry in self.checks.iter().filter(|entry| !self.good(&entry.report)) {
            text.push_str(&self.evidence(entry));
        }
        if !quiet {
            text.push_str(&self.sum(took));
        }
        text
    }

    fn rows(&self) -> String {
        let head: &[&str] = if self.twins {
            &["SUITE", "CHECK", "VERDICT", "TWIN", "TIME"]
        } else {
            &["SUITE", "CHECK", "VERDICT", "TIME"]
        };
        let mut table = Table::new(head);
        for Entry { report, .. } in &self.checks {
            let mut cells = vec![report.suite.clone(), report.check.clone()];
            cells.push(report.verdict.as_str().to_owned());
            if self.twins {
                cells.push(twin_word(report.twin.as_ref()).to_owned());
            }
            cells.push(format!("{:.2}s", report.seconds));
            table.row(cells);
        }
        table.render()
    }

    /// Why one check is not as it must be, where its captures are, how to run it again.
    fn evidence(&self, Entry { report, captures }: &Entry) -> String {
        let CheckReport {
            suite,
            check,
            why,
            verdict,
            twin,
            ..
        } = report;
        let (what, evidence) = match (verdict, twin) {
            (Verdict::NotRun, _) => return String::new(),
            (Verdict::Failed { evidence }, _) => ("failed", evidence.to_string()),
            (Verdict::Error { reason }, _) => ("error", reason.clone()),
            (Verdict::Skipped { why }, _) => ("skipped", why.clone()),
            (Verdict::Passed, Some(TwinVerdict::StayedGreen)) => (
                "twin stayed green",
                "it passes under a change that must make it fail".to_owned(),
            ),
            (Verdict::Passed, Some(TwinVerdict::Inconclusive { reason })) => {
                ("twin came to no verdict", reason.clone())
            }
            (Verdict::Passed, _) => return String::new(),
        };
        let mut text = format!("\n{suite}: {check}: {what}\n  why: {why}\n");
        for line in evidence.lines() {
            text.push_str(&format!("  {line}\n"));
        }
        if let Some(folder) = captures {
            text.push_str(&format!("  captures: {}\n", folder.display()));
        }
        let twins = if self.twins { " --twins" } else { "" };
        let lab = &self.lab;
        text.push_str(&format!(
            "  again: labctl check {suite} --only {check}{twins} --lab {lab}\n"
        ));
        text
    }

    /// `14 checks: 13 passed, 1 failed, in 2.10s`.
    fn sum(&self, took: Duration) -> String {
        let mut parts = Vec::new();
        for word in ["passed", "failed", "error", "skipped", "not run"] {
            let these = self
                .checks
                .iter()
                .filter(|it| it.report.verdict.as_str() == word)
                .count();
            if these > 0 {
                parts.push(format!("{these} {word}"));
            }
        }
        if self.twins {
            let red = |it: &&Entry| it.report.twin.as_ref().is_some_and(TwinVerdict::is_red);
            let (red, all) = (self.checks.iter().filter(red).count(), self.checks.len());
            parts.push(format!("{red} of {} red", count(all, "twin")));
        }
        let checks = count(self.checks.len(), "check");
        format!(
            "\n{checks}: {}, in {:.2}s\n",
            parts.join(", "),
            took.as_secs_f64()
        )
    }
}

const fn twin_word(twin: Option<&TwinVerdict>) -> &'static str {
    match twin {
        Some(TwinVerdict::Red { .. }) => "red",
        Some(TwinVerdict::StayedGreen) => "stayed green",
        Some(TwinVerdict::Inconclusive { .. }) => "no verdict",
        None => "not run",
    }
}

/// Writes captures into `folder`, in the place of those of an earlier run. Returns it
/// when there was something to write.
pub(super) fn keep(folder: &Path, captures: &Kept) -> Result<Option<PathBuf>, Failure> {
    if captures.is_empty() {
        return Ok(None);
    }
    let written = match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(folder),
    };
    let write =
        |(name, pcap): &(String, Vec<u8>)| fs::write(folder.join(format!("{name}.pcap")), pcap);
    written
        .and_then(|()| captures.iter().try_for_each(write))
        .map_err(|error| {
            let folder = folder.display();
            Failure::new(
                Exit::LabFailed,
                format_args!("failed to keep captures in {folder}: {error}"),
            )
        })?;
    Ok(Some(folder.to_owned()))
}
