//! The same probes, through our datapath and through iptables with kube-proxy's
//! rules, in a tunnel and without: client and server get the same answers.
//!
//! Probes are the pings, curls and connections of the shipped suites, each with what
//! it expects, and some to services. Only how the packets travel may differ.

mod as_root {
    use std::collections::BTreeMap;
    use std::fs;

    use serde_yaml::Value;

    use crate::lab::{Lab, root};

    /// The suites whose probes mean the same in each mode.
    const SUITES: [&str; 2] = ["routing", "masquerade"];

    /// Steps that ask and are answered.
    const PROBES: [&str; 3] = ["ping", "curl", "tcp"];

    /// What the notes and kube-proxy's documentation ask of services, as steps.
    const SERVICES: &str = r#"
- curl: {from: curl-pod, url: "http://{{ service('webpod').cluster_ip }}/", expect: {body: "Hostname: webpod"}}
- curl: {from: k8s-w1, url: "http://{{ service('webpod').cluster_ip }}/", expect: {body: "Hostname: webpod"}}
- curl: {from: curl-pod, url: "http://{{ node('k8s-ctr').address }}:30080/", expect: {body: "Hostname: webpod"}}
- curl: {from: k8s-ctr, url: "http://{{ node('k8s-ctr').address }}:30080/", expect: {body: "Hostname: webpod"}}
- curl: {from: k8s-w2, url: "http://{{ node('k8s-w1').address }}:30080/", expect: {body: "Hostname: webpod"}}
- tcp: {from: curl-pod, to: "{{ service('webpod').cluster_ip }}", port: 80}
- tcp: {from: k8s-ctr, to: "{{ service('webpod').cluster_ip }}", port: 80}
"#;

    /// How a lab handles packets, as values.
    const MODES: [(&str, &str); 3] = [
        (
            "ebpf",
            "kubeProxyReplacement: true\n  bpf: {masquerade: true}",
        ),
        (
            "iptables",
            "kubeProxyReplacement: false\n  bpf: {masquerade: false}",
        ),
        (
            "iptables-vxlan",
            "kubeProxyReplacement: false\n  bpf: {masquerade: false}",
        ),
    ];

    /// The probes of a suite, as checks without captures: those that come before
    /// the check changes anything.
    fn probes_of(suite: &str) -> Vec<(String, Value)> {
        let path = root().join("checks").join(format!("{suite}.yaml"));
        let text = fs::read_to_string(&path).expect("a suite can be read");
        let file: Value = serde_yaml::from_str(&text).expect("a suite is YAML");
        let checks = file["checks"].as_sequence().expect("checks").clone();
        let mut probes = Vec::new();
        for check in checks {
            let name = check["name"].as_str().expect("a name");
            let steps = check["run"].as_sequence().expect("steps");
            let unchanged = steps.iter().take_while(|step| {
                is_probe(step) || !step["route"]["expect"].is_null() || !step["exec"].is_null()
            });
            for (number, step) in unchanged.filter(|step| is_probe(step)).enumerate() {
                probes.push((format!("{suite}-{name}-{number}"), step.clone()));
            }
        }
        probes
    }

    fn is_probe(step: &Value) -> bool {
        PROBES.iter().any(|probe| !step[*probe].is_null())
    }

    /// All probes as a check file.
    fn suite() -> String {
        let mut probes: Vec<_> = SUITES.iter().flat_map(|suite| probes_of(suite)).collect();
        let services: Vec<Value> = serde_yaml::from_str(SERVICES).expect("steps");
        let numbered = services.into_iter().enumerate();
        probes.extend(numbered.map(|(number, step)| (format!("services-{number}"), step)));
        let checks = probes.into_iter().map(|(name, step)| {
            serde_json::json!({
                "name": name,
                "why": "the answer is the same in every mode",
                "run": [step],
            })
        });
        let file = serde_json::json!({
            "suite": "probes",
            "checks": checks.collect::<Vec<_>>(),
        });
        serde_yaml::to_string(&file).expect("YAML")
    }

    /// A probe's verdict, and what was observed when it failed.
    type Answers = BTreeMap<String, String>;

    fn answers(mode: &str, values: &str) -> Answers {
        let mut lab = Lab::study();
        lab.edit(|text| {
            let text = text
                .replace("  kubeProxyReplacement: true\n", "")
                .replace("bpf: {masquerade: true}", values)
                .replace("webpod.yaml,", "webpod.yaml, webpod-nodeport.yaml,")
                .replace(
                    "../checks/routing.yaml, ../checks/masquerade.yaml",
                    "probes.yaml",
                );
            if mode.ends_with("vxlan") {
                text.replace("routingMode: native\n", "routingMode: tunnel\n")
                    .replace("  autoDirectNodeRoutes: true\n", "")
            } else {
                text
            }
        });
        let folder = lab.file.parent().expect("the lab file's folder");
        fs::write(folder.join("probes.yaml"), suite()).expect("write the probes");
        lab.up();
        let ran = lab.run("check", &["-o", "json"]);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{mode}: {error}: {ran:?}"));
        let checks = report["checks"].as_array().expect("checks");
        let answer = |check: &serde_json::Value| {
            let name = check["check"].as_str().unwrap_or_default().to_owned();
            let verdict = check["verdict"].as_str().unwrap_or_default();
            let observed = check["evidence"]["steps"][0]["observed"].as_str();
            (name, format!("{verdict} {}", observed.unwrap_or_default()))
        };
        checks.iter().map(answer).collect()
    }

    #[test]
    fn every_probe_is_answered_alike_in_every_mode() {
        let all: Vec<(&str, Answers)> = MODES
            .iter()
            .map(|&(mode, values)| (mode, answers(mode, values)))
            .collect();
        let (_, ours) = &all[0];
        assert!(ours.len() >= 15, "few probes: {ours:?}");
        let unanswered: Vec<_> = ours
            .iter()
            .filter(|(_, it)| !it.starts_with("passed"))
            .collect();
        assert!(
            unanswered.is_empty(),
            "not answered as expected: {unanswered:?}"
        );
        for (mode, theirs) in &all[1..] {
            let differing: Vec<_> = ours
                .iter()
                .filter(|(probe, answer)| theirs.get(*probe) != Some(answer))
                .map(|(probe, answer)| (probe, answer, theirs.get(probe)))
                .collect();
            assert!(differing.is_empty(), "{mode} differs: {differing:#?}");
        }
    }
}
