//! `up`, `plan`, `down`: a lab from its file, and back to nothing.

mod as_root {
    use crate::host::{Host, left_of};
    use crate::lab::{Lab, run};

    #[test]
    fn the_study_lab_comes_up_as_the_student_knows_it() {
        let lab = Lab::study();
        lab.up()
            .prints(&format!("lab {} is up: 5 nodes, 6 pods, ", lab.name));
        let addresses = lab.exec("k8s-ctr", &["ip", "-br", "-4", "addr"]).exits(0);
        for line in [
            "eth0",
            "10.0.2.15/24",
            "eth1",
            "192.168.10.100/24",
            "cilium_host",
            "10.244.0.",
        ] {
            assert!(
                addresses.stdout.contains(line),
                "no {line} in:\n{}",
                addresses.stdout
            );
        }
        lab.exec("router", &["ip", "-br", "-4", "addr"])
            .exits(0)
            .prints("10.10.1.200/24")
            .prints("10.10.2.200/24");
        lab.exec("curl-pod", &["curl", "-s", "192.168.10.200"])
            .exits(0)
            .prints("RemoteAddr: 192.168.10.100:");
    }

    #[test]
    fn a_second_up_plans_and_does_nothing() {
        let lab = Lab::study();
        lab.up();
        lab.with_file("plan", &["--detailed-exitcode"])
            .exits(0)
            .prints("nothing to do");
        lab.up()
            .prints(&format!("lab {} is up to date: nothing to do\n", lab.name));
    }

    #[test]
    fn plan_says_what_and_why_and_makes_nothing() {
        let lab = Lab::study();
        let plan = lab.with_file("plan", &["--detailed-exitcode"]).exits(10);
        plan.prints("ip -n k8s-ctr addr add 192.168.10.100/24 dev eth1")
            .prints("is new");
        assert_eq!(left_of(&lab.name), Vec::<String>::new());
        let json = lab.with_file("plan", &["-o", "json"]).exits(0);
        let steps: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
        assert!(steps["steps"][0]["reason"].is_string(), "{steps}");
    }

    #[test]
    fn an_edited_file_changes_what_differs_and_names_every_peer() {
        let mut lab = Lab::study();
        lab.up();
        lab.edit(|text| {
            text.replacen(
                "  k8s-w2:",
                "  k8s-w3: {role: worker, address: 192.168.10.103}\n  k8s-w2:",
                1,
            )
        });
        let plan = lab.with_file("plan", &[]).exits(0).stdout;
        for peer in ["k8s-ctr", "k8s-w1", "k8s-w2"] {
            let names_it = |line: &str| line.contains(peer) && line.contains("k8s-w3");
            assert!(
                plan.lines().any(names_it),
                "no step of {peer} for k8s-w3 in:\n{plan}"
            );
            assert!(
                !plan.contains(&format!("ip netns add {peer}")),
                "{peer} is made anew:\n{plan}"
            );
        }
        lab.up();
        lab.exec("k8s-ctr", &["ping", "-c1", "-W2", "192.168.10.103"])
            .exits(0);
        lab.with_file("plan", &["--detailed-exitcode"]).exits(0);
    }

    #[test]
    fn what_someone_broke_by_hand_is_repaired() {
        let lab = Lab::study();
        lab.up();
        lab.exec("k8s-w2", &["ip", "link", "del", "eth1"]).exits(0);
        lab.exec("router", &["ip", "addr", "flush", "dev", "loop1"])
            .exits(0);
        lab.with_file("plan", &["--detailed-exitcode"])
            .exits(10)
            .prints("eth1 of k8s-w2 is missing");
        lab.up();
        lab.exec("k8s-ctr", &["ping", "-c1", "-W2", "192.168.10.102"])
            .exits(0);
        lab.exec("k8s-ctr", &["ping", "-c1", "-W2", "10.10.1.200"])
            .exits(0);
        lab.with_file("plan", &["--detailed-exitcode"]).exits(0);
    }

    #[test]
    fn down_leaves_nothing() {
        let before = Host::now();
        let lab = Lab::study();
        lab.up();
        lab.run("down", &[])
            .exits(0)
            .prints(&format!("lab {} is down", lab.name));
        assert_eq!(left_of(&lab.name), Vec::<String>::new());
        assert_eq!(Host::now(), before);
    }

    #[test]
    fn down_needs_no_state() {
        let lab = Lab::study();
        lab.up();
        let state = std::path::Path::new("/run/labctl").join(&lab.name);
        for file in ["lab.json", "journal.jsonl"] {
            std::fs::remove_file(state.join(file)).expect("the state file");
        }
        lab.run("down", &[]).exits(0);
        assert_eq!(left_of(&lab.name), Vec::<String>::new());
    }

    #[test]
    fn labs_run_side_by_side_with_the_same_addresses() {
        let (one, two) = (Lab::study(), Lab::study());
        one.up();
        two.up();
        for lab in [&one, &two] {
            lab.exec("curl-pod", &["curl", "-s", "192.168.10.200"])
                .exits(0)
                .prints("RemoteAddr");
        }
        one.exec("router", &["ip", "link", "set", "eth1", "down"])
            .exits(0);
        two.exec("curl-pod", &["curl", "-s", "-m5", "192.168.10.200"])
            .exits(0);
        run(&["status"])
            .exits(2)
            .complains(&one.name)
            .complains(&two.name);
    }

    #[test]
    fn two_runs_on_one_lab_take_turns() {
        let lab = Lab::study();
        let runs = std::thread::scope(|scope| {
            let run = || scope.spawn(|| lab.up());
            [run(), run()].map(|run| run.join().expect("up succeeds").stdout)
        });
        let idle = format!("lab {} is up to date: nothing to do\n", lab.name);
        assert_eq!(
            runs.iter().filter(|stdout| **stdout == idle).count(),
            1,
            "{runs:?}"
        );
    }

    #[test]
    fn an_object_for_agents_that_run_already_is_pointed_out() {
        let lab = Lab::study();
        lab.up();
        let object = crate::lab::root().join("datapath/prebuilt/passthrough.bpf.o");
        lab.with_file("up", &["--datapath-object", &object.to_string_lossy()])
            .exits(0)
            .complains("--datapath-object changes nothing");
    }
}
