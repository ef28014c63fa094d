//! 100 queries per second while the server is replaced, upgraded and killed.

mod as_root {
    use std::process::{Child, Command, Stdio};

    use serde_json::Value;

    use super::super::server::{ADDRESS, Site, ask_udp};
    use super::super::wire::{A, query};
    use crate::pods::traffic;

    const PER_SECOND: u32 = 100;
    const NAMES: usize = 1000;

    /// Starts the sender: names that are cached after their first turn, and some that
    /// always go upstream.
    fn sender(site: &Site, seconds: u32) -> Child {
        let names = site.folder.path().join("names");
        let lines: String = (0..NAMES)
            .map(|number| format!("n{}.example A\n", number % 100 * 7 + number / 100))
            .collect();
        std::fs::write(&names, lines).expect("write the names");
        Command::new(traffic())
            .args(["dns", ADDRESS, "--per-second", &PER_SECOND.to_string()])
            .args(["--seconds", &seconds.to_string(), "--names"])
            .arg(&names)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the sender (`cargo test` builds it)")
    }

    fn counts(sender: Child) -> Value {
        let output = sender.wait_with_output().expect("the sender's end");
        assert!(output.status.success(), "the sender: {}", output.status);
        serde_json::from_slice(&output.stdout).expect("counts")
    }

    /// kops#14812, dns#310, dns#732: upgrades of node-cache leave 5 to 20 seconds without.
    #[test]
    fn no_query_is_lost_in_restarts_and_upgrades() {
        let site = Site::new("30", "max_concurrent 1000");
        let socket = site.folder.path().join("handover");
        let socket = socket.to_str().expect("UTF-8");
        let words = ["--handover", socket];
        let upgraded = site.folder.path().join("labctl-next");
        std::fs::copy(Site::binary(), &upgraded).expect("copy the binary");

        let mut server = site.start(&Site::binary(), &words);
        let sender = sender(&site, 6);
        for binary in [&Site::binary(), &upgraded, &Site::binary(), &upgraded] {
            // Each serves some queries before the next comes.
            for id in 0..50 {
                ask_udp(&query(id, "alive.example.", A)).expect("an answer");
            }
            let next = site.start(binary, &words);
            assert_eq!(server.ends(), Some(0), "{}", site.log());
            server = next;
        }
        let counts = counts(sender);
        server.answers();
        assert_eq!(
            (&counts["lost_ms"], &counts["failed"]),
            (&serde_json::json!([]), &0.into()),
            "{counts}\n{}",
            site.log()
        );
        assert_eq!(counts["sent"], counts["answered"]);
        assert!(counts["sent"].as_u64() >= Some(590), "{counts}");
    }

    #[test]
    fn answers_within_two_seconds_of_a_kill() {
        let site = Site::new("30", "max_concurrent 1000");
        let socket = site.folder.path().join("handover");
        let words = ["--handover", socket.to_str().expect("UTF-8")];
        let mut server = site.start(&Site::binary(), &words);
        let sender = sender(&site, 4);
        for id in 0..50 {
            ask_udp(&query(id, "alive.example.", A)).expect("an answer");
        }
        server.process.kill().expect("SIGKILL");
        server.process.wait().expect("its end");
        // The socket of the dead one is still there: nobody listens on it.
        let mut server = site.start(&Site::binary(), &words);
        let counts = counts(sender);
        server.answers();
        assert!(
            counts["longest_gap_ms"].as_u64() < Some(2000),
            "{counts}\n{}",
            site.log()
        );
    }
}
