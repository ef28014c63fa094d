//! The race that node-local DNS was made against (kubernetes#56903): A and AAAA leave one
//! socket at the same moment, each makes a conntrack entry of the same flow, and one of them
//! comes too late.
//!
//! Since Linux 5.7 (`nf_ct_resolve_clash`) the kernel lets the late one pass, or keeps both, and
//! counts `clash_resolve`; before, it dropped the packet and counted `insert_failed`, and
//! the resolver waited for 5 seconds. Either way conntrack has been raced for; without
//! tracking there is nothing to race for.

mod as_root {
    use std::net::UdpSocket;
    use std::process::Command;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
    use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
    use nix::unistd::{Pid, gettid};

    const SERVICE: &str = "10.96.0.10";
    const CACHE: &str = "169.254.20.10";
    const BACKENDS: [&str; 3] = ["10.0.2.2", "10.0.2.3", "10.0.2.4"];
    const PAIRS: usize = 2000;
    /// Sockets of one turn: their answers wait in them.
    const AT_ONCE: usize = 200;
    const PATIENCE: Duration = Duration::from_secs(5);

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Counted {
        /// Packets of a flow whose entry another was making.
        raced: u64,
        /// Of those, the ones that the kernel dropped.
        dropped: u64,
        /// Pairs with less than two answers.
        lost: usize,
    }

    #[test]
    fn a_and_aaaa_race_for_conntrack_behind_kube_proxys_dnat() {
        let counted = on_a_node(SERVICE, |node| {
            // As kube-proxy has it: each backend with the same probability.
            node(&["-t", "nat", "-N", "KUBE-SVC"]);
            let to = [
                "-d", SERVICE, "-p", "udp", "--dport", "53", "-j", "KUBE-SVC",
            ];
            node(&[&["-t", "nat", "-A", "PREROUTING"], &to[..]].concat());
            let odds = ["0.33333333349", "0.5", "1"];
            for (backend, odds) in BACKENDS.iter().zip(odds) {
                let chance = ["-m", "statistic", "--mode", "random", "--probability", odds];
                let to = format!("{backend}:53");
                let dnat = ["-p", "udp", "-j", "DNAT", "--to-destination", &to];
                let rule = [&["-t", "nat", "-A", "KUBE-SVC"], &chance[..], &dnat].concat();
                node(&rule);
            }
        });
        println!("behind DNAT: {counted:?} of {PAIRS} pairs");
        assert!(counted.raced > 0, "nobody raced: {counted:?}");
        // What is dropped is lost, and nothing else is.
        assert!(counted.lost as u64 <= counted.dropped, "{counted:?}");
    }

    #[test]
    fn nobody_races_for_conntrack_with_node_caches_notrack() {
        let counted = on_a_node(CACHE, |node| {
            for (chain, direction, port) in
                [("PREROUTING", "-d", "--dport"), ("OUTPUT", "-s", "--sport")]
            {
                let packets = ["-p", "udp", direction, CACHE, port, "53"];
                let rule = [
                    &["-t", "raw", "-A", chain],
                    &packets[..],
                    &["-j", "NOTRACK"],
                ];
                node(&rule.concat());
            }
        });
        assert_eq!(counted, Counted::default());
    }

    /// A node, which this thread becomes, with echoing backends; and a pod, which asks
    /// `service` in pairs once `rules` are there.
    fn on_a_node(service: &'static str, rules: impl FnOnce(&dyn Fn(&[&str]))) -> Counted {
        let processors = std::thread::available_parallelism().expect("their number");
        assert!(processors.get() > 1, "a race takes two processors");
        unshare(CloneFlags::CLONE_NEWNET).expect("the node's network namespace");
        let (tell, told) = mpsc::channel();
        let (go, ready) = mpsc::channel();
        let pod = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("the pod's network namespace");
            tell.send(gettid()).expect("the node waits");
            ready.recv().expect("the node says when");
            ip(&["address", "add", "10.0.1.2/24", "dev", "eth0"]);
            ip(&["link", "set", "eth0", "up"]);
            ip(&["route", "add", "default", "via", "10.0.1.1"]);
            ask_in_pairs(service)
        });
        let pod_thread = told.recv().expect("the pod's thread").to_string();
        ip(&["link", "set", "lo", "up"]);
        ip(&[
            "link",
            "add",
            "pod",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &pod_thread,
        ]);
        ip(&["address", "add", "10.0.1.1/24", "dev", "pod"]);
        ip(&["link", "set", "pod", "up"]);
        for address in BACKENDS.iter().chain([&CACHE]) {
            ip(&["address", "add", address, "dev", "lo"]);
            echo(address);
        }
        rules(&|words| run("iptables", words));
        go.send(()).expect("the pod waits");
        let lost = pod.join().expect("the pod");
        let statistics = output("conntrack", &["-S"]);
        let sum = |field: &str| -> u64 {
            let words = statistics.split_whitespace();
            let values = words.filter_map(|word| word.strip_prefix(field)?.strip_prefix('='));
            values
                .map(|value| value.parse::<u64>().expect("a count"))
                .sum()
        };
        Counted {
            raced: sum("clash_resolve") + sum("insert_failed"),
            dropped: sum("drop"),
            lost,
        }
    }

    /// Sends each datagram back, until the test's process ends.
    fn echo(address: &str) {
        let socket = UdpSocket::bind((address, 53)).expect("a backend's socket");
        // Room for all that is asked at once: what is lost is lost on the way.
        setsockopt(&socket, RcvBufForce, &(4 << 20)).expect("a large buffer");
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                // Whoever asked may be gone.
                let _ = socket.send_to(&buffer[..length], client);
            }
        });
    }

    /// Two threads send on one socket at the same moment, on socket after socket; says how many
    /// had less than two answers.
    fn ask_in_pairs(service: &str) -> usize {
        let mut lost = 0;
        for _ in 0..PAIRS / AT_ONCE {
            let sockets: Vec<UdpSocket> = (0..AT_ONCE)
                .map(|_| {
                    let socket = UdpSocket::bind("10.0.1.2:0").expect("a socket");
                    socket.connect((service, 53)).expect("connect");
                    socket
                })
                .collect();
            let arrived: Vec<AtomicUsize> = sockets.iter().map(|_| AtomicUsize::new(0)).collect();
            std::thread::scope(|scope| {
                for (processor, word) in [b"A", b"B"].into_iter().enumerate() {
                    let (sockets, arrived) = (&sockets, &arrived);
                    scope.spawn(move || {
                        let mut processors = CpuSet::new();
                        processors.set(processor).expect("a processor");
                        sched_setaffinity(Pid::from_raw(0), &processors).expect("be there");
                        for (socket, arrived) in sockets.iter().zip(arrived) {
                            arrived.fetch_add(1, Ordering::SeqCst);
                            while arrived.load(Ordering::SeqCst) < 2 {
                                std::hint::spin_loop();
                            }
                            socket.send(word).expect("send");
                        }
                    });
                }
            });
            let deadline = Instant::now() + PATIENCE;
            lost += sockets
                .iter()
                .filter(|socket| !has_both(socket, deadline))
                .count();
        }
        lost
    }

    fn has_both(socket: &UdpSocket, deadline: Instant) -> bool {
        (0..2).all(|_| {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            socket.set_read_timeout(Some(left)).expect("a timeout");
            socket.recv(&mut [0; 64]).is_ok()
        })
    }

    fn ip(words: &[&str]) {
        run("ip", words);
    }

    fn run(program: &str, words: &[&str]) {
        output(program, words);
    }

    fn output(program: &str, words: &[&str]) -> String {
        let output = Command::new(program).args(words).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {words:?}: {complaint}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
