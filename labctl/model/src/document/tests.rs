use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Lab {
    name: String,
    #[serde(default)]
    nodes: BTreeMap<String, Machine>,
    #[serde(default)]
    steps: Vec<Step>,
    limit: Option<Limit>,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Machine {
    role: Role,
    address: Option<Ipv4Addr>,
    port: Option<u16>,
}

/// Which documented variants make into `oneOf`.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Role {
    /// Runs the control plane.
    ControlPlane,
    /// Runs pods.
    Worker,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Step {
    Ping { from: String, count: Option<u8> },
    Curl { url: String },
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Limit {
    Count(u32),
    Word(String),
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "kind", deny_unknown_fields)]
enum Object {
    Pod { name: String },
    Deployment { replicas: u32 },
}

/// A type that allows unknown keys, as manifests need.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
struct Manifest {
    kind: String,
}

fn read<T: JsonSchema + DeserializeOwned>(text: &str) -> Result<T, Diagnostics> {
    Document::parse("lab.yaml", text)?.read()
}

/// Faults as `line:column message (help)`.
#[track_caller]
fn faults<T: JsonSchema + DeserializeOwned + std::fmt::Debug>(text: &str) -> Vec<String> {
    let faults = read::<T>(text).unwrap_err();
    let line = |fault: &Diagnostic| {
        let (line, column) = fault.line_column();
        let help = fault
            .help
            .as_ref()
            .map(|help| format!(" ({help})"))
            .unwrap_or_default();
        format!("{line}:{column} {}{help}", fault.message)
    };
    faults.iter().map(line).collect()
}

#[test]
fn reads_a_valid_document() {
    let lab: Lab = read(
        "name: study\nnodes:\n  w1: {role: worker, address: 10.0.0.1}\nsteps: [{ping: {from: a}}]\nlimit: 3\n",
    )
    .unwrap();
    assert_eq!(lab.nodes["w1"].address, Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!(
        lab.steps,
        [Step::Ping {
            from: "a".to_owned(),
            count: None
        }]
    );
    assert_eq!(lab.limit, Some(Limit::Count(3)));
}

#[test]
fn every_structural_fault_comes_at_once() {
    let text = "\
nme: study
nodes:
  w1: {role: workr, adress: 10.0.0.1}
  w2: {address: 10.0.0.300, port: 70000}
  w2: {role: worker}
  w3: [1]
steps:
  - ping: {from: 3}
  - trace: {}
  - {ping: {from: a}, curl: {url: b}}
  - {}
limit: [1]
";
    assert_eq!(
        faults::<Lab>(text),
        [
            "1:1 unknown key `nme` (did you mean `name`?)",
            "3:14 `nodes.w1.role` cannot be `workr` (did you mean `worker`?)",
            "3:21 unknown key `adress` in `nodes.w1` (did you mean `address`?)",
            "4:3 `nodes.w2` lacks `role`",
            "4:17 `nodes.w2.address` must be an IPv4 address like 192.168.10.100, not `10.0.0.300`",
            "4:35 `nodes.w2.port` must be between 0 and 65535, not 70000",
            "5:3 duplicate key `w2`",
            "6:7 `nodes.w3` must be a map, not a list",
            "8:18 `steps[0].ping.from` must be text, not a number (quote it to make it text)",
            "9:5 unknown key `trace` in `steps[1]` (it takes `ping`, `curl`)",
            "10:5 `steps[2]` takes exactly one of `ping`, `curl`",
            "11:5 `steps[3]` takes exactly one of `ping`, `curl`",
            "12:8 `limit` must be a whole number or text, not a list",
        ]
    );
}

#[test]
fn tags_choose_the_variant() {
    assert_eq!(
        faults::<Object>("kind: Deployment\nreplica: 2\n"),
        ["2:1 unknown key `replica` (did you mean `replicas`?)"]
    );
    assert_eq!(
        faults::<Object>("kind: Depolyment\nreplicas: 2\n"),
        ["1:7 `kind` cannot be `Depolyment` (did you mean `Deployment`?)"]
    );
    assert_eq!(faults::<Object>("name: x\n"), ["1:1 the file lacks `kind`"]);
}

#[test]
fn unknown_keys_are_allowed_where_the_type_allows_them() {
    let manifest: Manifest = read("kind: Pod\nspec: {anything: [1, 2]}\n").unwrap();
    assert_eq!(manifest.kind, "Pod");
    assert_eq!(
        faults::<Manifest>("spec: {}\n"),
        ["1:1 the file lacks `kind`"]
    );
}

#[test]
fn what_only_deserialization_refuses_has_a_place_too() {
    #[derive(Debug, Deserialize, JsonSchema)]
    struct Sizes {
        #[expect(dead_code, reason = "never deserialized")]
        sizes: Vec<u32>,
    }
    assert_eq!(
        faults::<Sizes>("sizes:\n  - 1\n  - 5000000000\n"),
        ["3:5 invalid value: integer `5000000000`, expected u32"]
    );
}

#[test]
fn broken_text_is_one_fault_with_a_place() {
    let fault = |text| Document::parse("lab.yaml", text).unwrap_err().to_string();
    let tab = fault("a:\n\tb: 1\n");
    assert!(tab.contains("lab.yaml:2:"), "{tab}");
    assert!(tab.contains("never with tabs"), "{tab}");
    assert!(fault("").contains("the file is empty"));
    assert!(fault("# only a comment\n").contains("the file is empty"));
    assert!(fault("a: 1\n---\nb: 2\n").contains("lab.yaml:3:1"));
    assert!(fault("? {a: b}\n: c\n").contains("a key must be one word"));
    assert!(fault("&a [*a]\n").contains("an alias cannot stand inside what it names"));
    assert!(fault("a: !!int x\n").contains("`x` is not what its tag says"));
}

#[test]
fn nesting_and_aliases_are_bounded() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let deep = Document::parse("lab.yaml", &deep).unwrap_err().to_string();
    assert!(deep.contains("nested more than 64 levels deep"), "{deep}");

    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let laughs = Document::parse("lab.yaml", &laughs)
        .unwrap_err()
        .to_string();
    assert!(
        laughs.contains("aliases expand to more than 100000 values"),
        "{laughs}"
    );
}

#[test]
fn aliases_repeat_values_and_merge_keys_are_refused() {
    let text = "nodes: {w1: &w {role: worker}, w2: *w}\nname: x\n";
    let lab: Lab = read(text).unwrap();
    assert_eq!(lab.nodes["w1"], lab.nodes["w2"]);
    assert_eq!(
        faults::<Lab>("name: x\nnodes: {w1: {<<: {}, role: worker}}\n"),
        [
            "2:14 merge keys are not supported (write the keys out, or use an alias for a whole value)"
        ]
    );
}

#[test]
fn paths_find_their_places() {
    let text = "# ‘comment’ — 주석\nname: study\nnodes:\n  w1:\n    role: worker # 역할\n    address: 10.0.0.1\nsteps: [a, 'b']\n";
    let document = Document::parse("lab.yaml", text).unwrap();
    let written = |at: &At<'_>| text[at.span()].to_owned();
    let nodes = document.at().key("nodes");
    assert_eq!(
        written(&nodes),
        "nodes",
        "a value of many lines is marked by its key"
    );
    assert_eq!(written(&nodes.key("w1").key("address")), "10.0.0.1");
    assert_eq!(&text[nodes.key("w1").key("address").key_span()], "address");
    assert_eq!(
        written(&nodes.key("w1").key("port")),
        "w1",
        "what is absent, by what is around"
    );
    assert_eq!(written(&document.at().key("steps").index(1)), "'b'");
    assert_eq!(written(&document.at().key("steps")), "[a, 'b']");
    assert_eq!(nodes.key("w1").key("role").path(), "nodes.w1.role");
    assert_eq!(document.at().key("steps").index(1).path(), "steps[1]");
}

#[test]
fn streams_keep_the_places_of_every_document() {
    let text = "---\nkind: Pod\n---\n# nothing\n---\nkind: 3\n";
    let documents = Document::parse_all("pods.yaml", text).unwrap();
    assert_eq!(documents.len(), 2);
    let fault = documents[1].read::<Manifest>().unwrap_err();
    assert_eq!(fault.iter().next().unwrap().line_column(), (6, 7));
}

#[test]
fn items_are_documents_that_point_into_the_same_text() {
    let text = "kind: List\nitems:\n- name: a\n- name: 7\n";
    let list = Document::parse("list.yaml", text).unwrap();
    let items = list.items("items");
    assert_eq!(items.len(), 2);
    assert_eq!(items[0].at().key("name").as_str(), Some("a"));
    let span = items[1].at().key("name").span();
    assert_eq!(list.source().line_column(span.start), (4, 9));
    assert!(list.items("kind").is_empty() && list.items("absent").is_empty());
}
