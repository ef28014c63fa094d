//! The masquerade under many connections: nobody gets another's answer, and a
//! port range that runs dry fails late and says so.

mod as_root {
    use std::io::Write as _;
    use std::process::Child;

    use serde_json::Value;

    use crate::lab::Lab;
    use crate::pods::{end, line, lines, manifest, serve, start_traffic};

    const PODS: usize = 16;
    const REMOTES: usize = 8;
    const CONNECTIONS: usize = 60_000;
    const PORT: u16 = 9000;

    /// The study lab with client pods on k8s-ctr and more values.
    fn lab(pods: usize, values: &str) -> Lab {
        let mut lab = Lab::study();
        lab.edit(|text| {
            let text = text.replace("manifests: [", "manifests: [clients.yaml, ");
            text.replace("bpf: {masquerade: true}", values)
        });
        let clients = (0..pods).map(|pod| (format!("client-{pod}"), "k8s-ctr"));
        let manifest = manifest(clients);
        let folder = lab.file.parent().expect("the lab file's folder");
        std::fs::write(folder.join("clients.yaml"), manifest).expect("write the manifest");
        lab.up();
        lab
    }

    #[test]
    fn sixty_thousand_open_connections_keep_their_own_answers() {
        let lab = lab(
            PODS,
            "bpf: {masquerade: true, natMax: 262144, ctTcpMax: 262144}",
        );
        let remotes: Vec<String> = (1..=REMOTES)
            .map(|last| format!("10.10.1.{last}"))
            .collect();
        for address in &remotes {
            lab.exec(
                "router",
                &[
                    "ip",
                    "addr",
                    "add",
                    &format!("{address}/24"),
                    "dev",
                    "loop1",
                ],
            )
            .exits(0);
        }
        let sockets: Vec<String> = remotes
            .iter()
            .map(|address| format!("{address}:{PORT}"))
            .collect();
        let servers = serve(&lab, "router", &sockets);

        let each = CONNECTIONS / PODS;
        let words = [
            &[
                "hold".to_owned(),
                "--wait".to_owned(),
                format!("--connections={each}"),
            ],
            &sockets[..],
        ]
        .concat();
        let mut clients: Vec<Child> = (0..PODS)
            .map(|pod| start_traffic(&lab, &format!("client-{pod}"), &words))
            .collect();
        let mut outputs: Vec<_> = clients.iter_mut().map(lines).collect();
        for output in &mut outputs {
            assert_eq!(line(output), format!("open {each}"));
        }
        // All 60 000 are open now; only then does any of them speak.
        for client in &mut clients {
            client
                .stdin
                .take()
                .expect("stdin is piped")
                .write_all(b"\n")
                .expect("say go");
        }
        for (client, output) in clients.iter_mut().zip(&mut outputs) {
            let counts: Value = serde_json::from_str(&line(output)).expect("JSON");
            assert_eq!(
                (
                    &counts["right"],
                    &counts["wrong"],
                    &counts["silent"],
                    &counts["failed"]
                ),
                (&each.into(), &0.into(), &0.into(), &0.into()),
            );
            client.wait().expect("reap the client");
        }
        end(servers);
    }

    /// cilium/cilium#33074, #23604: a range that runs dry must fail late, and each
    /// packet that found no port is counted as such.
    #[test]
    fn a_narrow_port_range_fails_past_seventy_percent_and_counts_drops() {
        const PORTS: u64 = 1000;
        let lab = lab(
            1,
            "bpf: {masquerade: true}\n  nodePort: {range: \"30000,64535\"}",
        );
        let socket = format!("10.10.1.200:{PORT}");
        let servers = serve(&lab, "router", std::slice::from_ref(&socket));

        let words = [
            "hold",
            "--connections=1100",
            "--opening=8",
            "--timeout-ms=400",
            &socket,
        ];
        let mut client = start_traffic(&lab, "client-0", &words.map(str::to_owned));
        let mut output = lines(&mut client);
        let counts: Value = serde_json::from_str(&line(&mut output)).expect("JSON");
        client.wait().expect("reap the client");
        end(servers);

        let count = |name: &str| counts[name].as_u64().expect("a count");
        assert!(count("first_failure") >= PORTS * 7 / 10, "{counts}");
        assert!(count("opened") <= PORTS, "{counts}");
        assert_eq!((count("wrong"), count("silent")), (0, 0), "{counts}");
        let metrics = lab
            .exec("k8s-ctr", &["cilium-dbg", "bpf", "metrics", "list"])
            .exits(0);
        let dropped = metrics
            .stdout
            .lines()
            .find(|line| line.contains("No mapping for NAT masquerade"))
            .unwrap_or_else(|| panic!("no such drop in:\n{}", metrics.stdout));
        let packets: u64 = dropped
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no count in {dropped}"));
        assert!(packets >= count("failed"), "{packets} drops for {counts}");
    }
}
