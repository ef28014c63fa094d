//! The rules in a namespace's own tables, beside somebody else's.

use std::process::Command;

use lab_model::node_state::{DatapathSettings, ServiceHandling};

use super::super::ruleset::Table;
use super::super::{Iptables, remove, wanted};
use super::{by_iptables, node, webpod};
use crate::agent::NodeView;
use crate::namespace;

fn iptables_save() -> String {
    let output = Command::new("iptables-save")
        .output()
        .expect("iptables-save runs");
    let text = String::from_utf8_lossy(&output.stdout);
    // Times and counters aside.
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| format!("{}\n", line.split(" [").next().unwrap_or_default()))
        .collect()
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .expect("it runs");
    assert!(status.success(), "{program} {arguments:?}");
}

/// Our own words are those of iptables-save, rule by rule, as in the notes; a
/// stranger's rules survive it all.
#[test]
fn rules_come_stay_and_go_beside_those_of_others() {
    let netns = namespace::create_unnamed().expect("create as root");
    namespace::in_netns(&netns, || {
        run("iptables", &["-t", "nat", "-N", "MINE"]);
        run(
            "iptables",
            &["-t", "nat", "-A", "POSTROUTING", "-j", "MINE"],
        );
        let before = iptables_save();
        let mut outside = webpod();
        outside.ports[0].node_port = Some(30080);
        outside.session_affinity = Some(10_800);
        let datapath = DatapathSettings {
            masquerade: by_iptables(&[], false),
            services: ServiceHandling::KubeProxy,
            ..DatapathSettings::default()
        };
        let state = node(datapath, vec![outside]);
        let rules = wanted(&state, &NodeView::default());
        let mut iptables = Iptables::default();
        iptables.apply(rules.clone()).expect("apply");
        let saved = iptables_save();
        for chain in [
            "CILIUM_POST_nat",
            "KUBE-SVC-CNZCPOCNCNOROALA",
            "KUBE-SERVICES",
            "KUBE-EXT-CNZCPOCNCNOROALA",
        ] {
            for rule in rules.of(Table::Nat, chain) {
                assert!(
                    saved.contains(&format!("-A {chain} {rule}\n")),
                    "{rule}\nin\n{saved}"
                );
            }
        }
        assert!(saved.contains("-A POSTROUTING -j MINE\n"), "{saved}");
        assert_eq!(iptables.differences().expect("read"), [""; 0]);

        // Another agent takes over; then somebody deletes a rule.
        let mut next = Iptables::default();
        next.apply(rules.clone()).expect("apply again");
        assert_eq!(iptables_save(), saved);
        run("iptables", &["-t", "nat", "-F", "KUBE-MARK-MASQ"]);
        assert_eq!(
            next.differences().expect("read"),
            ["iptables: chain KUBE-MARK-MASQ of table nat has other rules"]
        );
        next.apply(rules).expect("mend");
        assert_eq!(iptables_save(), saved);

        // The pods go, then the services too.
        let mut empty = state.clone();
        empty.services[0].ports[0].backends.clear();
        next.apply(wanted(&empty, &NodeView::default()))
            .expect("no backends");
        let saved = iptables_save();
        assert!(saved.contains("has no endpoints"), "{saved}");
        assert!(!saved.contains("KUBE-SVC-"), "{saved}");
        empty.services.clear();
        next.apply(wanted(&empty, &NodeView::default()))
            .expect("no services");

        remove().expect("remove");
        // The tables that came with the rules stay, empty.
        let after = iptables_save();
        assert!(
            !after.contains("KUBE") && !after.contains("CILIUM"),
            "{after}"
        );
        let nat = |text: &str| text.split("*nat").nth(1).map(str::to_owned);
        assert_eq!(nat(&after), nat(&before));
    })
    .expect("enter");
}
