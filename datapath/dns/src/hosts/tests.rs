//! Lines of a file and of the Corefile.

use std::time::Duration;

use super::*;
use crate::config::Fallthrough;
use crate::plugin::asking::ask;

fn settings(file: &std::path::Path) -> Hosts {
    Hosts {
        file: file.to_owned(),
        zones: Vec::new(),
        inline: vec![("10.0.0.9".parse().unwrap(), "inline.example.".to_owned())],
        ttl: 3600,
        no_reverse: false,
        reload: Duration::from_secs(5),
        fallthrough: Fallthrough::Never,
    }
}

fn plugin(settings: &Hosts) -> Plugin {
    let zones = ["example.", "in-addr.arpa.", "ip6.arpa."].map(str::to_owned);
    Plugin::new(settings, &zones, Registry::new("test"))
}

const FILE: &str = "127.0.0.1 localhost\n10.0.0.1 One.example one # me\n10.0.0.2\tone.example\n\
    fe80::1%eth0 one.example\n2001:db8::1 six.example.\nnonsense\n10.0.0.3 a..b\n";

#[test]
fn addresses_and_names() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hosts");
    fs::write(&file, FILE).unwrap();
    let plugin = plugin(&settings(&file));
    let ok = "NOERROR qr,aa,rd";
    for (name, rtype, expected) in [
        (
            "one.example.",
            "A",
            "\none.example. 3600 A 10.0.0.1\none.example. 3600 A 10.0.0.2",
        ),
        ("ONE.example.", "AAAA", "\nONE.example. 3600 AAAA fe80::1"),
        ("inline.example.", "A", "\ninline.example. 3600 A 10.0.0.9"),
        // It exists: NODATA, without a SOA.
        ("six.example.", "A", ""),
        ("six.example.", "TXT", ""),
        (
            "1.0.0.10.in-addr.arpa.",
            "PTR",
            "\n1.0.0.10.in-addr.arpa. 3600 PTR one.example.\n1.0.0.10.in-addr.arpa. 3600 PTR one.",
        ),
        (
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.",
            "PTR",
            "\n1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 3600 PTR six.example.",
        ),
    ] {
        assert_eq!(
            ask(&plugin, name, rtype),
            format!("{ok}{expected}"),
            "{name} {rtype}"
        );
    }
    assert_eq!(ask(&plugin, "none.example.", "A"), "SERVFAIL qr,aa,rd");
    assert_eq!(ask(&plugin, "4.0.0.10.in-addr.arpa.", "PTR"), "next");
    assert_eq!(ask(&plugin, "localhost.", "A"), "next");
    let mut passing = settings(&file);
    passing.fallthrough = Fallthrough::Always;
    passing.no_reverse = true;
    let passing = self::plugin(&passing);
    assert_eq!(ask(&passing, "none.example.", "A"), "next");
    assert_eq!(ask(&passing, "1.0.0.10.in-addr.arpa.", "PTR"), "next");
}

#[test]
fn a_changed_file_is_read_when_it_is_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hosts");
    let plugin = plugin(&settings(&file));
    let at = |seconds, name| {
        let asked = crate::plugin::asking::query(name, "A");
        let query = Query::read(&asked).unwrap();
        match plugin.answer(&query, Duration::from_secs(seconds)) {
            Step::Answer(answer) => crate::plugin::asking::text(&answer),
            other => format!("{other:?}"),
        }
    };
    assert!(at(1, "one.example.").starts_with("SERVFAIL"));
    fs::write(&file, FILE).unwrap();
    assert!(at(2, "one.example.").starts_with("SERVFAIL"));
    assert!(at(6, "one.example.").ends_with("10.0.0.2"));
    fs::remove_file(&file).unwrap();
    assert!(at(7, "one.example.").ends_with("10.0.0.2"));
    // The lines of the Corefile stay.
    assert!(at(20, "one.example.").starts_with("SERVFAIL"));
    assert!(at(20, "inline.example.").ends_with("10.0.0.9"));
}
