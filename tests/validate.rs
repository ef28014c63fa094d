//! `validate`: every fault of every file at once, each at its place.

use crate::lab::{labctl, root, run};

/// Ten faults in a lab file, a manifest and a check file.
const FAULTY: &str = "tests/faulty/lab.yaml";

#[test]
fn ten_faults_are_ten_diagnostics() {
    let ran = run(&["validate", FAULTY]).exits(3);
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr, include_str!("faulty/expected.txt"));
}

#[test]
fn color_is_for_terminals() {
    let ran = run(&["validate", FAULTY]).exits(3);
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
}

#[test]
fn every_shipped_lab_is_valid() {
    for entry in std::fs::read_dir(root().join("labs")).expect("labs/") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // Manifests lie beside the labs that name them.
        if text.lines().any(|line| line.starts_with("network:")) {
            run(&["validate", &path.to_string_lossy()])
                .exits(0)
                .prints("is valid: lab ");
        }
    }
}

#[test]
fn the_lab_file_can_come_from_the_environment() {
    labctl(&["validate"])
        .env("LABCTL_FILE", "labs/study.yaml")
        .assert()
        .success();
}

#[test]
fn a_file_that_is_not_there_is_a_usage_error() {
    run(&["validate", "labs/nowhere.yaml"])
        .exits(2)
        .complains("error: failed to read lab file labs/nowhere.yaml: No such file");
}

#[test]
fn an_impossible_name_is_a_usage_error() {
    run(&["plan", "labs/study.yaml", "--name", "Not A Name"])
        .exits(2)
        .complains("--name Not A Name: ");
}

mod as_root {
    use crate::host::left_of;
    use crate::lab::Lab;

    #[test]
    fn faults_keep_up_from_making_anything() {
        let mut lab = Lab::study();
        lab.file = crate::lab::root().join(super::FAULTY);
        lab.with_file("up", &[])
            .exits(3)
            .complains("error: 10 faults; nothing was made");
        assert_eq!(left_of(&lab.name), Vec::<String>::new());
    }
}
