//! Check files: shipped ones are right, wrong ones are told what is wrong, and where.

use std::path::{Path, PathBuf};

use lab_checks::check_file::{self, RouteChange, Step, Suite};

use crate::lab;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../checks")
        .join(name)
}

fn suites() -> Vec<Suite> {
    let folder = std::fs::read_dir(shipped("")).expect("checks/ is there");
    let files = folder.map(|entry| entry.expect("checks/ can be listed").path());
    files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("the suite can be read");
            check_file::parse(&path.to_string_lossy(), &text)
                .unwrap_or_else(|faults| panic!("{faults}"))
        })
        .collect()
}

#[test]
fn every_shipped_check_and_its_twin_render_for_their_labs() {
    let lab = lab::with_all_that_is_shipped();
    let suites = suites();
    assert!(suites.len() >= 2, "routing and masquerade are shipped");
    for suite in &suites {
        assert!(!suite.checks.is_empty());
        for check in &suite.checks {
            let rendered = check
                .render(&lab)
                .unwrap_or_else(|error| panic!("{}: failed to {error}", suite.name));
            assert_eq!(rendered.expectations.len(), check.expect.len());
            let twin = check
                .twin()
                .unwrap_or_else(|| panic!("{}/{} has no twin", suite.name, check.name));
            twin.render(&lab)
                .unwrap_or_else(|error| panic!("{}: failed to {error}", suite.name));
        }
    }
}

/// `UPDATE_SCHEMA=1 cargo test -p lab-checks` writes it anew.
#[test]
fn the_checked_in_schema_is_current() {
    let path = shipped("check.schema.json");
    let current =
        serde_json::to_string_pretty(&check_file::schema()).expect("a schema is JSON") + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &current).expect("checks/ can be written");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        checked_in, current,
        "run UPDATE_SCHEMA=1 cargo test -p lab-checks"
    );
}

const WITH_TWIN: &str = r#"
suite: one
checks:
  - name: a-check
    why: it is so
    run:
      - set: {ipMasqAgent: {enabled: true, config: {nonMasqueradeCIDRs: [10.10.1.0/24]}}}
      - route: {on: router, add: {to: "{{ node('k8s-ctr').pod_cidr }}", via: "{{ node('k8s-ctr').address }}"}}
      - ping: {from: "{{ pod('webpod', on='k8s-w1').name }}", to: "{{ pods('app=curl')[0].ip }}"}
    twin:
      values: {ipMasqAgent: {config: {nonMasqueradeCIDRs: []}}, bpf: {masquerade: false}}
      omit: [route]
      run:
        - link: {on: k8s-w1, interface: eth1, state: down}
"#;

#[test]
fn a_twin_is_the_check_under_its_change() {
    let suite = check_file::parse("one.yaml", WITH_TWIN).expect("no faults");
    let steps = |check: &check_file::CheckFile| {
        check
            .render(&lab::study())
            .expect("the lab has it all")
            .steps
    };
    let check = &suite.checks[0];
    let plain = steps(check);
    assert_eq!(plain.len(), 3);
    assert!(matches!(
        &plain[1],
        Step::Route { change: RouteChange::Add { to, via }, .. }
            if to.to_string() == "10.244.0.0/24" && via.to_string() == "192.168.10.100"
    ));
    assert_eq!(
        plain[2].to_string(),
        "webpod-556878d5d7-r4dmh: ping -c 3 10.244.0.5"
    );
    let twin: Vec<String> = steps(&check.twin().expect("it has one"))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        twin,
        [
            r#"set values {"ipMasqAgent":{"config":{"nonMasqueradeCIDRs":[]}},"bpf":{"masquerade":false}}"#,
            "k8s-w1: ip link set eth1 down",
            r#"set values {"ipMasqAgent":{"enabled":true,"config":{"nonMasqueradeCIDRs":[]}},"bpf":{"masquerade":false}}"#,
            "webpod-556878d5d7-r4dmh: ping -c 3 10.244.0.5",
        ]
    );
}

#[test]
fn every_fault_is_reported_at_its_place() {
    let text = r#"suite: One Suite
checks:
  - name: a-check
    why: it is so
    capture:
      pod: {on: curl-pod, filter: icmp}
      node: {on: k8s-ctr, interface: eth1}
    run:
      - ping: {from: curl-pod, to: "{{ nodes('router').address }}"}
      - route: {on: router}
    expect:
      - {at: pot, count: 3, where: icmp}
      - {at: pod, count: {min: 3, max: 2}, where: "icmp.type == 8 && ip.scr == {{ pod('curl-pod').ip }}"}
    twin: {}
  - name: a-check
    why: it is so
    run:
      - set: {bpf: {masquerade: false}}
"#;
    let faults = check_file::parse("one.yaml", text).expect_err("it has faults");
    let told: Vec<String> = faults
        .iter()
        .map(|fault| {
            let (line, column) = fault.line_column();
            let help = fault
                .help
                .as_ref()
                .map(|help| format!(" ({help})"))
                .unwrap_or_default();
            format!("{line}:{column}: {}{help}", fault.message)
        })
        .collect();
    assert_eq!(
        told,
        [
            "1:8: `One Suite` is not in kebab-case (use lower-case letters and digits in words joined by `-`)",
            "7:7: nothing is expected at capture `node` (expect something there, or leave the capture out)",
            "9:40: template uses `nodes`, but there are only node(…), pod(…), pods(…), service(…)",
            "10:9: `route` takes exactly one of `add`, `del`, `expect`",
            "12:14: there is no capture `pot` (did you mean `pod`?)",
            "13:26: min 3 is above max 2",
            "13:70: `ip.scr` is not a field that labctl's filters know (did you mean `ip.src`?)",
            "14:5: a twin must change something (give it `values`, `omit` or `run`)",
            "15:11: a second check is named `a-check`",
            "17:5: nothing in `a-check` can fail (add a step that expects something, or `expect`)",
        ]
    );
}

#[test]
fn structural_faults_are_told_in_the_words_of_the_file() {
    let text = "suite: one\nchecks:\n  - name: a\n    wyh: it is so\n    run:\n      - pong: {from: a, to: b}\n      - ping: {from: a}\n    timeout: soon\n";
    let faults = check_file::parse("one.yaml", text)
        .expect_err("it has faults")
        .to_string();
    for told in [
        "unknown key `wyh`",
        "did you mean `why`?",
        "`pong`",
        "did you mean `ping`?",
        "`to`",
    ] {
        assert!(faults.contains(told), "{told} in\n{faults}");
    }
}

#[test]
fn what_the_lab_lacks_is_named_with_its_place() {
    let render = |from: &str, to: &str| {
        let text = format!(
            "suite: one\nchecks:\n  - name: a\n    why: it is so\n    run:\n      - ping: {{from: \"{from}\", to: \"{to}\"}}\n"
        );
        let suite =
            check_file::parse("one.yaml", &text).unwrap_or_else(|faults| panic!("{faults}"));
        suite.checks[0]
            .render(&lab::study())
            .expect_err("the lab lacks it")
            .to_string()
    };
    assert_eq!(
        render("curl-pood", "10.0.0.1"),
        "prepare check `a`: run[0].ping.from: the lab has no node or pod `curl-pood`; did you mean `curl-pod`?"
    );
    assert_eq!(
        render("curl-pod", "{{ node('k8s-w3').address }}"),
        "prepare check `a`: run[0].ping.to: the lab has no node `k8s-w3`; did you mean `k8s-w1`?"
    );
    assert_eq!(
        render("webpod", "10.0.0.1"),
        "prepare check `a`: run[0].ping.from: `webpod` has 3 pods, on k8s-ctr, k8s-w1, k8s-w2: \
         choose one with pod('webpod', on='k8s-ctr')"
    );
    assert_eq!(
        render("curl-pod", "{{ service('wepbod').cluster_ip }}"),
        "prepare check `a`: run[0].ping.to: the lab has no service `wepbod`; did you mean `webpod`?"
    );
    assert!(render("curl-pod", "{{ node('router').pod_cidr }}").contains("undefined"));
    assert!(render("curl-pod", "{{ service('webpod').node_port }}").contains("undefined"));
}

#[test]
fn a_services_addresses_and_ports_can_be_asked_for() {
    let text = "suite: one\nchecks:\n  - name: a\n    why: it is so\n    run:\n      - curl: \
                {from: curl-pod, url: \"http://{{ service('default/webpod').cluster_ip }}:{{ \
                service('webpod').ports[0].port }}\"}\n";
    let suite = check_file::parse("one.yaml", text).unwrap_or_else(|faults| panic!("{faults}"));
    let check = suite.checks[0].render(&lab::study()).expect("it is there");
    let command = check.steps[0].command().expect("a curl").join(" ");
    assert!(command.contains("http://10.96.152.212:80"), "{command}");
}

#[test]
fn the_documentation_is_true() {
    let path = shipped("../docs/checks.md");
    let text = std::fs::read_to_string(&path).expect("docs/checks.md can be read");
    let example = text
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("it begins with an example");
    let suite =
        check_file::parse("docs/checks.md", example).unwrap_or_else(|faults| panic!("{faults}"));
    suite.checks[0]
        .render(&lab::study())
        .expect("the study lab has it all");
    for field in lab_checks::filter::field::fields() {
        let name = format!("`{}`", field.name);
        assert!(text.contains(&name), "docs/checks.md does not list {name}");
    }
}
