//! Labs on hosts that are there already, over Debian's sshd: all checks hold, and after
//! `down` each host is as it was.

mod desk;
mod host;

mod as_root {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::desk::Desk;
    use super::host::{Host, Kind};
    use crate::lab::Ran;

    /// From one that has just been installed to one with a network of its own.
    const KINDS: [Kind; 4] = [
        Kind {
            name: "k8s-ctr",
            number: 10,
            mounts: "furnished",
            setup: "addr add 192.168.10.100/24 dev eth1\nlink set eth1 up\n",
        },
        Kind {
            name: "k8s-w1",
            number: 11,
            mounts: "bare",
            setup: "",
        },
        Kind {
            name: "k8s-w2",
            number: 12,
            mounts: "furnished",
            setup: "link set eth1 up
                    addr add 10.99.0.2/24 dev eth1
                    route add 10.98.0.0/16 via 10.99.0.1 proto static\n",
        },
        Kind {
            name: "router",
            number: 13,
            mounts: "bare",
            setup: "",
        },
    ];

    const UP: [&str; 2] = ["up", "labs/hosts.yaml"];

    /// A desk, and the hosts of the study lab as they were before labctl came.
    struct Site {
        desk: Desk,
        hosts: Vec<Host>,
        before: Vec<BTreeSet<String>>,
    }

    impl Site {
        #[track_caller]
        fn new() -> Self {
            let desk = Desk::new();
            let usual = desk.make_key("id_ed25519");
            let special = desk.make_key("key-of-the-router");
            let hosts: Vec<_> = KINDS
                .into_iter()
                .map(|kind| {
                    let alone = kind.name == "router";
                    Host::start(&desk, kind, if alone { &special } else { &usual })
                })
                .collect();
            let (router, others) = hosts.split_last().expect("hosts");
            let known: String = others.iter().map(Host::known).collect();
            desk.write_ssh("known_hosts", &known);
            desk.write_ssh("hosts-of-the-router", &router.known());
            let config = format!(
                "Host far-away
                   HostName {}
                   User root
                   IdentityFile ~/.ssh/key-of-the-router
                   IdentitiesOnly yes
                   UserKnownHostsFile ~/.ssh/hosts-of-the-router\n",
                router.address()
            );
            desk.write_ssh("config", &config);
            write_lab(&desk, others);
            let before = hosts.iter().map(Host::state).collect();
            Self {
                desk,
                hosts,
                before,
            }
        }

        fn run(&self, args: &[&str]) -> Ran {
            self.desk.run(args)
        }

        /// Asserts that there is nothing of labctl anywhere.
        #[track_caller]
        fn is_as_it_was(&self) {
            for (host, before) in self.hosts.iter().zip(&self.before) {
                host.assert_is(before);
            }
            assert_eq!(self.desk.labs(), Vec::<std::path::PathBuf>::new());
        }
    }

    /// The shipped study lab, on hosts.
    fn write_lab(desk: &Desk, hosts: &[Host]) {
        let shipped = fs::read_to_string(desk.path("labs/study.yaml")).expect("the lab");
        let mut text = shipped.replace("\nnodes:\n", "\nprovider: ssh\nnodes:\n");
        for host in hosts {
            let (node, address) = (host.name(), host.address());
            let line = format!("  {node}: {{");
            text = text.replace(&line, &format!("{line}host: root@{address}, "));
        }
        text = text.replace("  router:\n", "  router:\n    host: far-away\n");
        assert_eq!(text.matches("host: ").count(), KINDS.len(), "{text}");
        fs::write(desk.path("labs/hosts.yaml"), text).expect("write a file");
    }

    #[test]
    fn the_study_lab_on_hosts_that_are_there() {
        let site = Site::new();
        all_checks_hold(&site);
        nothing_is_left_to_do_and_nothing_is_uploaded(&site);
        other_labs_are_refused(&site);
        hosts_are_reached(&site);
        site.run(&["down"]).exits(0).prints("lab study is down");
        site.is_as_it_was();
    }

    fn all_checks_hold(site: &Site) {
        let mut up = UP.to_vec();
        up.push("--check");
        site.run(&up)
            .exits(0)
            .prints("lab study is up: 4 nodes")
            .prints("15 checks: 15 passed");
        site.run(&["check", "--twins"])
            .exits(0)
            .prints("15 checks: 15 passed");
    }

    fn nothing_is_left_to_do_and_nothing_is_uploaded(site: &Site) {
        let installed = || {
            let file = |host: &Host| {
                let file = fs::metadata(host.lib("labctl/bin/labctl")).expect("labctl");
                (file.ino(), file.mtime_nsec(), file.ctime_nsec())
            };
            site.hosts.iter().map(file).collect::<Vec<_>>()
        };
        let before = installed();
        site.run(&UP).exits(0).prints("nothing to do");
        assert_eq!(installed(), before);
    }

    /// Of this user, and the very same lab of another user.
    fn other_labs_are_refused(site: &Site) {
        let now: Vec<_> = site.hosts.iter().map(Host::state).collect();
        let refused = |up: &mut std::process::Command| {
            let up = up.env("XDG_STATE_HOME", "/run/other");
            Ran::from(up.output().expect("nsenter starts"))
                .exits(5)
                .complains("it carries lab study of root@")
                .complains("take that down first");
        };
        refused(
            &mut site
                .desk
                .labctl(&["up", "labs/hosts.yaml", "--name", "other"]),
        );
        let mut elsewhere = site.desk.command("unshare");
        let script =
            "echo elsewhere >/proc/sys/kernel/hostname && exec ~/labctl up labs/hosts.yaml";
        refused(elsewhere.args(["--uts", "sh", "-c", script]));
        for (host, now) in site.hosts.iter().zip(&now) {
            host.assert_is(now);
        }
        let left = site
            .desk
            .command("ls")
            .arg("/run/other/labctl/labs")
            .output();
        assert_eq!(Ran::from(left.expect("nsenter starts")).stdout, "");
        site.run(&["check", "routing"])
            .exits(0)
            .prints("6 checks: 6 passed");
    }

    fn hosts_are_reached(site: &Site) {
        site.run(&["exec", "router", "--", "hostname"])
            .exits(0)
            .prints("router\n");
        site.run(&["ssh", "k8s-w1", "--", "cat", "/etc/hosts"])
            .exits(0)
            .prints("10.9.9.9\tmine")
            .prints("192.168.10.200 router");
    }

    #[test]
    fn a_host_whose_key_was_replaced_is_not_trusted() {
        let site = Site::new();
        site.hosts[1].replace_key();
        site.run(&UP)
            .exits(5)
            .complains("k8s-w1")
            .complains("is not the one on file")
            .complains("known_hosts");
        site.is_as_it_was();
    }

    #[test]
    fn a_host_that_is_not_reached_is_named_and_the_others_are_as_they_were() {
        let site = Site::new();
        let router = &site.hosts[3];
        router.set_cable(&site.desk, "down");
        site.run(&UP)
            .exits(5)
            .complains("router")
            .complains("172.31.0.13");
        router.set_cable(&site.desk, "up");
        site.is_as_it_was();
    }
}
