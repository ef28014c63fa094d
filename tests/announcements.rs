//! Who answers for a LoadBalancer address when agents die.

mod as_root {
    use std::time::{Duration, Instant};

    use crate::host::agent_of;
    use crate::lab::Lab;

    const WORKERS: [&str; 2] = ["k8s-w1", "k8s-w2"];
    /// Within which another node takes over.
    const TAKEOVER: Duration = Duration::from_secs(5);

    /// The MAC address that the router has for the announced address; it asks no one.
    fn known(lab: &Lab, address: &str) -> Option<String> {
        let entry = lab
            .exec("router", &["ip", "neigh", "show", address, "dev", "eth1"])
            .exits(0);
        let mut words = entry.stdout.split_whitespace();
        words.find(|word| *word == "lladdr")?;
        words.next().map(str::to_owned)
    }

    fn mac(lab: &Lab, node: &str) -> String {
        let file = "/sys/class/net/eth1/address";
        let shown = lab.exec(node, &["cat", file]).exits(0);
        shown.stdout.trim().to_owned()
    }

    /// One of the announced addresses.
    fn address(lab: &Lab) -> String {
        let services = lab
            .exec("k8s-ctr", &["cilium-dbg", "service", "list"])
            .exits(0);
        let words = services.stdout.split_whitespace();
        let mut addresses = words.filter_map(|word| word.strip_suffix(":80/TCP"));
        let found = addresses.find(|address| address.starts_with("192.168.10.24"));
        found.expect("an address of the pool").to_owned()
    }

    #[test]
    fn another_node_takes_over_within_five_seconds_of_sigkill() {
        let lab = Lab::shipped("l2");
        lab.up();
        let address = address(&lab);
        // The router learns who answers.
        let deadline = Instant::now() + TAKEOVER;
        let first = loop {
            lab.exec("router", &["ping", "-c", "1", "-W", "0.3", &address]);
            if let Some(mac) = known(&lab, &address) {
                break mac;
            }
            assert!(Instant::now() < deadline, "nobody answers for {address}");
        };
        let macs = WORKERS.map(|node| mac(&lab, node));
        let holder = macs.iter().position(|it| *it == first).expect("a worker");
        let other = &macs[1 - holder];

        agent_of(&lab.name, WORKERS[holder]).kill();
        let died = Instant::now();
        while known(&lab, &address).as_ref() != Some(other) {
            assert!(died.elapsed() < TAKEOVER, "{address} stays at {first}");
        }

        // The agent is back, and so is the address.
        lab.up();
        let back = Instant::now();
        while known(&lab, &address).as_ref() != Some(&first) {
            assert!(back.elapsed() < TAKEOVER, "{address} stays at {other}");
        }
    }
}
