//! Kernel features, tried in a namespace without a name, which ends with the trial.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow};
use lab_model::plan::OutsideLink;
use lab_node::namespace;
use lab_node::netlink::{LinkEnd, LinkKind, Netlink, Request};
use lab_node::outside::Outside;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::{Finding, Need};

/// Modules that distributions split off from their kernel.
const MODULES: &str = "apt-get install -y linux-modules-extra-$(uname -r)";

pub(super) fn examine() -> Vec<Need> {
    let (finding, netns) = match namespace::create_unnamed() {
        Ok(netns) => (
            Finding::Ok {
                detail: "created one".to_owned(),
            },
            Some(netns),
        ),
        Err(error) => (
            Finding::Missing {
                detail: error.to_string(),
            },
            None,
        ),
    };
    let mut needs = vec![Need {
        name: "netns",
        why: "each node and each pod is a network namespace",
        mend: "use a kernel with CONFIG_NET_NS",
        finding,
    }];
    needs.extend(netns.iter().flat_map(links));
    needs.extend(netns.iter().map(|netns| Need {
        name: "eBPF",
        why: "masquerading, and what the outside translates, are eBPF programs",
        mend: "apt-get install -y linux-image-amd64   # and reboot: 6.6 and later have all of it",
        finding: found(programs(netns)),
    }));
    needs.push(Need {
        name: "cgroup2",
        why: "what a lab runs is found, and ended, by its cgroup",
        mend: "mount -t cgroup2 none /sys/fs/cgroup   # and Linux 5.14 for cgroup.kill",
        finding: found(cgroup_kill()),
    });
    needs.push(Need {
        name: "bpffs",
        why: "each node keeps its eBPF maps and links in one of its own",
        mend: "use a kernel with CONFIG_BPF_SYSCALL",
        finding: found(bpffs()),
    });
    needs
}

fn links(netns: &OwnedFd) -> Vec<Need> {
    let with = |trial: fn(&mut Netlink) -> Result<String>| {
        Netlink::open_in(netns)
            .map_err(anyhow::Error::from)
            .and_then(|mut netlink| trial(&mut netlink))
    };
    let dummy = match with(dummy) {
        Ok(kind) if kind == LinkKind::Dummy.as_str() => Finding::Ok {
            detail: "dummy".to_owned(),
        },
        Ok(kind) => Finding::Degraded {
            detail: format!("no dummy interfaces: {kind} instead"),
        },
        Err(error) => Finding::Missing {
            detail: format!("{error:#}"),
        },
    };
    vec![
        Need {
            name: "veth",
            why: "the cables between nodes, pods and the segment",
            mend: "modprobe veth",
            finding: found(with(veth)),
        },
        Need {
            name: "bridge",
            why: "the segment that nodes share",
            mend: "modprobe bridge",
            finding: found(with(bridge)),
        },
        Need {
            name: "dummy",
            why: "interfaces of routers that lead nowhere, as loop1 and loop2",
            mend: MODULES,
            finding: dummy,
        },
    ]
}

fn veth(netlink: &mut Netlink) -> Result<String> {
    netlink.execute(&Request::AddVeth {
        end: LinkEnd::named("one"),
        peer: LinkEnd::named("two"),
        master: None,
    })?;
    Ok("created a pair".to_owned())
}

fn bridge(netlink: &mut Netlink) -> Result<String> {
    netlink.execute(&Request::AddLink {
        kind: LinkKind::Bridge,
        end: LinkEnd::named("lab"),
    })?;
    Ok("created one".to_owned())
}

fn dummy(netlink: &mut Netlink) -> Result<String> {
    Ok(netlink
        .add_dummy(&LinkEnd::named("loop1"))?
        .as_str()
        .to_owned())
}

/// Loads programs and attaches them to an interface.
fn programs(netns: &OwnedFd) -> Result<String> {
    let link = OutsideLink {
        interface: "lo".to_owned(),
        address: Ipv4Addr::new(100, 64, 0, 1),
    };
    namespace::in_netns(netns, || Outside::load()?.set_links(&[link]))??;
    Ok("loaded and attached programs".to_owned())
}

/// Makes a cgroup and looks for `cgroup.kill` in it (Linux 5.14).
fn cgroup_kill() -> Result<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
    let root = mounts
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .and_then(|line| line.split(' ').nth(4))
        .ok_or_else(|| anyhow!("no cgroup2 is mounted"))?;
    let trial = Path::new(root).join(format!("labctl-doctor-{}", std::process::id()));
    fs::create_dir(&trial).with_context(|| format!("make a cgroup in {root}"))?;
    let kill = trial.join("cgroup.kill").exists();
    fs::remove_dir(&trial).with_context(|| format!("remove {}", trial.display()))?;
    if kill {
        Ok(root.to_owned())
    } else {
        Err(anyhow!("{root} has no cgroup.kill"))
    }
}

/// Mounts a bpffs in a mount namespace that ends with its thread.
fn bpffs() -> Result<String> {
    let trial = || -> Result<String> {
        unshare(CloneFlags::CLONE_NEWNS).context("create a mount namespace")?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
            .context("make mounts private")?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("bpf"), "/proc", Some("bpf"), flags, None::<&str>).context("mount a bpffs")?;
        Ok("mounted one".to_owned())
    };
    // `unshare(CLONE_NEWNS)` moves the calling thread alone.
    thread::spawn(trial)
        .join()
        .unwrap_or_else(|_| Err(anyhow!("the trial panicked")))
}

fn found(result: Result<String>) -> Finding {
    match result {
        Ok(detail) => Finding::Ok { detail },
        Err(error) => Finding::Missing {
            detail: format!("{error:#}"),
        },
    }
}

#[cfg(test)]
mod tests {
    mod as_root {
        use super::super::*;

        #[test]
        fn a_trial_leaves_nothing_on_the_host() {
            assert!(
                nix::unistd::geteuid().is_root(),
                "this test makes namespaces: run it as root"
            );
            // But those of labs, which come and go beside this test.
            let mounts = || -> Vec<String> {
                let all = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
                let mounts = all.lines().filter(|line| !line.contains("/run/labctl/"));
                mounts.map(str::to_owned).collect()
            };
            let before = mounts();
            for need in examine() {
                assert!(!need.finding.detail().is_empty(), "{need:?}");
            }
            assert_eq!(mounts(), before);
        }
    }
}
