//! What the README quotes is what the repository has.

use std::fs;

use crate::lab::root;

#[test]
fn the_check_in_the_readme_is_a_shipped_one() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let (_, rest) = readme
        .split_once("```yaml\n")
        .expect("a check in the README");
    let (quoted, _) = rest.split_once("```").expect("the end of the check");
    let shipped = fs::read_to_string(root().join("checks/masquerade.yaml")).expect("the suite");
    assert!(
        shipped.contains(quoted),
        "not in checks/masquerade.yaml:\n{quoted}"
    );
}

#[test]
fn the_readme_links_to_files_that_are_there() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let links = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let files: Vec<&str> = links.filter(|link| !link.starts_with("http")).collect();
    assert!(!files.is_empty(), "the README links to no file");
    for file in files {
        assert!(root().join(file).exists(), "{file} is missing");
    }
}
