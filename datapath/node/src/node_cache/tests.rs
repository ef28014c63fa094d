use std::net::Ipv4Addr;

use super::rules::{changes, rules};

const CACHE: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// What `iptables-save` prints on a node of the study lab, without the rules of others.
const SAVED: &str = r#"*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A PREROUTING -d 10.96.0.10/32 -p tcp -m tcp --dport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A PREROUTING -d 169.254.20.10/32 -p udp -m udp --dport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A PREROUTING -d 169.254.20.10/32 -p tcp -m tcp --dport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -s 10.96.0.10/32 -p tcp -m tcp --sport 8080 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -d 10.96.0.10/32 -p tcp -m tcp --dport 8080 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -d 10.96.0.10/32 -p udp -m udp --dport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -d 10.96.0.10/32 -p tcp -m tcp --dport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -s 10.96.0.10/32 -p udp -m udp --sport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -s 10.96.0.10/32 -p tcp -m tcp --sport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -s 169.254.20.10/32 -p tcp -m tcp --sport 8080 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -d 169.254.20.10/32 -p tcp -m tcp --dport 8080 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -d 169.254.20.10/32 -p udp -m udp --dport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -d 169.254.20.10/32 -p tcp -m tcp --dport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -s 169.254.20.10/32 -p udp -m udp --sport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
-A OUTPUT -s 169.254.20.10/32 -p tcp -m tcp --sport 53 -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -d 10.96.0.10/32 -p udp -m udp --dport 53 -m comment --comment "NodeLocal DNS Cache: allow DNS traffic" -j ACCEPT
-A INPUT -d 10.96.0.10/32 -p tcp -m tcp --dport 53 -m comment --comment "NodeLocal DNS Cache: allow DNS traffic" -j ACCEPT
-A INPUT -d 169.254.20.10/32 -p udp -m udp --dport 53 -m comment --comment "NodeLocal DNS Cache: allow DNS traffic" -j ACCEPT
-A INPUT -d 169.254.20.10/32 -p tcp -m tcp --dport 53 -m comment --comment "NodeLocal DNS Cache: allow DNS traffic" -j ACCEPT
-A OUTPUT -s 10.96.0.10/32 -p udp -m udp --sport 53 -m comment --comment "NodeLocal DNS Cache: allow DNS traffic" -j ACCEPT
-A OUTPUT -s 10.96.0.10/32 -p tcp -m tcp --sport 53 -m comment --comment "NodeLocal DNS Cache: allow DNS traffic" -j ACCEPT
-A OUTPUT -s 169.254.20.10/32 -p udp -m udp --sport 53 -m comment --comment "NodeLocal DNS Cache: allow DNS traffic" -j ACCEPT
-A OUTPUT -s 169.254.20.10/32 -p tcp -m tcp --sport 53 -m comment --comment "NodeLocal DNS Cache: allow DNS traffic" -j ACCEPT
COMMIT
"#;

#[test]
fn the_rules_are_the_originals_in_its_order() {
    assert_eq!(changes(SAVED, &rules(&[CACHE, SERVICE], 8080)), None);
}

#[test]
fn without_any_there_is_one_transaction_for_each_table() {
    let input = changes("", &rules(&[CACHE], 8080)).unwrap();
    assert_eq!(input.matches("COMMIT").count(), 2);
    assert_eq!(input.matches("-I ").count(), 12);
    assert_eq!(input.matches("-D ").count(), 0);
}

/// kubernetes/dns#568: rules were put in again each time.
#[test]
fn rules_that_are_there_twice_are_made_once() {
    let first = "-A PREROUTING -d 10.96.0.10/32 -p udp";
    let line = SAVED.lines().find(|line| line.starts_with(first)).unwrap();
    let twice = SAVED.replacen(line, &format!("{line}\n{line}"), 1);
    let input = changes(&twice, &rules(&[CACHE, SERVICE], 8080)).unwrap();
    assert!(input.starts_with("*raw\n"), "{input}");
    assert_eq!(
        (input.matches("-D ").count(), input.matches("-I ").count()),
        (17, 16)
    );
    assert!(!input.contains("*filter"), "{input}");
}

#[test]
fn one_that_is_gone_is_put_back_in_its_place() {
    let line = SAVED.lines().nth(5).unwrap();
    let input = changes(
        &SAVED.replacen(line, "", 1),
        &rules(&[CACHE, SERVICE], 8080),
    );
    assert_eq!(input.unwrap().matches("-I ").count(), 16);
}

#[test]
fn ours_go_and_others_stay() {
    let other = "-A INPUT -d 10.96.0.10/32 -p udp -m udp --dport 53 -j ACCEPT";
    let saved = SAVED.replacen(":FORWARD", &format!("{other}\n:FORWARD"), 1);
    let input = changes(&saved, &[]).unwrap();
    assert_eq!(input.matches("-D ").count(), 24);
    assert!(!input.contains("-I ") && !input.contains("--dport 53 -j ACCEPT"));
    assert_eq!(changes("*raw\nCOMMIT\n", &[]), None);
}

mod as_root {
    use std::os::fd::AsFd as _;
    use std::process::Command;

    use nix::sched::{CloneFlags, setns};

    use super::*;
    use crate::iptables::saved_text;
    use crate::namespace;
    use crate::netlink::Netlink;
    use crate::node_cache::LocalNetwork;

    /// In a namespace of its own, on a thread of its own.
    fn in_namespace(test: impl FnOnce() + Send + 'static) {
        let (netns, made) = namespace::create_unnamed_with(Netlink::open).expect("a namespace");
        made.expect("netlink");
        let entered = move || {
            setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).expect("root");
            test();
        };
        std::thread::spawn(entered).join().expect("no panic");
    }

    /// The lines of `iptables-save` that are rules of a cache.
    fn saved() -> Vec<String> {
        let text = saved_text().expect("iptables-save");
        let lines = text.lines().filter(|line| line.contains("NodeLocal"));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn made_once_mended_and_removed() {
        in_namespace(|| {
            let network = LocalNetwork {
                interface: Some("nodelocaldns".to_owned()),
                addresses: vec![CACHE, SERVICE],
                rules: Some(8080),
            };
            assert!(network.ensure().expect("made"));
            let expected = SAVED.lines().filter(|line| line.contains("NodeLocal"));
            let expected: Vec<_> = expected.map(str::to_owned).collect();
            let mut both = saved();
            both.sort();
            let mut sorted = expected.clone();
            sorted.sort();
            assert_eq!(both, sorted);
            assert!(!network.ensure().expect("there already"));

            // As an administrator who flushes a table, or a daemon that does.
            let flushed = Command::new("iptables").args(["-t", "raw", "-F"]).status();
            assert!(flushed.expect("iptables").success());
            assert!(network.ensure().expect("mended"));
            assert_eq!(saved().len(), 24);

            network.remove().expect("removed");
            assert_eq!(saved(), [""; 0]);
            let mut netlink = Netlink::open().expect("netlink");
            assert!(netlink.link("nodelocaldns").expect("looked").is_none());
            network.remove().expect("nothing there is no fault");
        });
    }
}
