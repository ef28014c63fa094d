//! Flows in the original's lines: the scenes of the notes (curl to a service, ping to
//! another node, DNS) against what Cilium's Hubble printed there, with time, names,
//! addresses, ports and identities masked.
//!
//! What cannot match, and is left out on both sides: `pre-xlate-rev` and `post-xlate-rev` of
//! TCP, of which there is one for each `accept` and `getpeername` of whatever program it is
//! (the notes' server is written in Go, and asks five times). That there are some is tested.

mod as_root {
    use std::io::{BufRead as _, BufReader};
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use serde_json::Value;

    use crate::lab::Lab;

    /// How long a flow may take from the packet to the store.
    const DEADLINE: Duration = Duration::from_secs(20);

    /// One backend each, on the node of the client.
    const MANIFEST: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: k8s-ctr
  containers:
  - {name: web, image: traefik/whoami, ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{protocol: TCP, port: 8080, targetPort: 80}]
---
apiVersion: v1
kind: Pod
metadata: {name: resolver, labels: {app: resolver}}
spec:
  nodeName: k8s-ctr
  containers:
  - {name: resolver, image: nicolaka/netshoot}
---
apiVersion: v1
kind: Service
metadata: {name: resolver}
spec:
  selector: {app: resolver}
  ports: [{protocol: UDP, port: 53, targetPort: 53}]
";

    /// One connection of `hubble observe -f --protocol tcp --pod curl-pod` in the notes.
    const CURL: &str = "\
Jul 30 06:30:33.263: default/curl-pod (ID:5580) <> 10.96.152.212:80 (world) pre-xlate-fwd TRACED (TCP)
Jul 30 06:30:33.263: default/curl-pod (ID:5580) <> default/webpod-697b545f57-bpzn9:80 (ID:12497) post-xlate-fwd TRANSLATED (TCP)
Jul 30 06:30:33.263: default/curl-pod:58942 (ID:5580) -> default/webpod-697b545f57-bpzn9:80 (ID:12497) to-endpoint FORWARDED (TCP Flags: SYN)
Jul 30 06:30:33.263: default/curl-pod:58942 (ID:5580) <- default/webpod-697b545f57-bpzn9:80 (ID:12497) to-endpoint FORWARDED (TCP Flags: SYN, ACK)
Jul 30 06:30:33.263: default/curl-pod:58942 (ID:5580) -> default/webpod-697b545f57-bpzn9:80 (ID:12497) to-endpoint FORWARDED (TCP Flags: ACK)
Jul 30 06:30:33.264: default/curl-pod:58942 (ID:5580) <> default/webpod-697b545f57-bpzn9 (ID:12497) pre-xlate-rev TRACED (TCP)
Jul 30 06:30:33.264: default/curl-pod:58942 (ID:5580) -> default/webpod-697b545f57-bpzn9:80 (ID:12497) to-endpoint FORWARDED (TCP Flags: ACK, PSH)
Jul 30 06:30:33.264: default/curl-pod:58942 (ID:5580) <> default/webpod-697b545f57-bpzn9 (ID:12497) pre-xlate-rev TRACED (TCP)
Jul 30 06:30:33.264: default/curl-pod:58942 (ID:5580) <> default/webpod-697b545f57-bpzn9 (ID:12497) pre-xlate-rev TRACED (TCP)
Jul 30 06:30:33.265: default/curl-pod:58942 (ID:5580) <> default/webpod-697b545f57-bpzn9 (ID:12497) pre-xlate-rev TRACED (TCP)
Jul 30 06:30:33.265: default/curl-pod:58942 (ID:5580) <> default/webpod-697b545f57-bpzn9 (ID:12497) pre-xlate-rev TRACED (TCP)
Jul 30 06:30:33.265: default/curl-pod:58942 (ID:5580) <- default/webpod-697b545f57-bpzn9:80 (ID:12497) to-endpoint FORWARDED (TCP Flags: ACK, PSH)
Jul 30 06:30:33.265: default/curl-pod:58942 (ID:5580) -> default/webpod-697b545f57-bpzn9:80 (ID:12497) to-endpoint FORWARDED (TCP Flags: ACK, FIN)
Jul 30 06:30:33.265: default/curl-pod:58942 (ID:5580) <- default/webpod-697b545f57-bpzn9:80 (ID:12497) to-endpoint FORWARDED (TCP Flags: ACK, FIN)
Jul 30 06:30:33.265: default/curl-pod:58942 (ID:5580) -> default/webpod-697b545f57-bpzn9:80 (ID:12497) to-endpoint FORWARDED (TCP Flags: ACK)
";

    /// `hubble observe -f --pod curl-pod` during a ping to another node. The clocks of the
    /// notes' nodes were a second apart, so the order is each node's own.
    const PING: &str = "\
Jul 30 09:15:15.857: default/curl-pod (ID:5580) -> default/webpod-556878d5d7-r4dmh (ID:12497) to-network FORWARDED (ICMPv4 EchoRequest)
Jul 30 09:15:15.858: default/curl-pod (ID:5580) <- default/webpod-556878d5d7-r4dmh (ID:12497) to-endpoint FORWARDED (ICMPv4 EchoReply)
Jul 30 09:15:16.848: default/curl-pod (ID:5580) -> default/webpod-556878d5d7-r4dmh (ID:12497) to-endpoint FORWARDED (ICMPv4 EchoRequest)
Jul 30 09:15:16.848: default/curl-pod (ID:5580) <- default/webpod-556878d5d7-r4dmh (ID:12497) to-network FORWARDED (ICMPv4 EchoReply)
";

    /// One question of `hubble observe -f --port 53`.
    const DNS: &str = "\
Jul 30 14:57:36.751: default/curl-pod (ID:5580) <> 10.96.0.10:53 (world) pre-xlate-fwd TRACED (UDP)
Jul 30 14:57:36.751: default/curl-pod (ID:5580) <> kube-system/coredns-674b8bbfcf-vvgfm:53 (ID:28565) post-xlate-fwd TRANSLATED (UDP)
Jul 30 14:57:36.751: default/curl-pod:32772 (ID:5580) -> kube-system/coredns-674b8bbfcf-vvgfm:53 (ID:28565) to-endpoint FORWARDED (UDP)
Jul 30 14:57:36.752: default/curl-pod:32772 (ID:5580) <- kube-system/coredns-674b8bbfcf-vvgfm:53 (ID:28565) to-endpoint FORWARDED (UDP)
Jul 30 14:57:36.752: kube-system/coredns-674b8bbfcf-vvgfm:53 (ID:28565) <> default/curl-pod (ID:5580) pre-xlate-rev TRACED (UDP)
Jul 30 14:57:36.752: 10.96.0.10:53 (world) <> default/curl-pod (ID:5580) post-xlate-rev TRANSLATED (UDP)
";

    /// A line without time, names, addresses, ports and identities; whether there is a port
    /// and whether an identity is a reserved one stays.
    fn masked(line: &str) -> String {
        let (_, line) = line.split_once(": ").expect("a time, and more");
        let words: Vec<_> = line.split(' ').collect();
        let mask = |(index, word): (usize, &&str)| match index {
            0 | 3 => {
                let (host, port) = word
                    .split_once(':')
                    .map_or((*word, ""), |(host, _)| (host, ":PORT"));
                let kind = if host.contains('/') { "POD" } else { "ADDRESS" };
                format!("{kind}{port}")
            }
            1 | 4 if word.starts_with("(ID:") => "(ID)".to_owned(),
            _ => (*word).to_owned(),
        };
        words
            .iter()
            .enumerate()
            .map(mask)
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn all_masked(text: &str) -> Vec<String> {
        text.lines().map(masked).collect()
    }

    fn without_reverse(lines: Vec<String>) -> Vec<String> {
        let kept = lines
            .into_iter()
            .filter(|line| !line.contains("-xlate-rev"));
        kept.collect()
    }

    fn lab() -> Lab {
        let mut lab = Lab::study();
        // The scene of names has a service of its own on port 53.
        lab.edit(|text| {
            text.replace("dns: {search: [Davolink]}\n", "")
                .replace("manifests: [", "manifests: [scenes.yaml, ")
        });
        let folder = lab.file.parent().expect("the lab file's folder");
        std::fs::write(folder.join("scenes.yaml"), MANIFEST).expect("write the manifest");
        lab.up();
        lab
    }

    fn observe(lab: &Lab, words: &str) -> String {
        let mut args = vec!["observe", "--lab", &lab.name];
        args.extend(words.split_whitespace());
        crate::lab::run(&args).exits(0).stdout
    }

    fn exec(lab: &Lab, target: &str, words: &[&str]) -> String {
        let mut args = vec!["exec", "--lab", &lab.name, target, "--"];
        args.extend(words);
        crate::lab::run(&args).exits(0).stdout
    }

    /// Observes until enough has come.
    #[track_caller]
    fn observe_until(lab: &Lab, words: &str, is_enough: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = observe(lab, words);
            if is_enough(&text) {
                return text;
            }
            assert!(start.elapsed() < DEADLINE, "not all came:\n{text}");
        }
    }

    /// `ADDRESS:PORT` of the service with that port.
    fn service(lab: &Lab, port: &str) -> String {
        let list = exec(lab, "k8s-ctr", &["cilium-dbg", "service", "list"]);
        let mut words = list.split_whitespace();
        let frontend = words.find(|word| word.ends_with(port));
        let frontend = frontend.unwrap_or_else(|| panic!("no {port} in\n{list}"));
        let (address, _) = frontend.split_once('/').expect("a protocol");
        address.to_owned()
    }

    /// The program of `tests/traffic`, which cargo builds beside the tests.
    fn traffic() -> String {
        let test = std::env::current_exe().expect("the test's own path");
        let profile: Option<PathBuf> = test.ancestors().nth(2).map(Into::into);
        let traffic = profile
            .expect("a folder above deps")
            .join("examples/traffic");
        traffic.to_string_lossy().into_owned()
    }

    /// A child that ends with the test.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.kill().expect("it is this test's child");
            self.0.wait().expect("it is this test's child");
        }
    }

    impl Running {
        fn start(lab: &Lab, words: &[&str]) -> (Self, BufReader<std::process::ChildStdout>) {
            let mut child = Command::new(assert_cmd::cargo::cargo_bin!("labctl"))
                .env("LABCTL_LAB", &lab.name)
                .args(words)
                .stdout(Stdio::piped())
                .spawn()
                .expect("labctl starts");
            let lines = BufReader::new(child.stdout.take().expect("piped"));
            (Self(child), lines)
        }
    }

    #[test]
    fn scenes_of_the_notes_have_their_lines() {
        let lab = lab();
        curl(&lab);
        ping(&lab);
        dns(&lab);
    }

    fn curl(lab: &Lab) {
        let web = service(lab, ":8080/TCP");
        exec(
            lab,
            "curl-pod",
            &["curl", "-s", "-o", "/dev/null", &format!("http://{web}/")],
        );
        let expected = without_reverse(all_masked(CURL));
        let words = "--all --protocol tcp --pod curl-pod";
        let seen = observe_until(lab, words, |text| {
            without_reverse(all_masked(text)).len() >= expected.len()
        });
        assert_eq!(without_reverse(all_masked(&seen)), expected, "{seen}");
        let reverse = "POD:PORT (ID) <> POD (ID) pre-xlate-rev TRACED (TCP)";
        let accepted = all_masked(&seen).iter().any(|line| line == reverse);
        assert!(accepted, "the server accepted nobody:\n{seen}");
    }

    fn ping(lab: &Lab) {
        let pods = crate::lab::run(&["status", "--lab", &lab.name, "-o", "json"]).exits(0);
        let status: Value = serde_json::from_str(&pods.stdout).expect("JSON");
        let pods = status["pods"].as_array().expect("pods");
        let remote = pods.iter().find(|pod| pod["node"] == "k8s-w1");
        let address = remote
            .and_then(|pod| pod["address"].as_str())
            .expect("a pod");
        exec(lab, "curl-pod", &["ping", "-c", "1", address]);
        let mut expected = all_masked(PING);
        expected.sort();
        let seen = observe_until(lab, "--all --protocol icmp --pod curl-pod", |text| {
            text.lines().count() >= expected.len()
        });
        let mut lines = all_masked(&seen);
        // Here the nodes share a clock: the request is sent before it arrives.
        assert!(
            lines[0].contains("to-network") && lines[1].contains("to-endpoint"),
            "{seen}"
        );
        lines.sort();
        assert_eq!(lines, expected, "{seen}");
    }

    fn dns(lab: &Lab) {
        let traffic = traffic();
        let serve = ["exec", "resolver", "--", &traffic, "answer", "0.0.0.0:53"];
        let (_server, mut lines) = Running::start(lab, &serve);
        let mut ready = String::new();
        lines.read_line(&mut ready).expect("a line");
        assert_eq!(ready, "ready\n");
        let resolver = service(lab, ":53/UDP");
        assert_eq!(
            exec(lab, "curl-pod", &[&traffic, "ask", &resolver]).trim(),
            resolver
        );
        let expected = all_masked(DNS);
        let seen = observe_until(lab, "--all --port 53 --pod curl-pod", |text| {
            text.lines().count() >= expected.len()
        });
        assert_eq!(all_masked(&seen), expected, "{seen}");
    }

    /// What a command that follows prints of pings to the router, once it `is_it`.
    fn followed(lab: &Lab, words: &[&str], is_it: fn(&str) -> bool) -> String {
        let (_follower, lines) = Running::start(lab, words);
        let (sender, seen) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(lines) {
                let is_over = line.is_err();
                if sender.send(line).is_err() || is_over {
                    return;
                }
            }
        });
        // The follower may start after a ping: one at a time, until one is seen.
        let start = Instant::now();
        loop {
            exec(lab, "curl-pod", &["ping", "-c", "1", "192.168.10.200"]);
            while let Ok(line) = seen.recv_timeout(Duration::from_millis(100)) {
                let line = line.expect("a line");
                if is_it(&line) {
                    return line;
                }
            }
            assert!(start.elapsed() < DEADLINE, "nothing was followed");
        }
    }

    #[test]
    fn the_monitor_prints_packets_in_the_originals_lines() {
        let lab = Lab::study();
        lab.up();
        let pod = exec(&lab, "curl-pod", &["hostname", "-i"]);
        let pod = pod.trim();
        let monitor = ["exec", "k8s-ctr", "--", "cilium-dbg", "monitor", "-n"];
        let line = followed(&lab, &monitor, |line| line.ends_with("EchoRequest"));
        let (before, between) = line.rsplit_once(": ").expect("a connection");
        assert_eq!(between, "192.168.10.100 -> 192.168.10.200 EchoRequest");
        let (point, rest) = before.split_once(" , identity ").expect("identities");
        assert_eq!(point, "-> network flow 0x0");
        let (identities, rest) = rest.split_once(' ').expect("a state");
        assert!(identities.ends_with("->2"), "{line}");
        let expected = [" state new ", " state established "]
            .map(|state| format!("{}ifindex eth1 orig-ip {pod}", &state[1..]));
        assert!(expected.contains(&rest.to_owned()), "{line}");
        let one_type = [
            "exec",
            "k8s-ctr",
            "--",
            "cilium-dbg",
            "monitor",
            "--type",
            "trace",
        ];
        let line = followed(&lab, &one_type, |line| line.ends_with("EchoReply"));
        assert!(line.starts_with("-> endpoint "), "{line}");
        assert!(line.contains(" , identity world->"), "{line}");
    }

    #[test]
    fn flows_are_followed_saved_and_read_again() {
        let lab = Lab::study();
        lab.up();
        let follow = ["observe", "-f", "--protocol", "icmp", "-o", "json"];
        let line = followed(&lab, &follow, |_| true);
        let record: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(record["flow"]["l4"]["ICMPv4"]["type"], 8, "{line}");
        let source = &record["flow"]["source"];
        assert_eq!(
            source["pod_name"], "curl-pod",
            "masqueraded flows are the pod's"
        );

        let saved = observe(&lab, "--all --protocol icmp -o jsonpb");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("flows.json");
        std::fs::write(&file, &saved).expect("write");
        let file = file.to_string_lossy();
        let read = crate::lab::run(&["observe", "--from-file", &file, "--to-ip", "192.168.10.200"]);
        let read = read.exits(0).stdout;
        assert!(read.lines().next().is_some(), "nothing was read");
        for line in read.lines() {
            assert!(
                line.ends_with("to-network FORWARDED (ICMPv4 EchoRequest)"),
                "{line}"
            );
        }

        let status = exec(&lab, "k8s-w1", &["hubble", "status"]);
        assert!(status.ends_with("Connected Nodes: 3/3\n"), "{status}");
        let nodes = exec(&lab, "k8s-w1", &["hubble", "list", "nodes"]);
        assert_eq!(nodes.matches("Connected").count(), 3, "{nodes}");
    }

    #[test]
    fn flows_can_be_off() {
        let mut lab = Lab::study();
        lab.edit(|text| {
            text.replace(
                "bpf: {masquerade: true}",
                "bpf: {masquerade: true}\n  hubble: {enabled: false}",
            )
        });
        lab.up();
        exec(&lab, "curl-pod", &["ping", "-c", "1", "192.168.10.200"]);
        assert_eq!(observe(&lab, "--all --protocol icmp"), "");
    }
}
