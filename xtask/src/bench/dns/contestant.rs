//! Who answers: ours, the peers that are installed, and the floor. All forward to the
//! upstream, on one thread, with a cache that is large enough.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::super::lab::release;
use super::namespace::UPSTREAM;

/// Name of ours in the tables.
pub(super) const OURS: &str = "labctl dns";

/// A server, and how it is started.
pub(super) struct Contestant {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) words: Vec<String>,
    /// Whether it answers over TCP.
    pub(super) tcp: bool,
}

/// Writes configurations into `folder`; peers that are not installed are named and left out.
pub(super) fn contestants(folder: &Path, traffic: &Path) -> Result<Vec<Contestant>> {
    let mut contestants = vec![
        ours(folder)?,
        in_kernel(folder)?,
        unbound(folder)?,
        dnsmasq(),
        knot_resolver(folder)?,
        pdns_recursor(folder)?,
    ];
    contestants.retain(|contestant| {
        let there = contestant.program.exists();
        if !there {
            eprintln!("bench: dns: {} is not installed", contestant.name);
        }
        there
    });
    contestants.push(Contestant {
        name: "recvmmsg, sendmmsg",
        program: traffic.to_owned(),
        words: vec!["dns-floor".to_owned(), "127.0.0.1:53".to_owned()],
        tcp: false,
    });
    Ok(contestants)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    let path = path.to_str().context("the temporary folder is not UTF-8")?;
    Ok(path.to_owned())
}

fn ours(folder: &Path) -> Result<Contestant> {
    let config = write(
        folder,
        "Corefile",
        &format!(
            ".:53 {{\n    bind 127.0.0.1\n    cache 3600 {{\n        success 20000\n    }}\n    \
             forward . {UPSTREAM}\n}}\n"
        ),
    )?;
    Ok(Contestant {
        name: OURS,
        program: release("labctl"),
        words: ["dns", "--conf", &config].map(str::to_owned).to_vec(),
        tcp: true,
    })
}

/// Ours, with names that are asked often answered by the kernel.
fn in_kernel(folder: &Path) -> Result<Contestant> {
    let mut contestant = ours(folder)?;
    contestant.name = "labctl dns, kernel";
    let words = ["--answer-in-kernel", "lo"];
    contestant.words.extend(words.map(str::to_owned));
    Ok(contestant)
}

fn unbound(folder: &Path) -> Result<Contestant> {
    let config = write(
        folder,
        "unbound.conf",
        &format!(
            "server:\n  interface: 127.0.0.1\n  username: \"\"\n  chroot: \"\"\n  directory: \"\"\n  \
             pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  num-threads: 1\n  \
             module-config: iterator\n  msg-cache-size: 32m\n  rrset-cache-size: 64m\n  \
             so-rcvbuf: 4m\n  outgoing-range: 4096\n  num-queries-per-thread: 2048\n  incoming-num-tcp: 100\n\
             remote-control:\n  control-enable: no\n\
             forward-zone:\n  name: .\n  forward-addr: {UPSTREAM}\n"
        ),
    )?;
    Ok(Contestant {
        name: "unbound",
        program: "/usr/sbin/unbound".into(),
        words: ["-d", "-p", "-c", &config].map(str::to_owned).to_vec(),
        tcp: true,
    })
}

fn dnsmasq() -> Contestant {
    Contestant {
        name: "dnsmasq",
        program: "/usr/sbin/dnsmasq".into(),
        // 10 000 is the most that it takes.
        words: [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--user=root",
            "--pid-file=",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--no-resolv",
            "--no-hosts",
            "--cache-size=10000",
            "--dns-forward-max=4096",
            &format!("--server={UPSTREAM}"),
        ]
        .map(str::to_owned)
        .to_vec(),
        tcp: true,
    }
}

fn knot_resolver(folder: &Path) -> Result<Contestant> {
    let run = folder.join("kresd");
    std::fs::create_dir(&run).context("make a folder for kresd")?;
    let config = write(
        folder,
        "kresd.conf",
        &format!(
            "net.listen('127.0.0.1', 53, {{ kind = 'dns' }})\ntrust_anchors.remove('.')\n\
             cache.size = 100 * MB\nmodules = {{ 'policy' }}\n\
             policy.add(policy.all(policy.FORWARD({{'{UPSTREAM}'}})))\n"
        ),
    )?;
    let run = run.to_str().context("the temporary folder is not UTF-8")?;
    Ok(Contestant {
        name: "knot-resolver",
        program: "/usr/sbin/kresd".into(),
        words: ["-n", "-q", "-c", &config, run].map(str::to_owned).to_vec(),
        tcp: true,
    })
}

fn pdns_recursor(folder: &Path) -> Result<Contestant> {
    let run = folder.join("pdns");
    std::fs::create_dir(&run).context("make a folder for pdns_recursor")?;
    let run = run.to_str().context("the temporary folder is not UTF-8")?;
    write(
        folder,
        "pdns/recursor.conf",
        &format!(
            "local-address=127.0.0.1\nlocal-port=53\nthreads=1\npdns-distributes-queries=no\n\
             dnssec=off\nsecurity-poll-suffix=\nsocket-dir={run}\nforward-zones-recurse=.={UPSTREAM}\n\
             max-cache-ttl=3600\npacketcache-ttl=3600\nmax-packetcache-entries=100000\n\
             hint-file=no\ndisable-syslog=yes\nquiet=yes\nmax-tcp-clients=1000\n\
             max-tcp-per-client=0\n"
        ),
    )?;
    Ok(Contestant {
        name: "pdns-recursor",
        program: "/usr/sbin/pdns_recursor".into(),
        words: vec![format!("--config-dir={run}"), "--daemon=no".to_owned()],
        tcp: true,
    })
}
