//! What RFC 8906 has servers asked, and `dig` with it.

mod as_root {
    use std::process::Command;

    use super::super::server::{Site, ask_tcp, ask_udp};
    use super::super::wire::{A, FORMERR, Header, NOERROR, NOTIMP, query, with_edns};

    /// What is sent, and the documented answer.
    struct Probe {
        what: &'static str,
        query: Vec<u8>,
        /// None: silence.
        rcode: Option<u8>,
        /// Records of the answer section.
        answers: u16,
        /// Records of the additional section: the OPT record.
        additional: u16,
    }

    fn probe(
        what: &'static str,
        query: Vec<u8>,
        rcode: u8,
        answers: u16,
        additional: u16,
    ) -> Probe {
        Probe {
            what,
            query,
            rcode: Some(rcode),
            answers,
            additional,
        }
    }

    fn probes() -> Vec<Probe> {
        let asked = || query(1, "www.example.", A);
        let changed = |at: usize, octet: u8| {
            let mut message = asked();
            message[at] = octet;
            message
        };
        let cut = |length: usize| asked()[..length].to_vec();
        let silence = |what, query| Probe {
            what,
            query,
            rcode: None,
            answers: 0,
            additional: 0,
        };
        let mut looping = asked();
        looping[12..14].copy_from_slice(&[0xc0, 12]);
        // ID 0x0c05 is a label of twelve octets there, and the pointer's second octet ends the name.
        let mut into_header = [&[12, 5], &asked()[2..12]].concat();
        into_header.extend([0xc0, 0, 0, 1, 0, 1]);
        into_header.resize(27, 0);
        let mut trailing = asked();
        trailing.extend_from_slice(b"more than was announced");
        let two_opts = with_edns(with_edns(asked(), 1232, 0, &[]), 1232, 0, &[]);
        let option = [0, 100, 0, 2, 10, 11];
        vec![
            probe("RFC 8906 8.1.1: plain", asked(), NOERROR, 1, 0),
            probe(
                "8.1.2: unknown type",
                query(1, "www.example.", 1000),
                NOERROR,
                1,
                0,
            ),
            probe("8.1.3.1: CD", changed(3, 0x10), NOERROR, 1, 0),
            probe("8.1.3.2: AD", changed(3, 0x20), NOERROR, 1, 0),
            probe("8.1.3.3: reserved bit", changed(3, 0x40), NOERROR, 1, 0),
            probe("8.1.3.4: no RD", changed(2, 0), NOERROR, 1, 0),
            probe("8.1.4: opcode 15", changed(2, 15 << 3), NOTIMP, 0, 0),
            probe(
                "8.2.1: EDNS",
                with_edns(asked(), 1232, 0, &[]),
                NOERROR,
                1,
                1,
            ),
            // BADVERS is 16: 0 in the header, 1 in the OPT record.
            probe(
                "8.2.2: EDNS version 100",
                with_edns(asked(), 1232, 100, &[]),
                0,
                0,
                1,
            ),
            probe(
                "8.2.3: EDNS option 100",
                with_edns(asked(), 1232, 0, &option),
                NOERROR,
                1,
                1,
            ),
            probe(
                "8.2.6: both",
                with_edns(asked(), 1232, 100, &option),
                0,
                0,
                1,
            ),
            probe(
                "a size below 512",
                with_edns(asked(), 1, 0, &[]),
                NOERROR,
                1,
                1,
            ),
            probe("two OPT records", two_opts, FORMERR, 0, 0),
            probe(
                "an option longer than its record",
                with_edns(asked(), 1232, 0, &[0, 1, 0, 9]),
                FORMERR,
                0,
                0,
            ),
            probe("no question", changed(5, 0), FORMERR, 0, 0),
            probe("two questions announced", changed(5, 2), FORMERR, 0, 0),
            probe("a question that is cut", cut(16), FORMERR, 0, 0),
            probe("a name that points at itself", looping, FORMERR, 0, 0),
            probe("a name that is in the header", into_header, FORMERR, 0, 0),
            silence("a header that is cut", cut(11)),
            silence("nothing", Vec::new()),
            silence("a response", changed(2, 0x80)),
            probe("octets after the end", trailing, NOERROR, 1, 0),
        ]
    }

    #[test]
    fn probes_get_the_documented_answer_over_udp_and_tcp() {
        let site = Site::new("30", "max_concurrent 100");
        let mut server = site.start(&Site::binary(), &[]);
        let mut faults = Vec::new();
        for probe in probes() {
            for (transport, answer) in [
                ("UDP", ask_udp(&probe.query)),
                ("TCP", ask_tcp(&probe.query)),
            ] {
                let seen = answer.map(|answer| {
                    let header = Header::of(&answer);
                    assert_eq!(header.opcode, probe.query[2] >> 3 & 0xf, "{}", probe.what);
                    (
                        header.response,
                        header.rcode,
                        header.counts[1],
                        header.counts[3],
                    )
                });
                let expected = probe
                    .rcode
                    .map(|rcode| (true, rcode, probe.answers, probe.additional));
                if seen != expected {
                    faults.push(format!(
                        "{} over {transport}: {expected:?} expected, {seen:?} found",
                        probe.what
                    ));
                }
            }
        }
        server.answers();
        assert!(faults.is_empty(), "{faults:#?}");
    }

    #[test]
    fn dig_understands_the_answers() {
        let site = Site::new("30", "force_tcp");
        let _server = site.start(&Site::binary(), &[]);
        let expected: [(&[&str], &[&str]); 9] = [
            (&["www.example."], &["status: NOERROR", "ANSWER: 1"]),
            (
                &["www.example.", "+edns=100", "+noednsnegotiation"],
                &["status: BADVERS", "EDNS: version: 0", "ANSWER: 0"],
            ),
            (
                &["www.example.", "+ednsopt=100:0a0b"],
                &["status: NOERROR", "EDNS: version: 0"],
            ),
            (
                &["www.example.", "+opcode=15"],
                &["opcode: RESERVED15, status: NOTIMP"],
            ),
            (&["www.example.", "TYPE1000"], &["status: NOERROR"]),
            (&["no.example."], &["status: NXDOMAIN", "SOA"]),
            (
                &["big.example.", "+bufsize=512", "+ignore"],
                &["flags: qr tc", "status: NOERROR"],
            ),
            (
                &["big.example.", "+tcp"],
                &["status: NOERROR", "ANSWER: 4000"],
            ),
            (&["WWW.eXample.", "+dnssec"], &["flags: do", "WWW.eXample."]),
        ];
        for (words, lines) in expected {
            let dig = Command::new("dig")
                .args(["@127.0.0.1", "+time=2", "+tries=1", "+nocookie"])
                .args(words)
                .output()
                .expect("run dig (`cargo xtask setup` installs it)");
            let text = String::from_utf8_lossy(&dig.stdout);
            for line in lines {
                assert!(
                    text.contains(line),
                    "dig {words:?} has no `{line}`:\n{text}"
                );
            }
            // dig's words for octets that make no message.
            for complaint in ["malformed", "extra", "mismatch"] {
                assert!(!text.contains(complaint), "dig {words:?}:\n{text}");
            }
        }
    }
}
