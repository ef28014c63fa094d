//! Lab files as users meet them: the shipped ones, their schema, and how faults look.

use std::fs;
use std::path::{Path, PathBuf};

use lab_model::lab_file;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Shipped lab files: those in `labs/` that are no Kubernetes manifests.
fn labs() -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(repository().join("labs")).expect("labs/ is there");
    let mut labs: Vec<_> = entries
        .map(|entry| entry.expect("labs/ can be listed").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            (
                path.clone(),
                fs::read_to_string(path).expect("labs are text"),
            )
        })
        .filter(|(_, text)| !text.contains("\napiVersion:"))
        .collect();
    labs.sort();
    labs
}

#[test]
fn shipped_labs_have_no_faults() {
    let labs = labs();
    assert!(!labs.is_empty());
    for (path, text) in labs {
        let folder = path.parent().expect("labs are in labs/");
        if let Err(faults) = lab_file::parse(&path.to_string_lossy(), &text, folder) {
            panic!("{faults}");
        }
    }
}

#[test]
fn shipped_labs_pass_the_schema() {
    let validator = jsonschema::draft202012::new(&lab_file::schema()).expect("a valid schema");
    for (path, text) in labs() {
        let lab: serde_json::Value = serde_yaml::from_str(&text).expect("labs are YAML");
        let errors: Vec<_> = validator
            .iter_errors(&lab)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let validator = jsonschema::draft202012::new(&lab_file::schema()).expect("a valid schema");
    let text = include_str!("lab_file/ten-faults.yaml");
    let lab: serde_json::Value = serde_yaml::from_str(text).expect("faulty, but YAML");
    let mut paths: Vec<_> = validator
        .iter_errors(&lab)
        .map(|error| error.instance_path().to_string())
        .collect();
    paths.sort();
    paths.dedup();
    // What no schema can say (addresses outside the network, unknown nodes) passes.
    assert_eq!(
        paths,
        [
            "/nodes/k8s-ctr",
            "/nodes/k8s-w1/role",
            "/nodes/router/serve/http",
            "/values"
        ]
    );
}

#[test]
fn the_schema_file_is_current() {
    let path = repository().join("labs/lab.schema.json");
    let current =
        serde_json::to_string_pretty(&lab_file::schema()).expect("a schema is JSON") + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, &current).expect("labs/ can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == current,
        "labs/lab.schema.json is stale: run this test with UPDATE_SCHEMA=1"
    );
}

#[test]
fn ten_faults_print_ten_diagnostics() {
    let text = include_str!("lab_file/ten-faults.yaml");
    let faults =
        lab_file::parse("labs/ten-faults.yaml", text, Path::new("labs")).expect_err("ten faults");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab_file/ten-faults.txt");
    let printed = faults.render(false);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &printed).expect("the snapshot can be written");
    }
    assert_eq!(printed, fs::read_to_string(&path).unwrap_or_default());
    assert_eq!(faults.len(), 10);
}

/// Contents of the fenced blocks of a Markdown text, each with its language.
fn fenced(markdown: &str) -> Vec<(&str, &str)> {
    let blocks = markdown.split("\n```").skip(1).step_by(2);
    blocks.filter_map(|block| block.split_once('\n')).collect()
}

#[test]
fn the_documentation_shows_real_output() {
    let path = repository().join("docs/labs.md");
    let written = fs::read_to_string(&path).expect("docs/labs.md is there");
    let mut current = written.clone();
    let blocks = fenced(&written);
    let mut shown = 0;
    for pair in blocks.windows(2) {
        let [("yaml", lab), ("text", output)] = pair else {
            continue;
        };
        let faults = lab_file::parse("labs/faulty.yaml", lab, Path::new("labs"));
        let faults = faults.expect_err("a faulty example").to_string();
        current = current.replace(output, &faults);
        shown += 1;
    }
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &current).expect("docs/ can be written");
    }
    assert_eq!(shown, 3);
    assert_eq!(
        written, current,
        "docs/labs.md is stale: run this test with UPDATE_SNAPSHOTS=1"
    );
}

#[test]
fn the_documentation_has_every_key_and_the_shipped_lab() {
    let docs =
        fs::read_to_string(repository().join("docs/labs.md")).expect("docs/labs.md is there");
    let study = fs::read_to_string(repository().join("labs/study.yaml")).expect("labs are text");
    assert!(
        docs.contains(&study),
        "docs/labs.md does not show labs/study.yaml as it is"
    );
    let schema = lab_file::schema();
    let definitions = schema["$defs"]
        .as_object()
        .expect("a schema has definitions");
    for definition in definitions.values().chain([&schema]) {
        for key in definition["properties"]
            .as_object()
            .into_iter()
            .flat_map(|keys| keys.keys())
        {
            let named = [
                format!("`{key}"),
                format!(".{key}`"),
                format!(".{key}."),
                format!("{{{key}:"),
            ];
            assert!(
                named.iter().any(|named| docs.contains(named)),
                "docs/labs.md lacks {key}"
            );
        }
    }
}
