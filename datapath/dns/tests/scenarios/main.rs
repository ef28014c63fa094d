//! Scenarios of `data/`: what a cache answers, by a clock that does what it is told.
//!
//! Numbers of files are those of the cases in the project's DNS reference. Each is
//! played against ours, in this process, and against unbound, whose differences
//! `unbound.md` lists.

mod message;
mod ours;
mod properties;
mod rpl;
mod runner;
mod script;
mod unbound;

use std::path::{Path, PathBuf};

use rpl::Scenario;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// All scenarios, by name.
fn scenarios() -> Vec<Scenario> {
    let files = std::fs::read_dir(folder().join("data")).expect("the scenarios' folder");
    let mut paths: Vec<PathBuf> = files
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "rpl"))
        .collect();
    paths.sort();
    let read = |path: &PathBuf| rpl::read(path).unwrap_or_else(|error| panic!("{error:#}"));
    paths.iter().map(read).collect()
}

#[test]
fn ours_is_as_the_scenarios_have_it() {
    let scenarios = scenarios();
    let mut faults = String::new();
    for scenario in &scenarios {
        let differences =
            ours::play(scenario).unwrap_or_else(|error| panic!("{}: {error:#}", scenario.name));
        for difference in differences {
            faults += &format!("\n{}: {difference:?}", scenario.name);
        }
    }
    assert!(faults.is_empty(), "of {}:{faults}", scenarios.len());
}

/// Cases of the reference, 1 to 30: each has a scenario.
#[test]
fn no_case_is_left_out() {
    let names: Vec<String> = scenarios()
        .into_iter()
        .map(|scenario| scenario.name)
        .collect();
    for case in 1..=30 {
        let prefix = format!("{case:02}_");
        let there = names.iter().any(|name| name.starts_with(&prefix));
        assert!(there, "case {case} has no scenario");
    }
}

mod as_root {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Name of a scenario, step and aspect.
    type Place = (String, u32, String);

    /// The records of a scenario's cluster, after Kubernetes' DNS specification.
    const CLUSTER_ZONE: &str = "cluster.zone";

    /// Scenarios side by side: most of the time, they wait for unbound.
    const AT_ONCE: usize = 6;

    #[test]
    fn unbound_differs_where_the_table_says_so() {
        // The cluster's records are none that unbound could have, but for those that are
        // written out as a zone.
        let scenarios: Vec<Scenario> = scenarios()
            .into_iter()
            .filter(|scenario| {
                let has = |name| scenario.files.contains_key(name);
                has(CLUSTER_ZONE) || !has("records.json")
            })
            .collect();
        let next = AtomicUsize::new(0);
        let found = Mutex::new(BTreeSet::<Place>::new());
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let differences = unbound::play(scenario)
                            .unwrap_or_else(|error| panic!("{}: {error:#}", scenario.name));
                        let mut found = found.lock().expect("nobody panicked holding it");
                        for difference in differences {
                            println!("{} {difference:?}", scenario.name);
                            found.insert((
                                scenario.name.clone(),
                                difference.step,
                                difference.aspect.to_owned(),
                            ));
                        }
                    }
                });
            }
        });
        let found = found.into_inner().expect("nobody panicked holding it");
        let (listed, at_times) = listed();
        let unlisted = found.difference(&listed);
        let unlisted: Vec<&Place> = unlisted.filter(|place| !at_times.contains(place)).collect();
        let gone: Vec<&Place> = listed.difference(&found).collect();
        assert!(
            unlisted.is_empty() && gone.is_empty(),
            "unbound.md does not list {unlisted:#?}, and lists what is not so: {gone:#?}"
        );
    }

    /// The places in the last column of unbound.md: `aspect: scenario:step,step …`; those that
    /// are always there, and those with a question mark, which unbound throws dice for.
    fn listed() -> (BTreeSet<Place>, BTreeSet<Place>) {
        let table = std::fs::read_to_string(folder().join("unbound.md")).expect("the table");
        let (mut always, mut at_times) = (BTreeSet::new(), BTreeSet::new());
        for row in table.lines().filter(|line| line.starts_with("| ")).skip(2) {
            let cell = row.trim_end_matches([' ', '|']).rsplit('|').next();
            for group in cell.expect("a row has cells").split(';') {
                let (aspect, list) = group.split_once(": ").expect("`aspect: places`");
                for place in list.split_whitespace() {
                    let (name, steps) = place.split_once(':').expect("`scenario:steps`");
                    for step in steps.split(',') {
                        let places = if step.ends_with('?') {
                            &mut at_times
                        } else {
                            &mut always
                        };
                        let step = step.trim_end_matches('?').parse();
                        let step = step.expect("the number of a step");
                        let new = places.insert((name.to_owned(), step, aspect.trim().to_owned()));
                        assert!(new, "{place} is listed twice for {aspect}");
                    }
                }
            }
        }
        (always, at_times)
    }
}
