//! A small world, and what is asked of it.

use super::*;
use crate::plugin::asking::{ask, query};

const WORLD: &str = "\
$TTL 300
. 86400 IN SOA a.root-servers.net. nstld.verisign-grs.com. 2025073000 1800 900 604800 86400
google.com. A 142.250.196.110
            AAAA 2404:6800:4004:825::200e
www.Google.com. 60 A 172.217.161.36
www.google.com. 30 A 172.217.161.37
alias.example. CNAME WWW.google.com.
astray.example. CNAME nowhere.example.
circle.example. CNAME elcric.example.
elcric.example. CNAME circle.example.
*.wild.example. A 192.0.2.1
b.a.wild.example. TXT \"x y\" z
mail.example. MX 10 mx.example.
sub.example. 600 SOA ns.sub.example. admin.sub.example. 1 2 3 4 60
sub.example. NS ns.sub.example.
ns.sub.example. A 192.0.2.53
";

const ROOT: &str =
    "auth . 86400 SOA a.root-servers.net. nstld.verisign-grs.com. 2025073000 1800 900 604800 86400";
const SUB: &str = "auth sub.example. 60 SOA ns.sub.example. admin.sub.example. 1 2 3 4 60";
const OK: &str = "NOERROR qr,rd,ra";
const DENIED: &str = "NXDOMAIN qr,rd,ra";

const CASES: [(&str, &str, &[&str]); 20] = [
    (
        "google.com.",
        "A",
        &[OK, "google.com. 300 A 142.250.196.110"],
    ),
    (
        "google.com.",
        "AAAA",
        &[OK, "google.com. 300 AAAA 2404:6800:4004:825::200e"],
    ),
    (
        "GOOGLE.com.",
        "A",
        &[OK, "GOOGLE.com. 300 A 142.250.196.110"],
    ),
    // One TTL for all of them (RFC 2181 §5.2).
    (
        "www.google.com.",
        "A",
        &[
            OK,
            "www.google.com. 30 A 172.217.161.36",
            "www.google.com. 30 A 172.217.161.37",
        ],
    ),
    ("www.google.com.", "MX", &[OK, ROOT]),
    ("com.", "A", &[OK, ROOT]),
    (
        ".",
        "SOA",
        &[
            OK,
            ". 86400 SOA a.root-servers.net. nstld.verisign-grs.com. 2025073000 1800 900 604800 86400",
        ],
    ),
    ("google.com.davolink.", "A", &[DENIED, ROOT]),
    (
        "alias.example.",
        "A",
        &[
            OK,
            "alias.example. 300 CNAME WWW.google.com.",
            "www.google.com. 30 A 172.217.161.36",
            "www.google.com. 30 A 172.217.161.37",
        ],
    ),
    (
        "alias.example.",
        "CNAME",
        &[OK, "alias.example. 300 CNAME WWW.google.com."],
    ),
    (
        "alias.example.",
        "AAAA",
        &[OK, "alias.example. 300 CNAME WWW.google.com.", ROOT],
    ),
    // The RCODE is that of the last name (RFC 6604).
    (
        "astray.example.",
        "A",
        &[DENIED, "astray.example. 300 CNAME nowhere.example.", ROOT],
    ),
    (
        "x.y.wild.example.",
        "A",
        &[OK, "x.y.wild.example. 300 A 192.0.2.1"],
    ),
    ("x.wild.example.", "AAAA", &[OK, ROOT]),
    // `a.wild.example` exists, so the wildcard isn't for what is below it (RFC 4592 §2.2.1).
    ("a.wild.example.", "A", &[OK, ROOT]),
    ("c.a.wild.example.", "A", &[DENIED, ROOT]),
    (
        "b.a.wild.example.",
        "TXT",
        &[OK, "b.a.wild.example. 300 TXT \"x y\" \"z\""],
    ),
    (
        "mail.example.",
        "MX",
        &[OK, "mail.example. 300 MX 10 mx.example."],
    ),
    // The nearest SOA, with the lesser of its TTL and minimum (RFC 2308 §5).
    ("none.sub.example.", "A", &[DENIED, SUB]),
    ("sub.example.", "A", &[OK, SUB]),
];

fn world(resolver: bool) -> Plugin {
    Plugin::parse("world.zone", WORLD, resolver).unwrap()
}

#[test]
fn a_world() {
    let world = world(true);
    for (name, rtype, expected) in CASES {
        assert_eq!(
            ask(&world, name, rtype),
            expected.join("\n"),
            "{name} {rtype}"
        );
    }
    let any = ask(&world, "google.com.", "ANY");
    assert_eq!(any.lines().count(), 3, "{any}");
    assert!(ask(&world, "circle.example.", "A").lines().count() <= 10);
}

#[test]
fn its_owner_says_so() {
    assert!(ask(&world(false), "google.com.", "A").starts_with("NOERROR qr,aa,rd\n"));
}

#[test]
fn names_outside_are_the_next_plugins() {
    let plugin = Plugin::parse(
        "a",
        "example. SOA a. b. 1 2 3 4 5\nexample. A 192.0.2.1\n",
        false,
    );
    assert_eq!(ask(&plugin.unwrap(), "example.org.", "A"), "next");
}

#[test]
fn many_records_are_one_whole_message() {
    let mut text = ". 60 SOA a. b. 1 2 3 4 5\n".to_owned();
    for octet in 0..=255 {
        text.push_str(&format!(
            "many. 60 A 192.0.2.{octet}\nmany. 60 A 198.51.100.{octet}\n"
        ));
    }
    let plugin = Plugin::parse("a", &text, true).unwrap();
    let asked = query("many.", "A");
    let step = plugin.answer(&Query::read(&asked).unwrap(), Time::ZERO);
    let Step::Answer(answer) = step else {
        panic!("{step:?}")
    };
    assert_eq!(answer.len(), asked.len() + 512 * (6 + 10 + 4));
}

#[test]
fn faults_are_told() {
    for (text, expected) in [
        ("a. A 192.0.2.1\n", "zone file w has no SOA record"),
        (
            ". SOA a. b. 1 2 3 4 5\na. A 192.0.2\n",
            "w:2: expected IPv4 address",
        ),
        (
            ". SOA a. b. 1 2 3 4 5\n$INCLUDE b\n",
            "zone file w: $INCLUDE isn't read",
        ),
        (
            ". SOA a. b. 1 2 3 4 5\na. A 192.0.2.1\na. CNAME b.\n",
            "zone file w: a has a CNAME beside",
        ),
    ] {
        let error = Plugin::parse("w", text, true)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let missing = Plugin::load(Path::new("/does/not/exist"), true).map(|_| ());
    let missing = missing.unwrap_err().to_string();
    assert!(
        missing.starts_with("cannot read zone file /does/not/exist: "),
        "{missing}"
    );
}
