//! Faults of a check file that its schema does not show, each at its place.

use std::collections::BTreeMap;

use lab_model::diagnostic::{Diagnostic, Diagnostics};
use lab_model::document::At;

use super::file::{CheckFile, CountFile, RouteFile, StepFile, SuiteFile, TextFile};
use super::template;
use crate::filter::Filter;

/// Every fault of `file`, whose text is at `root`.
pub(super) fn faults(file: &SuiteFile, root: &At<'_>) -> Diagnostics {
    let mut faults = Diagnostics::new();
    if !is_kebab_case(&file.suite) {
        faults.push(kebab_case(&root.key("suite"), &file.suite));
    }
    if file.checks.is_empty() {
        faults.push(
            root.key("checks")
                .fault("a suite without checks proves nothing"),
        );
    }
    let mut names = BTreeMap::new();
    for (check, at) in file.checks.iter().zip(root.key("checks").items()) {
        let name = at.key("name");
        if !is_kebab_case(&check.name) {
            faults.push(kebab_case(&name, &check.name));
        }
        if let Some(first) = names.insert(check.name.as_str(), name.span()) {
            let fault = name.fault(format!("a second check is named `{}`", check.name));
            faults.push(fault.with_related(first, "the first"));
        }
        Walk {
            faults: &mut faults,
        }
        .check(check, &at);
    }
    faults
}

fn is_kebab_case(name: &str) -> bool {
    name.split('-').all(|word| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

fn kebab_case(at: &At<'_>, name: &str) -> Diagnostic {
    at.fault(format!("`{name}` is not in kebab-case"))
        .with_help("use lower-case letters and digits in words joined by `-`")
}

struct Walk<'f> {
    faults: &'f mut Diagnostics,
}

impl Walk<'_> {
    fn check(&mut self, check: &CheckFile, at: &At<'_>) {
        if check.why.trim().is_empty() {
            self.faults.push(at.key("why").fault("`why` says nothing"));
        }
        for section in ["capture", "run", "expect", "twin"] {
            self.templates(&at.key(section));
        }
        self.captures(check, at);
        self.steps(&check.run, &at.key("run"));
        self.expectations(check, at);
        self.twin(check, at);
        let judged = !check.expect.is_empty() || check.run.iter().any(is_judged);
        if !judged {
            let fault = at
                .key("run")
                .key_fault(format!("nothing in `{}` can fail", check.name));
            self.faults
                .push(fault.with_help("add a step that expects something, or `expect`"));
        }
    }

    fn captures(&mut self, check: &CheckFile, at: &At<'_>) {
        for (name, _) in &check.capture {
            let place = at.key("capture").key(name);
            if !is_kebab_case(name) {
                let fault = place.key_fault(format!("`{name}` is not in kebab-case"));
                self.faults
                    .push(fault.with_help("it becomes the name of a file"));
            }
            if !check.expect.iter().any(|expect| expect.at == *name) {
                let fault = place.key_fault(format!("nothing is expected at capture `{name}`"));
                self.faults
                    .push(fault.with_help("expect something there, or leave the capture out"));
            }
        }
    }

    fn expectations(&mut self, check: &CheckFile, at: &At<'_>) {
        for (expect, at) in check.expect.iter().zip(at.key("expect").items()) {
            if !check.capture.contains_key(&expect.at) {
                let fault = at
                    .key("at")
                    .fault(format!("there is no capture `{}`", expect.at));
                let names = check.capture.keys().map(String::as_str);
                self.faults
                    .push(fault.with_suggestion(&expect.at, names, || {
                        let names: Vec<&str> = check.capture.keys().map(String::as_str).collect();
                        (!names.is_empty())
                            .then(|| format!("the captures are {}", names.join(", ")))
                    }));
            }
            if let CountFile::Between(bounds) = expect.count {
                let message = match (bounds.min, bounds.max) {
                    (None, None) => Some("bounds need `min`, `max` or both".to_owned()),
                    (Some(min), Some(max)) if min > max => {
                        Some(format!("min {min} is above max {max}"))
                    }
                    (Some(0), None) => Some("any number of packets is at least 0".to_owned()),
                    _ => None,
                };
                self.faults
                    .extend(message.map(|message| at.key("count").fault(message)));
            }
            if let Err(error) = Filter::check_template(&expect.filter) {
                let place = error.offset..error.offset + error.length;
                let fault = within(&at.key("where"), &expect.filter, Some(place), error.message);
                self.faults.push(match error.help {
                    Some(help) => fault.with_help(help),
                    None => fault,
                });
            }
        }
    }

    fn steps(&mut self, steps: &[StepFile], at: &At<'_>) {
        if steps.is_empty() && at.exists() {
            self.faults.push(at.key_fault("there is no step to run"));
        }
        for (step, at) in steps.iter().zip(at.items()) {
            match step {
                StepFile::Route(route) => self.route(route, &at.key("route")),
                StepFile::Curl(curl) => {
                    let expect = curl.expect.as_ref();
                    let both = expect.is_some_and(|expect| {
                        expect.fails.is_some() && (expect.status.is_some() || expect.body.is_some())
                    });
                    if both {
                        let at = at.key("curl").key("expect");
                        self.faults.push(
                            at.key("fails")
                                .key_fault("a curl that fails has no status and no body"),
                        );
                    }
                    self.text(
                        expect.and_then(|expect| expect.body.as_ref()),
                        &at.key("curl").key("expect").key("body"),
                    );
                }
                StepFile::Exec(exec) => {
                    let expect = exec.expect.as_ref();
                    let at = at.key("exec").key("expect");
                    self.text(
                        expect.and_then(|expect| expect.stdout.as_ref()),
                        &at.key("stdout"),
                    );
                    self.text(
                        expect.and_then(|expect| expect.stderr.as_ref()),
                        &at.key("stderr"),
                    );
                }
                _ => {}
            }
        }
    }

    fn route(&mut self, route: &RouteFile, at: &At<'_>) {
        let verbs = [
            route.add.is_some(),
            route.del.is_some(),
            route.expect.is_some(),
        ];
        if verbs.into_iter().filter(|there| *there).count() != 1 {
            self.faults
                .push(at.key_fault("`route` takes exactly one of `add`, `del`, `expect`"));
        }
    }

    fn text(&mut self, text: Option<&TextFile>, at: &At<'_>) {
        let empty = match text {
            Some(TextFile::Contains(text)) => text.is_empty(),
            Some(TextFile::Rules(rules)) => {
                rules.contains.is_none() && rules.lacks.is_none() && rules.equals.is_none()
            }
            None => false,
        };
        if empty {
            self.faults.push(at.fault("every text fulfils this"));
        }
    }

    fn twin(&mut self, check: &CheckFile, at: &At<'_>) {
        let Some(twin) = &check.twin else { return };
        let at = at.key("twin");
        if twin.values.is_none() && twin.omit.is_empty() && twin.run.is_empty() {
            let fault = at.key_fault("a twin must change something");
            self.faults
                .push(fault.with_help("give it `values`, `omit` or `run`"));
        }
        for (kind, at) in twin.omit.iter().zip(at.key("omit").items()) {
            if !check.run.iter().any(|step| step.kind() == *kind) {
                self.faults
                    .push(at.fault("the check has no such step to omit"));
            }
        }
        if !twin.run.is_empty() {
            self.steps(&twin.run, &at.key("run"));
        }
    }

    /// Compiles every text below `at` that is a template.
    fn templates(&mut self, at: &At<'_>) {
        if let Some(text) = at.as_str() {
            if let Some((message, place)) = template::fault(text) {
                self.faults.push(within(at, text, place, message));
            }
            return;
        }
        at.entries().for_each(|(_, at)| self.templates(&at));
        at.items().for_each(|at| self.templates(&at));
    }
}

/// Whether a step can fail for what it finds rather than for not being possible.
fn is_judged(step: &StepFile) -> bool {
    match step {
        StepFile::Ping(_) | StepFile::Curl(_) | StepFile::Tcp(_) | StepFile::Exec(_) => true,
        StepFile::Route(route) => route.expect.is_some(),
        StepFile::Link(_)
        | StepFile::Set(_)
        | StepFile::Apply(_)
        | StepFile::Delete(_)
        | StepFile::Scale(_) => false,
    }
}

/// A fault at `place` inside the text that stands at `at`; at all of it where the text is written
/// with escapes or over several lines, so that places in it are not places in the file.
fn within(
    at: &At<'_>,
    text: &str,
    place: Option<std::ops::Range<usize>>,
    message: String,
) -> Diagnostic {
    let mut fault = at.fault(message);
    let written = fault
        .source
        .text()
        .get(fault.span.clone())
        .unwrap_or_default();
    if let (Some(start), Some(place)) = (written.find(text), place) {
        let start = fault.span.start + start;
        fault.span = start + place.start..start + place.end;
    }
    fault
}
