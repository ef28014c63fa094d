//! Orders that come, and what stays.

use std::collections::BTreeSet;

use super::*;
use crate::clock::Time;
use crate::message::Query;
use crate::plugin::asking::{query, text};
use crate::plugin::{LocalAnswers as _, Step};
use crate::zone;

const ZONE: &str = "\
. 60 SOA a. b. 1 2 3 4 5
three. 60 A 192.0.2.1
three. 60 A 192.0.2.2
three. 60 A 192.0.2.3
six. 60 AAAA 2001:db8::1
six. 60 AAAA 2001:db8::2
alias. 60 CNAME three.
mail. 60 MX 10 a.mail.
mail. 60 MX 20 long.name.mail.
text. 60 TXT b
text. 60 TXT a
";

fn answer(name: &str, rtype: &str) -> Vec<u8> {
    let zone = zone::Plugin::parse("zone", ZONE, true).unwrap();
    let asked = query(name, rtype);
    match zone.answer(&Query::read(&asked).unwrap(), Time::ZERO) {
        Step::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn orders(message: &[u8]) -> BTreeSet<String> {
    let orders = (0..200).map(|_| {
        let mut message = message.to_vec();
        shuffle(&mut message);
        text(&message)
    });
    orders.collect()
}

#[test]
fn addresses_and_mail_servers_come_in_every_order() {
    for (name, rtype, count) in [
        ("three.", "A", 6),
        ("six.", "AAAA", 2),
        ("alias.", "A", 6),
        ("mail.", "MX", 2),
    ] {
        assert_eq!(orders(&answer(name, rtype)).len(), count, "{name}");
    }
}

#[test]
fn no_record_is_lost_or_made() {
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for (name, rtype) in [
        ("three.", "A"),
        ("alias.", "A"),
        ("mail.", "MX"),
        ("three.", "ANY"),
    ] {
        let message = answer(name, rtype);
        for order in orders(&message) {
            assert_eq!(sorted(&order), sorted(&text(&message)));
        }
    }
}

#[test]
fn everything_else_stays() {
    for (name, rtype) in [("text.", "TXT"), ("three.", "MX"), ("none.", "A")] {
        let message = answer(name, rtype);
        assert_eq!(orders(&message), BTreeSet::from([text(&message)]), "{name}");
    }
    for order in orders(&answer("alias.", "A")) {
        assert!(order.lines().nth(1).unwrap().contains("CNAME"), "{order}");
    }
}

#[test]
fn a_cname_that_stands_behind_comes_first() {
    // `c. A`, then `b. CNAME c.` with a pointer to the address' owner.
    let mut message = query("b.", "A");
    message[2] |= 0x80;
    message[7] = 2;
    message.extend_from_slice(b"\x01c\0\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
    message.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x13");
    let before = text(&message);
    shuffle(&mut message);
    let lines: Vec<_> = before.lines().collect();
    assert_eq!(text(&message), [lines[0], lines[2], lines[1]].join("\n"));
    assert_eq!(lines[2], "b. 60 CNAME c.");
}

/// Messages cut anywhere, and cut with any octet changed, are shuffled or left: no panic.
#[test]
fn what_cannot_be_read_is_left() {
    for (name, rtype) in [("three.", "A"), ("mail.", "MX"), ("alias.", "A")] {
        let whole = answer(name, rtype);
        for length in 0..=whole.len() {
            for at in 0..length {
                for octet in [0, 1, 0x3f, 0x40, 0xc0, 0xff, whole[at].wrapping_add(1)] {
                    let mut message = whole[..length].to_vec();
                    message[at] = octet;
                    let before = message.len();
                    shuffle(&mut message);
                    assert!(message.len() >= before.min(12));
                }
            }
        }
    }
}
