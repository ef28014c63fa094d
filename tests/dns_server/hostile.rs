//! Whatever is sent: an answer or none, never an end.

mod as_root {
    use std::io::{IoSlice, Write as _};
    use std::net::TcpStream;
    use std::os::fd::AsRawFd as _;
    use std::time::{Duration, Instant};

    use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};

    use super::super::server::{
        self, Site, ask_tcp, ask_udp, connect, framed, receive, receive_tcp, socket,
    };
    use super::super::upstream;
    use super::super::wire::{A, Header, NOERROR, SERVFAIL, query, with_edns};

    /// xorshift64*: the same packets in every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        fn below(&mut self, bound: usize) -> usize {
            let bound = u64::try_from(bound).expect("64 bits");
            usize::try_from(self.next() % bound).expect("below the bound")
        }

        fn octet(&mut self) -> u8 {
            self.next().to_le_bytes()[3]
        }
    }

    /// A packet that is malformed in one way or another, and now and then not at all.
    fn packet(random: &mut Random) -> Vec<u8> {
        let mut valid = with_edns(query(1, "www.example.", A), 1232, 0, &[0, 10, 0, 2, 1, 2]);
        match random.below(6) {
            // Any octets.
            0 => (0..random.below(80)).map(|_| random.octet()).collect(),
            // A few octets changed.
            1 => {
                for _ in 0..=random.below(4) {
                    let at = random.below(valid.len());
                    valid[at] = random.octet();
                }
                valid
            }
            // Cut.
            2 => {
                valid.truncate(random.below(valid.len()));
                valid
            }
            // Counts that lie.
            3 => {
                valid[4 + random.below(8)] = random.octet();
                valid
            }
            // A name of pointers.
            4 => {
                let at = server::HEADER + random.below(10);
                valid[at] = 0xc0 | random.octet() >> 6;
                valid[at + 1] = random.octet();
                valid
            }
            // An OPT record that is not.
            _ => {
                let at = valid.len() - 1 - random.below(16);
                valid[at] = random.octet();
                valid.extend((0..random.below(20)).map(|_| random.octet()));
                valid
            }
        }
    }

    /// One socket takes in all before its next query is answered, so none is lost.
    #[test]
    fn a_million_malformed_packets_leave_it_answering() {
        const PACKETS: usize = 1_000_000;
        const BATCH: usize = 100;
        let site = Site::new("30", "max_concurrent 100");
        let mut server = site.start(&Site::binary(), &["--workers", "1"]);
        server.answers();
        let before = server.status_kib("VmRSS");
        let sender = socket();
        let barrier = socket();
        let mut random = Random(0x5eed);
        for round in 0..PACKETS / BATCH {
            let packets: Vec<Vec<u8>> = (0..BATCH).map(|_| packet(&mut random)).collect();
            let slices: Vec<[IoSlice<'_>; 1]> = packets
                .iter()
                .map(|packet| [IoSlice::new(packet)])
                .collect();
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
            let addresses = vec![None; BATCH];
            let sent = sendmmsg(
                sender.as_raw_fd(),
                &mut headers,
                &slices,
                &addresses,
                [],
                MsgFlags::empty(),
            );
            assert_eq!(sent.expect("send").count(), BATCH);
            let id = u16::try_from(round % 60_000).expect("16 bits");
            barrier.send(&query(id, "alive.example.", A)).expect("send");
            let answer = receive(&barrier).unwrap_or_else(|| panic!("silent after round {round}"));
            let header = Header::of(&answer);
            assert_eq!((header.id, header.rcode), (id, NOERROR));
        }
        server.answers();
        let grown = server.status_kib("VmRSS").saturating_sub(before);
        assert!(grown < 32 * 1024, "it grew by {grown} KiB");
        assert!(!site.log().contains("panic"), "{}", site.log());
    }

    #[test]
    fn upstreams_that_send_rubbish_come_to_servfail() {
        let site = Site::new("30", "max_concurrent 100");
        let mut server = site.start(&Site::binary(), &[]);
        for name in ["loop", "selfloop", "short", "lying"] {
            let answer = ask_udp(&query(9, &format!("{name}.example."), A));
            let header = Header::of(&answer.unwrap_or_else(|| panic!("silent for {name}")));
            assert_eq!((header.rcode, header.counts[1]), (SERVFAIL, 0), "{name}");
        }
        server.answers();
    }

    #[test]
    fn queries_in_a_pipeline_are_all_answered_the_slow_one_last() {
        const QUERIES: u16 = 100;
        let site = Site::new("30", "max_concurrent 1000");
        let mut server = site.start(&Site::binary(), &[]);
        server.answers();
        let mut stream = connect();
        let mut all = framed(&query(0, "slow.example.", A));
        for id in 1..QUERIES {
            all.extend(framed(&query(id, "alive.example.", A)));
        }
        stream.write_all(&all).expect("send");
        let ids: Vec<u16> = (0..QUERIES)
            .map(|_| Header::of(&receive_tcp(&mut stream).expect("an answer")).id)
            .collect();
        assert_eq!(ids.last(), Some(&0), "nobody waits for the slow one");
        let mut sorted = ids;
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..QUERIES));
    }

    #[test]
    fn an_answer_of_64_kib_comes_whole_over_tcp_and_cut_over_udp() {
        let site = Site::new("30", "force_tcp");
        let _server = site.start(&Site::binary(), &[]);
        for _ in ["miss", "hit"] {
            let whole = ask_tcp(&query(3, "big.example.", A)).expect("an answer");
            let header = Header::of(&whole);
            assert_eq!((header.rcode, header.counts[1]), (NOERROR, upstream::BIG));
            assert!(!header.truncated && whole.len() > 60_000);
            for size in [512_u16, 1232, 4096] {
                let asked = with_edns(query(4, "big.example.", A), size, 0, &[]);
                let cut = ask_udp(&asked).expect("an answer");
                assert!(Header::of(&cut).truncated && cut.len() <= usize::from(size));
            }
        }
    }

    #[test]
    fn slow_and_idle_connections_keep_nobody_waiting() {
        const IDLE: usize = 500;
        let site = Site::new("30", "max_concurrent 1000");
        let mut server = site.start(&Site::binary(), &[]);
        let idle: Vec<TcpStream> = (0..IDLE).map(|_| connect()).collect();
        let mut slow: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
        let asked = framed(&query(5, "alive.example.", A));
        for octet in &asked[..5] {
            for stream in &mut slow {
                stream.write_all(&[*octet]).expect("one octet");
            }
        }
        // They ask and never read.
        let mut deaf = connect();
        let many = framed(&query(6, "alive.example.", A)).repeat(5000);
        deaf.set_nonblocking(true).expect("nonblocking");
        // As much as the buffers take.
        let _ = deaf.write(&many);
        let start = Instant::now();
        server.answers();
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
        for stream in &mut slow {
            stream.write_all(&asked[5..]).expect("the rest");
        }
        for stream in &mut slow {
            let answer = receive_tcp(stream).expect("an answer, if late");
            assert_eq!(Header::of(&answer).id, 5);
        }
        drop(idle);
    }
}
