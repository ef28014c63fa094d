//! Lines as the transcript has them.

use std::sync::{Arc, Mutex};

use super::*;
use crate::corefile;
use crate::plugin::asking;

fn denial(name: &str, flags: [u8; 2]) -> Vec<u8> {
    let mut message = asking::query(name, "A");
    message[2] |= flags[0];
    message[3] |= flags[1];
    message
}

fn line(client: &str, transport: Transport, query: &[u8], answer: Option<&[u8]>) -> String {
    let query = Query::read(query).unwrap();
    let line = Line {
        client: client.parse().unwrap(),
        transport,
        query: &query,
        answer,
        took: Duration::from_nanos(2_148_806),
    };
    let mut out = b"before\n".to_vec();
    line.write(&mut out);
    let out = String::from_utf8(out).unwrap();
    out.strip_prefix("before\n").unwrap().to_owned()
}

#[test]
fn line_of_the_transcript() {
    let mut query = asking::query("WWW.google.com.cluster.local.", "A");
    query[..2].copy_from_slice(&36022_u16.to_be_bytes());
    let mut answer = denial("www.google.com.cluster.local.", [0x84, 0x03]);
    answer.resize(139, 0);
    let expected = "[INFO] 172.20.0.69:37103 - 36022 \"A IN www.google.com.cluster.local. udp 46 false 512\" \
        NXDOMAIN qr,aa,rd 139 0.002148806s\n";
    assert_eq!(
        line("172.20.0.69:37103", Transport::Udp, &query, Some(&answer)),
        expected
    );
}

#[test]
fn flags_stand_in_coredns_order() {
    let query = asking::query(".", "TYPE1000");
    let all = denial(".", [0x87, 0xf5]);
    let expected = "[INFO] [2001:db8::1]:53 - 4660 \"TYPE1000 IN . tcp 17 false 65535\" \
        REFUSED qr,aa,tc,rd,ra,z,ad,cd 17 0.002148806s\n";
    assert_eq!(
        line("[2001:db8::1]:53", Transport::Tcp, &query, Some(&all)),
        expected
    );
}

#[test]
fn queries_without_answer_have_dashes() {
    let query = asking::query("a\\010b.example.", "A");
    let expected =
        "[INFO] 10.0.0.1:5 - 4660 \"A IN a\\010b.example. udp 29 false 512\" - - 0 0.002148806s\n";
    assert_eq!(
        line("[::ffff:10.0.0.1]:5", Transport::Udp, &query, None),
        expected
    );
}

#[test]
fn failures() {
    let query = asking::query("google.com.", "A");
    let error = "read udp 10.1.0.4:37513->10.0.2.3:53: i/o timeout";
    assert_eq!(
        failure(Rcode::SERVFAIL, &Query::read(&query).unwrap(), error),
        format!("[ERROR] plugin/errors: 2 google.com. A: {error}")
    );
}

#[test]
fn start_tells_addresses_digest_and_version() {
    let text = "cluster.local:53 {\n bind 169.254.20.10 10.96.0.10\n}\n.:53 {\n reload\n}\n";
    let config = corefile::parse("Corefile".as_ref(), text, &corefile::Pillars::default()).unwrap();
    let started = started(&config, "0.1.0");
    let lines: Vec<_> = started.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "cluster.local.:53 on 169.254.20.10",
            "cluster.local.:53 on 10.96.0.10",
            ".:53"
        ]
    );
    assert_eq!(
        lines[3],
        format!(
            "[INFO] plugin/reload: Running configuration SHA512 = {}",
            config.digest
        )
    );
    assert_eq!(lines[4], "labctl-0.1.0");
    assert!(lines[5].starts_with("linux/"));
}

#[test]
fn classes_are_told_by_the_answer() {
    let only = |success, denial, error| LogClasses {
        success,
        denial,
        error,
    };
    let answer = |rcode: u8, authority: bool| {
        let mut message = denial("a.example.", [0x80, rcode]);
        if authority {
            message[9] = 1;
            message.extend_from_slice(b"\0\0\x06\0\x01\0\0\0\x1e\0\0");
        }
        message
    };
    for (message, class) in [
        (answer(0, false), only(true, false, false)),
        (answer(0, true), only(false, true, false)),
        (answer(3, true), only(false, true, false)),
        (answer(3, false), only(false, false, true)),
        (answer(2, false), only(false, false, true)),
    ] {
        assert!(wanted(class, &message));
        assert!(wanted(only(true, true, true), &message));
        let others = only(!class.success, !class.denial, !class.error);
        assert!(!wanted(others, &message));
    }
}

#[test]
fn lines_are_written_whole() {
    #[derive(Clone)]
    struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);
    impl Write for Writes {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().push(octets.to_vec());
            Ok(octets.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let writes = Writes(Arc::default());
    let output = Output::new(writes.clone());
    output.info("Reloading");
    output.print(b"[INFO] Reloading complete\n");
    let written = writes.0.lock().unwrap().concat();
    assert_eq!(written, b"[INFO] Reloading\n[INFO] Reloading complete\n");
}
