//! The same probes, through our datapath and through iptables with kube-proxy's
//! rules, in a tunnel and without: client and server get the same answers.
//!
//! Probes are the pings, curls and connections of the shipped suites, each with what
//! it expects, and some to services. Only how the packets travel may differ.

mod as_root {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;

    use serde_yaml::{Mapping, Value};

    use crate::lab::{Lab, root};

    /// One shipped lab in several modes.
    struct Comparison {
        lab: &'static str,
        suites: &'static [&'static str],
        /// How it handles packets, as values; the first is compared with the others.
        modes: &'static [(&'static str, &'static str)],
        /// Probes that are answered otherwise by iptables, and why that is right.
        differences: &'static [(&'static str, &'static str)],
    }

    const EBPF: (&str, &str) = (
        "ebpf",
        "{kubeProxyReplacement: true, bpf: {masquerade: true}}",
    );
    const IPTABLES: (&str, &str) = (
        "iptables",
        "{kubeProxyReplacement: false, bpf: {masquerade: false}, localRedirectPolicies: {enabled: false}}",
    );
    const IPTABLES_IN_A_TUNNEL: (&str, &str) = (
        "iptables in a tunnel",
        "{kubeProxyReplacement: false, bpf: {masquerade: false}, routingMode: tunnel, autoDirectNodeRoutes: false}",
    );

    /// The shipped labs whose suites ask the same in each mode. Local redirect policies and
    /// announced addresses are there with kubeProxyReplacement alone.
    const STUDY: Comparison = Comparison {
        lab: "study",
        suites: &["routing", "masquerade"],
        modes: &[EBPF, IPTABLES, IPTABLES_IN_A_TUNNEL],
        differences: &[],
    };
    const SERVICES: Comparison = Comparison {
        lab: "services",
        suites: &["services"],
        modes: &[EBPF, IPTABLES],
        differences: &[
            (
                "services-node-port-of-the-backends-node-keeps-the-client-0",
                "kube-proxy masquerades what comes to a NodePort with the policy Cluster",
            ),
            (
                "services-service-without-backends-refuses-1",
                "kube-proxy's REJECT tells the client, where Cilium drops",
            ),
        ],
    };
    const TUNNEL: Comparison = Comparison {
        lab: "overlay",
        suites: &["overlay"],
        modes: &[EBPF, IPTABLES],
        differences: &[],
    };
    const FLANNEL_LIKE: Comparison = Comparison {
        lab: "flannel-like",
        suites: &["iptables"],
        modes: &[EBPF, IPTABLES],
        differences: &[],
    };
    const NAMES: Comparison = Comparison {
        lab: "dns-interface",
        suites: &["dns-interface"],
        modes: &[EBPF, IPTABLES],
        differences: &[],
    };

    /// Steps that ask and are answered.
    const PROBES: [&str; 3] = ["ping", "curl", "tcp"];

    /// Commands that do.
    const ASKING: [&str; 3] = ["ping", "curl", "dig"];

    /// What the notes and kube-proxy's documentation ask of services, as steps; for the study
    /// lab with a NodePort.
    const NODE_PORT: &str = r#"
- curl: {from: curl-pod, url: "http://{{ service('webpod').cluster_ip }}/", expect: {body: "Hostname: webpod"}}
- curl: {from: k8s-w1, url: "http://{{ service('webpod').cluster_ip }}/", expect: {body: "Hostname: webpod"}}
- curl: {from: curl-pod, url: "http://{{ node('k8s-ctr').address }}:30080/", expect: {body: "Hostname: webpod"}}
- curl: {from: k8s-ctr, url: "http://{{ node('k8s-ctr').address }}:30080/", expect: {body: "Hostname: webpod"}}
- curl: {from: k8s-w2, url: "http://{{ node('k8s-w1').address }}:30080/", expect: {body: "Hostname: webpod"}}
- tcp: {from: curl-pod, to: "{{ service('webpod').cluster_ip }}", port: 80}
- tcp: {from: k8s-ctr, to: "{{ service('webpod').cluster_ip }}", port: 80}
"#;

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
        let command = step["exec"]["command"][0].as_str();
        PROBES.iter().any(|probe| !step[*probe].is_null())
            || command.is_some_and(|program| ASKING.contains(&program))
    }

    impl Comparison {
        /// All probes as a check file.
        fn suite(&self) -> String {
            let mut probes: Vec<_> = self.suites.iter().flat_map(|it| probes_of(it)).collect();
            if self.lab == STUDY.lab {
                let services: Vec<Value> = serde_yaml::from_str(NODE_PORT).expect("steps");
                let numbered = services.into_iter().enumerate();
                probes.extend(numbered.map(|(number, step)| (format!("nodeport-{number}"), step)));
            }
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

        /// What the probes come to with those values.
        fn answers(&self, mode: &str, values: &str) -> Answers {
            let mut lab = Lab::shipped(self.lab);
            lab.edit(|text| in_mode(&text, values));
            let folder = lab.file.parent().expect("the lab file's folder");
            fs::write(folder.join("probes.yaml"), self.suite()).expect("write the probes");
            lab.up();
            let ran = lab.run("check", &["-o", "json"]);
            let report: serde_json::Value = serde_json::from_str(&ran.stdout)
                .unwrap_or_else(|error| panic!("{mode}: {error}: {ran:?}"));
            let checks = report["checks"].as_array().expect("checks");
            checks.iter().map(answer).collect()
        }

        #[track_caller]
        fn holds(&self, probes: usize) {
            let ask = |&(mode, values): &(&'static str, &str)| (mode, self.answers(mode, values));
            let all: Vec<_> = self.modes.iter().map(ask).collect();
            let (_, ours) = &all[0];
            assert!(ours.len() >= probes, "few probes: {ours:#?}");
            let failed = ours.iter().filter(|(_, it)| !it.starts_with("passed"));
            let failed: Vec<_> = failed.collect();
            assert!(failed.is_empty(), "not as expected: {failed:#?}");
            let expected: BTreeSet<_> = self.differences.iter().map(|(probe, _)| *probe).collect();
            for (mode, theirs) in &all[1..] {
                let differing: BTreeMap<&str, _> = ours
                    .iter()
                    .filter(|(probe, answer)| theirs.get(*probe) != Some(answer))
                    .map(|(probe, answer)| (probe.as_str(), (answer, theirs.get(probe))))
                    .collect();
                let found: BTreeSet<_> = differing.keys().copied().collect();
                assert_eq!(found, expected, "{mode}: {differing:#?}");
            }
        }
    }

    /// The lab file with those values and the probes for checks.
    fn in_mode(text: &str, values: &str) -> String {
        let mut file: Value = serde_yaml::from_str(text).expect("a lab file is YAML");
        let values: Mapping = serde_yaml::from_str(values).expect("values");
        let before = file["values"].as_mapping_mut().expect("values");
        for (name, value) in values {
            before.insert(name, value);
        }
        file["checks"] = vec![Value::from("probes.yaml")].into();
        if file["name"] == STUDY.lab {
            let manifests = file["manifests"].as_sequence_mut().expect("manifests");
            manifests.push("webpod-nodeport.yaml".into());
        }
        serde_yaml::to_string(&file).expect("YAML")
    }

    /// A probe's verdict, and what was observed when it failed.
    type Answers = BTreeMap<String, String>;

    fn answer(check: &serde_json::Value) -> (String, String) {
        let name = check["check"].as_str().unwrap_or_default().to_owned();
        let verdict = check["verdict"].as_str().unwrap_or_default();
        let observed = check["evidence"]["steps"][0]["observed"].as_str();
        (name, format!("{verdict} {}", observed.unwrap_or_default()))
    }

    #[test]
    fn routes_and_masquerading_answer_alike_in_every_mode() {
        STUDY.holds(15);
    }

    #[test]
    fn services_answer_alike_but_where_kube_proxy_is_known_to_differ() {
        SERVICES.holds(10);
    }

    #[test]
    fn pods_of_other_nodes_answer_alike_in_a_tunnel() {
        TUNNEL.holds(5);
    }

    #[test]
    fn what_flannel_and_kube_proxy_answer_our_datapath_does_too() {
        FLANNEL_LIKE.holds(5);
    }

    #[test]
    fn names_resolve_alike_by_the_interface_of_the_cache() {
        NAMES.holds(3);
    }
}
