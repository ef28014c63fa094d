//! `exec`, `status`, `inspect`, `logs`, and the commands that students know.

mod as_root {
    use crate::lab::Lab;

    #[test]
    fn exec_passes_output_and_exit_code_through() {
        let lab = Lab::study();
        lab.up();
        let ran = lab
            .exec("k8s-w1", &["sh", "-c", "hostname; echo oops >&2; exit 7"])
            .exits(7);
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("k8s-w1\n", "oops\n")
        );
        lab.exec("curl-pod", &["hostname"])
            .exits(0)
            .prints("curl-pod\n");
        lab.exec("k8s-w9", &["true"])
            .exits(2)
            .complains("k8s-w9")
            .complains("k8s-w1");
        lab.exec("k8s-w1", &["/nonexistent"]).exits(127);
    }

    #[test]
    fn status_shows_nodes_pods_and_services_in_kubectls_columns() {
        let lab = Lab::study();
        lab.up();
        let status = lab.run("status", &[]).exits(0).stdout;
        for column in ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"] {
            assert!(status.contains(column), "no {column} in:\n{status}");
        }
        let pod = status
            .lines()
            .find(|line| line.starts_with("curl-pod "))
            .expect("curl-pod");
        assert!(pod.contains("1/1     Running   0"), "{pod}");
        assert!(pod.contains("k8s-ctr"), "{pod}");
        let service = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.unwrap_or_else(|| panic!("no {name} in:\n{status}"))
                .split_whitespace()
                .collect::<Vec<_>>()
        };
        let dns = service("kube-system/kube-dns ");
        assert_eq!(
            dns[1..5],
            [
                "ClusterIP",
                "10.96.0.10",
                "<none>",
                "53/UDP,53/TCP,9153/TCP"
            ]
        );
        assert_eq!(dns[6..], ["+", "3", "more..."]);
        let webpod = service("webpod ");
        assert_eq!(webpod[3..5], ["<none>", "80/TCP"]);
        assert_eq!(webpod[5].split(',').count(), 3, "{webpod:?}");
        let json = lab.run("status", &["-o", "json"]).exits(0).stdout;
        let status: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(
            status["nodes"].as_array().map(Vec::len),
            Some(5),
            "{status}"
        );
        assert_eq!(status["pods"].as_array().map(Vec::len), Some(6), "{status}");
        let services = status["services"].as_array().expect("services");
        let webpod = services.iter().find(|it| it["name"] == "webpod");
        let webpod = webpod.expect("webpod");
        assert_eq!(webpod["type"], "ClusterIP");
        assert_eq!(
            webpod["ports"][0]["backends"].as_array().map(Vec::len),
            Some(3)
        );
    }

    #[test]
    fn cilium_dbg_prints_what_the_original_prints() {
        let lab = Lab::study();
        lab.up();
        lab.exec("k8s-ctr", &["cilium", "status"])
            .exits(0)
            .prints("Masquerading:")
            .prints("[eth0, eth1]")
            .prints("[IPv4: Enabled, IPv6: Disabled]");
        lab.exec(
            "curl-pod",
            &["curl", "-s", "-o", "/dev/null", "192.168.10.200"],
        )
        .exits(0);
        lab.exec("k8s-ctr", &["cilium-dbg", "bpf", "nat", "list"])
            .exits(0)
            .prints("TCP OUT ")
            .prints("-> 192.168.10.200:80 XLATE_SRC 192.168.10.100:");
    }

    #[test]
    fn inspect_and_logs_know_nodes_and_pods() {
        let lab = Lab::study();
        lab.up();
        lab.run("inspect", &["k8s-w1"])
            .exits(0)
            .prints("pod_cidr: 10.244.");
        lab.run("inspect", &["curl-pod", "-o", "json"])
            .exits(0)
            .prints("\"name\": \"curl-pod\"");
        lab.run("logs", &["k8s-ctr"]).exits(0);
        lab.run("logs", &["curl-pod"]).exits(0);
    }
}
