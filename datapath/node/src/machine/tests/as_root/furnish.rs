//! The hardware and the disk of a machine under test, and its labctl.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::super::net;
use crate::agent::{self, AgentOptions};
use crate::machine::HOME;
use crate::netlink::{LinkChange, LinkEnd, Netlink, Request, Route, Scope, protocol};

/// Makes the machine what its disk and its hardware are. The mounts are this
/// process's own, as are its interfaces.
pub(super) fn furnish() {
    let disk = PathBuf::from(std::env::var_os("LABCTL_TEST_DISK").expect("run by as_root"));
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).expect("mount");
    let bind = |name: &str, target: &str| {
        mount(Some(&disk.join(name)), target, none, MsFlags::MS_BIND, none).expect("bind");
    };
    bind("lib", "/var/lib");
    bind("hosts", "/etc/hosts");
    for (kind, target) in [("tmpfs", "/run"), ("sysfs", "/sys")] {
        mount(Some(kind), target, Some(kind), MsFlags::empty(), none).expect("mount");
    }
    write_program(&Path::new(HOME).join("bin/labctl"));
    give_interfaces();
}

/// `eth0` as its DHCP client leaves it, and an `eth1` that nobody has set up.
fn give_interfaces() {
    let mut netlink = Netlink::open().expect("open");
    let veth = |name: &str| Request::AddVeth {
        end: LinkEnd::named(format!("{name}-wire")),
        master: None,
        peer: LinkEnd::named(name),
    };
    let made = [up("lo"), veth("eth0"), veth("eth1"), up("eth0")];
    netlink.execute_all(&made).expect("make");
    let device = netlink.index_of("eth0").expect("ask").expect("eth0");
    let address = Request::AddAddress {
        device,
        address: net("10.0.2.15/24"),
        scope: Scope::Universe,
    };
    let way_out = Route::via(net("0.0.0.0/0"), [10, 0, 2, 2].into());
    let way_out = Request::AddRoute(way_out.device(device).protocol(protocol::DHCP));
    netlink.execute_all(&[address, way_out]).expect("eth0");
}

pub(super) fn up(name: &str) -> Request<'static> {
    Request::SetLink {
        name: name.to_owned(),
        change: LinkChange::up(),
    }
}

/// A program that is [`labctl`] below.
fn write_program(path: &Path) {
    let test = std::env::current_exe().expect("this program");
    let script = format!(
        "#!/bin/sh\nLABCTL_TEST_ARGUMENTS=\"$*\" exec {} --exact --ignored --nocapture \
         machine::tests::as_root::furnish::labctl\n",
        test.display()
    );
    fs::create_dir_all(path.parent().expect("a folder")).expect("make");
    fs::write(path, script).expect("write");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
}

#[test]
#[ignore = "is labctl to the boots"]
fn labctl() {
    let arguments = std::env::var("LABCTL_TEST_ARGUMENTS").expect("run as labctl");
    let arguments: Vec<_> = arguments.split(' ').collect();
    let ready = || {
        let at = arguments.iter().position(|it| *it == "--ready-fd");
        let fd = arguments[at.expect("--ready-fd") + 1];
        let path = format!("/proc/self/fd/{fd}");
        fs::OpenOptions::new().write(true).open(path).expect("open")
    };
    match arguments[..2] {
        ["node", "--dir"] => {
            let dir = PathBuf::from(arguments[2]);
            let mut options = AgentOptions::new(dir, "/sys/fs/bpf".into()).expect("cgroup2");
            options.ready = Some(ready().into());
            options.labctl = Path::new(HOME).join("bin/labctl");
            agent::run(options).unwrap_or_else(|error| panic!("failed to {error}"));
        }
        ["app", "http"] if arguments[3] == "1" => {
            eprintln!("error: port 1 is taken");
            std::process::exit(5);
        }
        ["app", kind] => {
            if kind != "netshoot" {
                ready().write_all(b"\n").expect("tell");
            }
            loop {
                nix::unistd::pause();
            }
        }
        _ => panic!("not what labctl would be asked: {arguments:?}"),
    }
}
