//! What agents do to the traffic of their nodes when they die, start again, or come with new
//! programs: nothing.

mod as_root {
    use std::path::PathBuf;
    use std::process::Child;
    use std::time::{Duration, Instant};

    use serde_json::Value;

    use crate::host::agent_of;
    use crate::lab::{Lab, root};
    use crate::pods::{end, line, lines, manifest, serve, start, start_traffic};

    const NODES: [&str; 3] = ["k8s-ctr", "k8s-w1", "k8s-w2"];
    const PORT: u16 = 9000;
    const SECONDS: u64 = 60;
    /// New connections a second, over all nodes.
    const CONNECTIONS: u32 = 200;
    /// Echo requests a second, from each node.
    const PINGS: u32 = 100;

    /// The study lab with a pod on each node that asks and answers.
    fn lab() -> Lab {
        let mut lab = Lab::study();
        lab.edit(|text| text.replace("manifests: [", "manifests: [peers.yaml, "));
        let peers = NODES.map(|node| (format!("peer-{node}"), node));
        let services = (0..).zip(NODES).map(service).collect::<String>();
        let folder = lab.file.parent().expect("the lab file's folder");
        let manifest = manifest(peers) + &services;
        std::fs::write(folder.join("peers.yaml"), manifest).expect("write the manifest");
        lab.up();
        lab
    }

    /// The address of the service in front of a node's pod.
    fn cluster_ip(number: u16) -> String {
        format!("10.96.9.{}", number + 1)
    }

    fn node_port(number: u16) -> u16 {
        30900 + number
    }

    fn service((number, node): (u16, &str)) -> String {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: peer-{node}}}\nspec:\n  \
             type: NodePort\n  clusterIP: {}\n  selector: {{app: peer-{node}}}\n  ports:\n  \
             - {{port: {PORT}, nodePort: {}}}\n",
            cluster_ip(number),
            node_port(number)
        )
    }

    fn address_of(lab: &Lab, pod: &str) -> String {
        let shown = lab
            .exec(pod, &["ip", "-4", "-json", "addr", "show", "eth0"])
            .exits(0);
        let links: Value = serde_json::from_str(&shown.stdout).expect("ip prints JSON");
        let local = &links[0]["addr_info"][0]["local"];
        local.as_str().expect("an address").to_owned()
    }

    /// An object that is not the built-in one, though it does the same.
    fn rebuilt_object(lab: &Lab) -> PathBuf {
        let copy = lab.file.with_file_name("rebuilt.bpf.o");
        std::fs::copy(root().join("datapath/prebuilt/datapath.bpf.o"), &copy).expect("a copy");
        copy
    }

    /// Kills the agent of each node in turn, again and again, and has `up` start it: with the
    /// built-in programs, then with others.
    fn replace_agents(lab: &Lab, until: Instant) -> u32 {
        let object = rebuilt_object(lab);
        let object = object.to_string_lossy();
        let mut replaced = 0;
        for round in 0.. {
            for node in NODES {
                if Instant::now() >= until {
                    return replaced;
                }
                agent_of(&lab.name, node).kill();
                let with: &[&str] = match round % 2 {
                    0 => &[],
                    _ => &["--datapath-object", &*object],
                };
                lab.with_file("up", with).exits(0);
                replaced += 1;
            }
        }
        replaced
    }

    #[track_caller]
    fn every_question_was_answered(client: &mut Child) -> u64 {
        let counts: Value = serde_json::from_str(&line(&mut lines(client))).expect("JSON");
        client.wait().expect("reap the client");
        assert_eq!(counts["failures"], Value::Array(Vec::new()));
        assert!(counts["beats"].as_u64() > Some(0), "{counts}");
        counts["answered"].as_u64().expect("a count")
    }

    #[track_caller]
    fn every_ping_came_back(ping: Child) {
        let output = ping.wait_with_output().expect("ping is ours");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(" 0% packet loss"), "{said}");
    }

    #[test]
    fn agents_that_die_and_come_back_lose_no_packet() {
        let lab = lab();
        let pods = NODES.map(|node| format!("peer-{node}"));
        let addresses = pods.each_ref().map(|pod| address_of(&lab, pod));
        let outside = format!("192.168.10.200:{PORT}");
        let mut servers = serve(&lab, "router", std::slice::from_ref(&outside));
        for (pod, address) in pods.iter().zip(&addresses) {
            servers.extend(serve(&lab, pod, &[format!("{address}:{PORT}")]));
        }
        let began = Instant::now();
        let mut clients = Vec::new();
        let mut pings = Vec::new();
        for (number, pod) in pods.iter().enumerate() {
            let others = addresses.iter().filter(|it| **it != addresses[number]);
            let mut words = vec![
                "steady".to_owned(),
                format!("--per-second={}", CONNECTIONS.div_ceil(3)),
                format!("--seconds={SECONDS}"),
                outside.clone(),
            ];
            words.extend(others.map(|address| format!("{address}:{PORT}")));
            let services = (0..3).filter(|it| usize::from(*it) != number);
            words.extend(services.map(|it| format!("{}:{PORT}", cluster_ip(it))));
            clients.push(start_traffic(&lab, pod, &words));
            let next = &addresses[(number + 1) % addresses.len()];
            let count = (PINGS * u32::try_from(SECONDS).expect("a minute")).to_string();
            let ping = ["ping", "-q", "-i", "0.01", "-W", "5", "-c", &count, next];
            pings.push(start(&lab, pod, &ping.map(str::to_owned)));
        }

        // From outside, through a node that the backend is not on: packets that the programs
        // translate, and hand to one another.
        let ports = (0..3).map(|it| format!("192.168.10.{}:{}", 100 + (it + 1) % 3, node_port(it)));
        let words = [
            vec![
                "steady".to_owned(),
                format!("--per-second={}", CONNECTIONS / 5),
                format!("--seconds={SECONDS}"),
            ],
            ports.collect(),
        ];
        clients.push(start_traffic(&lab, "router", &words.concat()));

        let replaced = replace_agents(&lab, began + Duration::from_secs(SECONDS));
        assert!(replaced >= 6, "each agent was to be replaced both ways");
        let answered: u64 = clients.iter_mut().map(every_question_was_answered).sum();
        pings.into_iter().for_each(every_ping_came_back);
        end(servers);
        // Late ones are made up for, but the last of them may come after the end.
        let planned = u64::from(CONNECTIONS) * SECONDS;
        assert!(answered >= planned * 95 / 100, "{answered} of {planned}");
    }
}
