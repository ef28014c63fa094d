//! The network namespace of the benchmark, and servers in it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::contestant::Contestant;
use crate::command::{command, output};

/// The core of the server.
const SERVERS_CORE: &str = "0";
/// The core of everything else.
const CLIENTS_CORE: &str = "1";
/// The upstream, which is on the loopback interface as all is.
pub(super) const UPSTREAM: &str = "192.0.2.1";
const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace that goes with this.
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    pub(super) fn new() -> Result<Self> {
        let name = format!("labctl-bench-{}", std::process::id());
        output(command("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        for words in [
            &["link", "set", "lo", "up"][..],
            &["address", "add", UPSTREAM, "dev", "lo"],
        ] {
            output(namespace.run("ip").args(words))?;
        }
        Ok(namespace)
    }

    fn run(&self, program: &str) -> Command {
        let mut inside = command("ip");
        inside.args(["netns", "exec", &self.name, program]);
        inside
    }

    /// A command on the clients' core.
    pub(super) fn client(&self, program: &Path) -> Command {
        let mut client = self.run("taskset");
        client.args(["-c", CLIENTS_CORE]).arg(program);
        client
    }

    /// nsd with the zone of the names.
    pub(super) fn upstream(&self, folder: &Path) -> Result<Server> {
        let config = folder.join("nsd.conf");
        let folder = folder.display();
        std::fs::write(
            &config,
            format!(
                "server:\n  ip-address: {UPSTREAM}\n  username: \"\"\n  chroot: \"\"\n  \
                 zonesdir: \"{folder}\"\n  database: \"\"\n  pidfile: \"{folder}/nsd.pid\"\n  \
                 xfrdfile: \"{folder}/xfrd.state\"\n  zonelistfile: \"{folder}/zone.list\"\n  \
                 logfile: \"{folder}/nsd.log\"\n  server-count: 1\n  rrl-ratelimit: 0\n\
                 remote-control:\n  control-enable: no\n\
                 zone:\n  name: bench\n  zonefile: zone\n"
            ),
        )?;
        let mut nsd = self.client(Path::new("/usr/sbin/nsd"));
        nsd.args(["-d", "-c"]).arg(&config);
        self.wait_for(spawn(nsd)?, UPSTREAM)
    }

    /// A contestant, answering.
    pub(super) fn start(&self, contestant: &Contestant) -> Result<Server> {
        let mut server = self.run("taskset");
        server
            .args(["-c", SERVERS_CORE])
            .arg(&contestant.program)
            .args(&contestant.words);
        self.wait_for(spawn(server)?, "127.0.0.1")
    }

    fn wait_for(&self, process: Child, address: &str) -> Result<Server> {
        let mut server = Server { process };
        let deadline = Instant::now() + PATIENCE;
        let at = format!("@{address}");
        while Instant::now() < deadline {
            let words = [
                &at,
                "+time=1",
                "+tries=1",
                "+noall",
                "+answer",
                "+noedns",
                "n0.bench.",
                "A",
            ];
            let asked = output(self.run("dig").args(words));
            if asked.is_ok_and(|answer| answer.contains("198.18.0.0")) {
                return Ok(server);
            }
            if let Some(status) = server.process.try_wait()? {
                bail!("it ended with {status}");
            }
        }
        bail!("it does not answer within {PATIENCE:?}")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = output(command("ip").args(["netns", "delete", &self.name])) {
            eprintln!("bench: {error:#}");
        }
    }
}

fn spawn(mut program: Command) -> Result<Child> {
    program
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to start it")
}

/// A running server: `ip netns exec` and `taskset` become it, so the process is its own.
pub(super) struct Server {
    process: Child,
}

impl Server {
    /// CPU time of its threads so far, seconds; those of its children too.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let mut nanoseconds = 0.0;
        for process in self.processes()? {
            for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
                let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
                let first = text.split(' ').next().context("schedstat is empty")?;
                nanoseconds += first.parse::<f64>().context("schedstat")?;
            }
        }
        Ok(nanoseconds / 1e9)
    }

    /// Resident memory, MiB.
    pub(super) fn resident_mib(&self) -> Result<f64> {
        let mut kib = 0.0;
        for process in self.processes()? {
            let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let figure = line.and_then(|line| line.split_whitespace().next());
            kib += figure.context("no VmRSS")?.parse::<f64>()?;
        }
        Ok(kib / 1024.0)
    }

    fn processes(&self) -> Result<Vec<String>> {
        let id = self.process.id();
        let mut processes = vec![id.to_string()];
        for thread in std::fs::read_dir(format!("/proc/{id}/task"))? {
            let children = std::fs::read_to_string(thread?.path().join("children"))?;
            processes.extend(children.split_whitespace().map(str::to_owned));
        }
        Ok(processes)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let children = self.processes().unwrap_or_default();
        // It may have ended of itself; then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
        for child in children.iter().skip(1).filter_map(|id| id.parse().ok()) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(child),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
}
