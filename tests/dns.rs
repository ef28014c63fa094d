//! Names as a student of the notes sees them: what nslookup, curl and cat print in a pod
//! against what they printed there, with addresses, serials and counters masked.

mod as_root {
    use std::time::Duration;

    use crate::host::system_pod_of;
    use crate::lab::{Lab, labctl, run};
    use crate::pods::start_traffic;
    use crate::user::wait_until;

    /// `cat /etc/resolv.conf`
    const RESOLV_CONF: &str = r#"search default.svc.cluster.local svc.cluster.local cluster.local Davolink
nameserver 10.96.0.10
options ndots:5
"#;

    /// `nslookup -debug webpod`
    const WEBPOD: &str = r#";; Got recursion not available from 10.96.0.10
Server:		10.96.0.10
Address:	10.96.0.10#53

------------
    QUESTIONS:
	webpod.default.svc.cluster.local, type = A, class = IN
    ANSWERS:
    ->  webpod.default.svc.cluster.local
	internet address = 10.96.152.212
	ttl = 30
    AUTHORITY RECORDS:
    ADDITIONAL RECORDS:
------------
Name:	webpod.default.svc.cluster.local
Address: 10.96.152.212
;; Got recursion not available from 10.96.0.10
------------
    QUESTIONS:
	webpod.default.svc.cluster.local, type = AAAA, class = IN
    ANSWERS:
    AUTHORITY RECORDS:
    ->  cluster.local
	origin = ns.dns.cluster.local
	mail addr = hostmaster.cluster.local
	serial = 1753885699
	refresh = 7200
	retry = 1800
	expire = 86400
	minimum = 30
	ttl = 30
    ADDITIONAL RECORDS:
------------
"#;

    /// `nslookup google.com`
    const GOOGLE: &str = r#";; Got recursion not available from 10.96.0.10
;; Got recursion not available from 10.96.0.10
;; Got recursion not available from 10.96.0.10
Server:		10.96.0.10
Address:	10.96.0.10#53

Non-authoritative answer:
Name:	google.com
Address: 142.250.196.110
Name:	google.com
Address: 2404:6800:4004:825::200e
"#;

    /// `nslookup -debug google.com`, without kubectl's last word.
    const GOOGLE_DEBUG: &str = r#";; Got recursion not available from 10.96.0.10
Server:		10.96.0.10
Address:	10.96.0.10#53

------------
    QUESTIONS:
	google.com.default.svc.cluster.local, type = A, class = IN
    ANSWERS:
    AUTHORITY RECORDS:
    ->  cluster.local
	origin = ns.dns.cluster.local
	mail addr = hostmaster.cluster.local
	serial = 1753885699
	refresh = 7200
	retry = 1800
	expire = 86400
	minimum = 30
	ttl = 30
    ADDITIONAL RECORDS:
------------
** server can't find google.com.default.svc.cluster.local: NXDOMAIN
;; Got recursion not available from 10.96.0.10
Server:		10.96.0.10
Address:	10.96.0.10#53

------------
    QUESTIONS:
	google.com.svc.cluster.local, type = A, class = IN
    ANSWERS:
    AUTHORITY RECORDS:
    ->  cluster.local
	origin = ns.dns.cluster.local
	mail addr = hostmaster.cluster.local
	serial = 1753885699
	refresh = 7200
	retry = 1800
	expire = 86400
	minimum = 30
	ttl = 30
    ADDITIONAL RECORDS:
------------
** server can't find google.com.svc.cluster.local: NXDOMAIN
;; Got recursion not available from 10.96.0.10
Server:		10.96.0.10
Address:	10.96.0.10#53

------------
    QUESTIONS:
	google.com.cluster.local, type = A, class = IN
    ANSWERS:
    AUTHORITY RECORDS:
    ->  cluster.local
	origin = ns.dns.cluster.local
	mail addr = hostmaster.cluster.local
	serial = 1753885699
	refresh = 7200
	retry = 1800
	expire = 86400
	minimum = 30
	ttl = 30
    ADDITIONAL RECORDS:
------------
** server can't find google.com.cluster.local: NXDOMAIN
Server:		10.96.0.10
Address:	10.96.0.10#53

------------
    QUESTIONS:
	google.com.Davolink, type = A, class = IN
    ANSWERS:
    AUTHORITY RECORDS:
    ->  .
	origin = a.root-servers.net
	mail addr = nstld.verisign-grs.com
	serial = 2025073000
	refresh = 1800
	retry = 900
	expire = 604800
	minimum = 86400
	ttl = 30
    ADDITIONAL RECORDS:
------------
** server can't find google.com.Davolink: NXDOMAIN
Server:		10.96.0.10
Address:	10.96.0.10#53

------------
    QUESTIONS:
	google.com, type = A, class = IN
    ANSWERS:
    ->  google.com
	internet address = 142.251.222.14
	ttl = 30
    AUTHORITY RECORDS:
    ADDITIONAL RECORDS:
------------
Non-authoritative answer:
Name:	google.com
Address: 142.251.222.14
------------
    QUESTIONS:
	google.com, type = AAAA, class = IN
    ANSWERS:
    ->  google.com
	has AAAA address 2404:6800:4005:813::200e
	ttl = 30
    AUTHORITY RECORDS:
    ADDITIONAL RECORDS:
------------
Name:	google.com
Address: 2404:6800:4005:813::200e

"#;

    /// `curl kube-dns.kube-system.svc:9153/metrics | grep coredns_cache_ | grep -v ^#`, before
    /// anything was asked for twice.
    const METRICS: &str = r#"coredns_cache_entries{server="dns://:53",type="denial",view="",zones="."} 1
coredns_cache_entries{server="dns://:53",type="success",view="",zones="."} 0
coredns_cache_misses_total{server="dns://:53",view="",zones="."} 3170
coredns_cache_requests_total{server="dns://:53",view="",zones="."} 3170
"#;

    /// Runs a command in curl-pod, whatever its exit code: nslookup has 1 where any name of
    /// the search list was not found.
    fn in_pod(lab: &Lab, command: &[&str]) -> String {
        let args = [&["exec", "--lab", &lab.name, "curl-pod", "--"], command].concat();
        let output = labctl(&args).output().expect("labctl starts");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Addresses, but for those of the cluster's DNS service, and serials, without their value.
    fn masked(text: &str) -> Vec<String> {
        let address = regex::Regex::new(r"(Address: |internet address = |AAAA address )\S+");
        let serial = regex::Regex::new(r"serial = \d+");
        let (address, serial) = (address.expect("legal"), serial.expect("legal"));
        let mask = |line: &str| {
            let line = address.replace(line, "${1}ADDRESS");
            serial.replace(&line, "serial = SERIAL").into_owned()
        };
        // Whether there is an empty line at the end is the terminal's.
        text.trim_end().lines().map(mask).collect()
    }

    /// Metrics without their values, of the server that was asked.
    fn names(metrics: &str) -> Vec<&str> {
        let cache = metrics
            .lines()
            .filter(|line| line.starts_with("coredns_cache_"));
        cache
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn a_pod_resolves_names_as_in_the_notes() {
        let lab = Lab::study();
        lab.up();
        assert_eq!(in_pod(&lab, &["cat", "/etc/resolv.conf"]), RESOLV_CONF);

        let metrics = |path: &str| in_pod(&lab, &["curl", "-s", path]);
        let before = metrics("kube-dns.kube-system.svc:9153/metrics");
        assert_eq!(names(&before), names(METRICS), "{before}");

        for (command, expected) in [
            (&["nslookup", "-debug", "webpod"][..], WEBPOD),
            (&["nslookup", "-debug", "google.com"], GOOGLE_DEBUG),
        ] {
            assert_prints(&lab, command, expected);
        }
        // What the cache answers has AA set, as in the original, and nslookup says so by
        // what it leaves out; in the notes the entry had expired by then.
        lab.run("down", &["--quiet"]).exits(0);
        lab.up();
        assert_prints(&lab, &["nslookup", "google.com"], GOOGLE);
    }

    #[track_caller]
    fn assert_prints(lab: &Lab, command: &[&str], expected: &str) {
        let printed = in_pod(lab, command);
        assert_eq!(
            masked(&printed),
            masked(expected),
            "{command:?}:\n{printed}"
        );
    }

    #[test]
    fn the_redirects_checks_are_green_and_their_twins_red() {
        let lab = Lab::shipped("dns");
        lab.up();
        lab.run("check", &["--twins"]).exits(0);
        lab.with_file("plan", &["--detailed-exitcode"]).exits(0);
    }

    #[test]
    fn the_interfaces_checks_are_green_and_their_twins_red() {
        let lab = Lab::shipped("dns-interface");
        lab.up();
        lab.run("check", &["--twins"]).exits(0);
        lab.with_file("plan", &["--detailed-exitcode"]).exits(0);
    }

    /// Asks kube-dns from curl-pod, 100 times a second for eight seconds, while `work` is done.
    /// What became of the queries.
    fn while_asking(lab: &Lab, work: impl FnOnce()) -> serde_json::Value {
        let names = tempfile::NamedTempFile::new().expect("a file");
        let local = ["webpod", "kubernetes", "nobody"].map(|it| format!("{it}.default.svc"));
        let lines: String = local
            .iter()
            .map(|name| format!("{name}.cluster.local A\n"))
            .collect();
        std::fs::write(names.path(), lines).expect("write the names");
        let words = [
            "dns",
            "10.96.0.10:53",
            "--per-second",
            "100",
            "--seconds",
            "8",
        ];
        let mut words: Vec<String> = words.map(str::to_owned).into();
        words.push("--names".to_owned());
        words.push(names.path().to_string_lossy().into_owned());
        let asking = start_traffic(lab, "curl-pod", &words);
        wait_until("a hundred answers", Duration::from_secs(10), || {
            datagrams_received(lab) > 100
        });
        work();
        let asked = asking.wait_with_output().expect("the sender's end");
        assert!(asked.status.success(), "the sender: {}", asked.status);
        serde_json::from_slice(&asked.stdout).expect("counts")
    }

    /// By curl-pod, since it is there.
    fn datagrams_received(lab: &Lab) -> u64 {
        let counters = in_pod(lab, &["cat", "/proc/net/snmp"]);
        let mut udp = counters.lines().filter(|line| line.starts_with("Udp: "));
        // The names, of which InDatagrams is the first, and the numbers.
        let numbers = udp.nth(1).expect("counters of UDP");
        let received = numbers.split(' ').nth(1).expect("InDatagrams");
        received.parse().expect("a number")
    }

    /// kops#14812, kubernetes/dns#310: a gap of seconds on each upgrade.
    #[test]
    fn a_cache_that_is_restarted_answers_all_the_while() {
        let lab = Lab::shipped("dns");
        lab.up();
        let counts = while_asking(&lab, || {
            let of = ["ds", "node-local-dns", "-n", "kube-system"];
            let rollout = [&["rollout", "restart", "--lab", &lab.name][..], &of].concat();
            run(&rollout)
                .exits(0)
                .prints("daemonset.apps/node-local-dns restarted");
        });
        assert_eq!(counts["lost_ms"], serde_json::json!([]), "{counts}");
        assert_eq!(counts["failed"], 0, "{counts}");
        assert!(counts["sent"].as_u64() >= Some(790), "{counts}");
    }

    /// By itself, or through kube-dns.
    #[track_caller]
    fn a_killed_cache_is_missed_for_less_than_two_seconds(lab: &str) {
        let lab = Lab::shipped(lab);
        lab.up();
        let cache = || system_pod_of(&lab.name, "k8s-ctr", "node-local-dns");
        let before = cache();
        let counts = while_asking(&lab, || before.kill());
        let gap = counts["longest_gap_ms"].as_u64();
        assert!(gap < Some(2000), "{counts}");
        assert_eq!(counts["failed"], 0, "{counts}");
        assert_ne!(cache(), before, "another one runs");
    }

    #[test]
    fn a_killed_cache_behind_a_redirect_is_missed_for_less_than_two_seconds() {
        a_killed_cache_is_missed_for_less_than_two_seconds("dns");
    }

    #[test]
    fn a_killed_cache_on_its_interface_is_missed_for_less_than_two_seconds() {
        a_killed_cache_is_missed_for_less_than_two_seconds("dns-interface");
    }
}
