//! `check`: green where it should be, red where it must be.

mod as_root {
    use serde_json::Value;

    use crate::lab::{Lab, root};

    fn verdicts(json: &str) -> Vec<(String, String)> {
        let report: Value = serde_json::from_str(json).expect("JSON");
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let checks = report["checks"].as_array().expect("checks");
        checks
            .iter()
            .map(|check| (word(&check["check"]), word(&check["verdict"])))
            .collect()
    }

    #[test]
    fn every_shipped_check_is_green() {
        let lab = Lab::study();
        lab.up();
        let ran = lab.run("check", &["-o", "json"]).exits(0);
        let verdicts = verdicts(&ran.stdout);
        assert!(verdicts.len() >= 10, "{verdicts:?}");
        assert!(
            verdicts.iter().all(|(_, verdict)| verdict == "passed"),
            "{verdicts:?}"
        );
    }

    #[test]
    fn every_twin_is_red() {
        let lab = Lab::study();
        lab.up();
        lab.run("check", &["--twins"]).exits(0);
        // Each change was taken back: the lab is as its file says, and green.
        lab.with_file("plan", &["--detailed-exitcode"]).exits(0);
        lab.run("check", &["routing"]).exits(0);
    }

    /// The study lab with pods in a tunnel.
    #[test]
    fn the_overlays_checks_are_green_and_their_twins_red() {
        let lab = Lab::shipped("overlay");
        lab.up();
        lab.run("check", &["--twins"]).exits(0);
        // Each twin took the tunnel away and gave it back, to pods that ran on.
        lab.with_file("plan", &["--detailed-exitcode"]).exits(0);
    }

    #[test]
    fn the_announced_addresses_checks_are_green_and_their_twins_red() {
        let lab = Lab::shipped("l2");
        lab.up();
        lab.run("check", &["--twins"]).exits(0);
    }

    #[test]
    fn the_services_and_redirects_checks_are_green_and_their_twins_red() {
        let lab = Lab::shipped("services");
        lab.up();
        lab.run("check", &["--twins"]).exits(0);
        lab.with_file("plan", &["--detailed-exitcode"]).exits(0);
    }

    #[test]
    fn the_iptables_modes_checks_are_green_and_their_twins_red() {
        let lab = Lab::shipped("flannel-like");
        lab.up();
        lab.run("check", &["--twins"]).exits(0);
        lab.with_file("plan", &["--detailed-exitcode"]).exits(0);
    }

    #[test]
    fn a_datapath_that_passes_everything_is_noticed_at_the_first_wrong_hop() {
        let lab = Lab::study();
        let object = root().join("datapath/prebuilt/passthrough.bpf.o");
        lab.with_file("up", &["--datapath-object", &object.to_string_lossy()])
            .exits(0);
        lab.run("check", &["masquerade"])
            .exits(1)
            .prints("first wrong hop: node (k8s-ctr eth1)");
    }

    #[test]
    fn captures_of_a_failed_check_are_kept_until_the_lab_goes_down() {
        let lab = Lab::study();
        let object = root().join("datapath/prebuilt/passthrough.bpf.o");
        lab.with_file("up", &["--datapath-object", &object.to_string_lossy()])
            .exits(0);
        let only = [
            "--only",
            "pod-to-router-takes-the-node-address",
            "-o",
            "json",
        ];
        let report = lab.run("check", &only).exits(1).stdout;
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let folder = report["checks"][0]["captures"].as_str().expect("a folder");
        let router = std::path::Path::new(folder).join("router.pcap");
        let tcpdump = std::process::Command::new("tcpdump")
            .arg("-nnr")
            .arg(&router)
            .output();
        let printed = String::from_utf8(tcpdump.expect("tcpdump").stdout).expect("text");
        assert!(
            printed.contains("192.168.10.200: ICMP echo request"),
            "{printed}"
        );
        lab.run("down", &[]).exits(0);
        assert!(!router.exists());
    }

    #[test]
    fn nothing_run_is_not_a_pass() {
        let lab = Lab::study();
        lab.up();
        lab.run("check", &["masquerad"])
            .exits(2)
            .complains("masquerade");
        lab.run("check", &["--only", "no-such-check"])
            .exits(2)
            .complains("no-such-check");
    }

    #[test]
    fn checks_are_listed_without_being_run() {
        let lab = Lab::study();
        lab.up();
        lab.run("check", &["--list"])
            .exits(0)
            .prints("SUITE")
            .prints("masquerade");
    }
}
