//! Answers that the kernel gives before the socket: known by the server being stopped.

mod as_root {
    use std::io::{BufRead as _, BufReader};
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd as _;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto,
    };
    use nix::unistd::Pid;

    use super::super::server::{PATIENCE, Server, Site, ask_udp, metric, receive, socket};
    use super::super::wire::{A, query, with_edns};

    const IN_KERNEL: [&str; 2] = ["--answer-in-kernel", "lo"];
    const NAME: &str = "hot.example.";

    /// Where the TTL is in the answer to such a query, whose one record follows.
    fn ttl_at(query: &[u8]) -> usize {
        query.len() + 6
    }

    fn ttl(query: &[u8], answer: &[u8]) -> u32 {
        let at = ttl_at(query);
        u32::from_be_bytes(answer[at..at + 4].try_into().expect("four octets"))
    }

    fn signal(server: &Server, signal: Signal) {
        let id = server.process.id().try_into().expect("a process");
        kill(Pid::from_raw(id), signal).expect("a signal");
    }

    /// Stops the server: what is answered then, the kernel answers.
    fn stop(server: &Server) {
        signal(server, Signal::SIGSTOP);
        let deadline = Instant::now() + PATIENCE;
        let path = format!("/proc/{}/stat", server.process.id());
        let stopped = || {
            let stat = std::fs::read_to_string(&path).expect("its state");
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        };
        while !stopped() {
            assert!(Instant::now() < deadline, "it does not stop");
            std::thread::yield_now();
        }
    }

    /// What the kernel says, if anything; it answers while the query is being sent.
    fn from_kernel(query: &[u8]) -> Option<Vec<u8>> {
        let socket = socket();
        let short = Duration::from_millis(50);
        socket.set_read_timeout(Some(short)).expect("a timeout");
        socket.send(query).expect("send");
        receive(&socket)
    }

    /// Asks until the kernel answers; the number of queries that were sent. The server
    /// is stopped then.
    #[track_caller]
    fn heat(site: &Site, server: &Server, query: &[u8]) -> u32 {
        let mut sent = 0;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let began = Instant::now();
            // Long enough for the verifier, which begins anew after a signal.
            while began.elapsed() < Duration::from_millis(500) {
                ask_udp(query).expect("an answer");
                sent += 1;
            }
            stop(server);
            sent += 1;
            if from_kernel(query).is_some() {
                return sent;
            }
            signal(server, Signal::SIGCONT);
        }
        panic!("the kernel does not answer:\n{}", site.log());
    }

    #[test]
    fn the_kernels_answer_is_the_servers_until_it_expires() {
        // Answers live for five seconds.
        let site = Site::new("5", "max_concurrent 1000");
        let server = site.start(&Site::binary(), &IN_KERNEL);
        let asked = query(1, NAME, A);
        // The second is a hit, which has AA.
        ask_udp(&asked).expect("an answer");
        let served = ask_udp(&asked).expect("an answer");
        heat(&site, &server, &asked);
        let asked = query(0xbeef, NAME, A);
        let answer = from_kernel(&asked).expect("the kernel's answer");
        let (first, at) = (ttl(&asked, &answer), ttl_at(&asked));
        assert!((1..=5).contains(&first), "{first}");
        let mut expected = served;
        expected[..2].copy_from_slice(&[0xbe, 0xef]);
        expected[at..at + 4].copy_from_slice(&answer[at..at + 4]);
        assert_eq!(answer, expected);
        // Other queries wait for the server.
        for other in [
            query(1, "HOT.example.", A),
            query(1, NAME, 28),
            with_edns(query(1, NAME, A), 1232, 0, &[]),
        ] {
            assert_eq!(from_kernel(&other), None);
        }
        let began = Instant::now();
        let mut seconds = first;
        loop {
            // The program's clock lags behind by up to a timer's tick.
            let tick = Duration::from_millis(20);
            let before = began.elapsed().saturating_sub(tick).as_secs();
            let Some(answer) = from_kernel(&asked) else {
                break;
            };
            let after = began.elapsed().as_secs();
            let (ttl, first) = (u64::from(ttl(&asked, &answer)), u64::from(first));
            assert!(ttl >= 1 && ttl <= first.saturating_sub(before), "{ttl}");
            assert!(ttl + after + 1 >= first, "{ttl} of {first} after {after} s");
            assert!(began.elapsed() < PATIENCE, "it does not expire");
            seconds = ttl.try_into().expect("a TTL");
        }
        assert!(seconds < first || first == 1, "it counted down");
        assert!(began.elapsed().as_secs() + 1 >= u64::from(first));
        signal(&server, Signal::SIGCONT);
        let answer = ask_udp(&asked).expect("the server's answer");
        assert_eq!(ttl(&asked, &answer), 5, "upstream was asked again");
    }

    #[test]
    fn every_query_is_counted_wherever_it_was_answered() {
        let site = Site::new("30", "max_concurrent 1000");
        let server = site.start(&Site::binary(), &IN_KERNEL);
        let asked = query(1, NAME, A);
        let mut sent = heat(&site, &server, &asked);
        for _ in 0..500 {
            from_kernel(&asked).expect("the kernel's answer");
            sent += 1;
        }
        signal(&server, Signal::SIGCONT);
        // Those that the kernel left to the server while it stood still.
        let deadline = Instant::now() + PATIENCE;
        while metric("coredns_dns_requests_total") < f64::from(sent) {
            assert!(Instant::now() < deadline, "some are not counted");
        }
        for (name, expected) in [
            ("coredns_dns_requests_total", sent),
            ("coredns_dns_responses_total", sent),
            ("coredns_dns_request_duration_seconds_count", sent),
            ("coredns_dns_response_size_bytes_count", sent),
            ("coredns_cache_requests_total", sent),
            ("coredns_cache_hits_total", sent - 1),
            ("coredns_cache_misses_total", 1),
        ] {
            assert_eq!(metric(name), f64::from(expected), "{name}");
        }
    }

    #[test]
    fn a_new_corefile_puts_an_end_to_the_answers_before_it() {
        let site = Site::new("30", "max_concurrent 1000");
        let server = site.start(&Site::binary(), &IN_KERNEL);
        let asked = query(1, NAME, A);
        heat(&site, &server, &asked);
        let path = site.folder.path().join("Corefile");
        let text = std::fs::read_to_string(&path).expect("the Corefile");
        let other = "cache 31\n hosts {\n 192.0.2.99 hot.example\n fallthrough\n }\n";
        std::fs::write(&path, text.replace("cache 30\n", other)).expect("another");
        signal(&server, Signal::SIGCONT);
        signal(&server, Signal::SIGUSR1);
        let deadline = Instant::now() + PATIENCE;
        while !site.log().contains("Reloading complete") {
            assert!(Instant::now() < deadline, "{}", site.log());
            std::thread::yield_now();
        }
        let answer = ask_udp(&asked).expect("an answer");
        assert!(answer.ends_with(&[192, 0, 2, 99]), "{answer:?}");
    }

    #[test]
    fn a_kill_leaves_nothing_behind_and_the_next_server_answers() {
        let site = Site::new("30", "max_concurrent 1000");
        let mut server = site.start(&Site::binary(), &IN_KERNEL);
        let asked = query(1, NAME, A);
        heat(&site, &server, &asked);
        server.process.kill().expect("SIGKILL");
        server.process.wait().expect("its end");
        // The kernel takes links and maps away when it gets to it.
        let deadline = Instant::now() + PATIENCE;
        while from_kernel(&asked).is_some() {
            assert!(Instant::now() < deadline, "something still answers");
        }
        let next = site.start(&Site::binary(), &IN_KERNEL);
        heat(&site, &next, &asked);
    }

    #[test]
    fn nobody_notices_that_the_next_server_has_answers_of_its_own() {
        let site = Site::new("30", "max_concurrent 1000");
        let handover = site.folder.path().join("handover");
        let handover = handover.to_str().expect("UTF-8");
        let words = [IN_KERNEL[0], IN_KERNEL[1], "--handover", handover];
        let mut server = site.start(&Site::binary(), &words);
        let asked = query(1, NAME, A);
        heat(&site, &server, &asked);
        signal(&server, Signal::SIGCONT);
        let next = site.start(&Site::binary(), &words);
        assert_eq!(server.ends(), Some(0), "{}", site.log());
        heat(&site, &next, &asked);
    }

    #[test]
    fn captures_have_both_and_their_checksums_are_right() {
        let site = Site::new("30", "max_concurrent 1000");
        let server = site.start(&Site::binary(), &IN_KERNEL);
        let asked = query(1, NAME, A);
        heat(&site, &server, &asked);
        let mut tcpdump = Command::new("tcpdump")
            .args(["-i", "lo", "-n", "-vv", "-c", "2", "--immediate-mode", "-l"])
            .args(["udp", "port", "40053"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start tcpdump");
        let told = BufReader::new(tcpdump.stderr.take().expect("its messages"));
        let mut told = told.lines().map_while(Result::ok);
        assert!(told.any(|line| line.contains("listening on")));
        // Sums of what comes out of a UDP socket are left to the device, which loopback
        // is none; here they are made by hand.
        let client = UdpSocket::bind("127.0.0.1:40053").expect("the client's port");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let raw = nix::sys::socket::socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Udp,
        );
        let raw = raw.expect("root");
        let to = SockaddrIn::new(127, 0, 0, 1, 0);
        let sent = datagram(40053, 53, &asked);
        sendto(raw.as_raw_fd(), &sent, &to, MsgFlags::empty()).expect("send");
        let answer = receive(&client).expect("the kernel's answer");
        assert_eq!(answer[..2], asked[..2]);
        let output = tcpdump.wait_with_output().expect("its end");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.matches("[udp sum ok]").count(), 2, "{text}");
        assert!(text.contains("127.0.0.1.53 > 127.0.0.1.40053"), "{text}");
        assert!(!text.contains("bad cksum"), "{text}");
    }

    /// UDP between ports of 127.0.0.1, with its checksum.
    fn datagram(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len())
            .expect("short")
            .to_be_bytes();
        let mut datagram = [from.to_be_bytes(), to.to_be_bytes(), length, [0, 0]].concat();
        datagram.extend_from_slice(payload);
        let pseudo = [127, 0, 0, 1, 127, 0, 0, 1, 0, 17, length[0], length[1]];
        let words = [&pseudo[..], &datagram].concat();
        let words = words.chunks(2).map(|word| {
            let second = word.get(1).copied().unwrap_or_default();
            u32::from(u16::from_be_bytes([word[0], second]))
        });
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let sum = !u16::try_from(sum).expect("the carries are in");
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        datagram
    }
}
