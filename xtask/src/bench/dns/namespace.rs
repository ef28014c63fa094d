//! The network namespace of the benchmark, and servers in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
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
        let mut server = Server::new(process)?;
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

/// A running server, in a cgroup of its own: CPU time of what it forks for a connection is
/// counted too.
pub(super) struct Server {
    process: Child,
    cgroup: PathBuf,
}

impl Server {
    fn new(process: Child) -> Result<Self> {
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("labctl-bench-{}-{number}", std::process::id());
        let cgroup = cgroups()?.join(name);
        std::fs::create_dir(&cgroup).with_context(|| format!("make {}", cgroup.display()))?;
        let server = Self { process, cgroup };
        std::fs::write(
            server.cgroup.join("cgroup.procs"),
            server.process.id().to_string(),
        )
        .context("move the server into its cgroup")?;
        Ok(server)
    }

    /// CPU time so far, seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(self.cgroup.join("cpu.stat"))?;
        let usage = stat
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        Ok(usage.context("no usage_usec")?.parse::<f64>()? / 1e6)
    }

    /// Resident memory of all its processes, MiB.
    pub(super) fn resident_mib(&self) -> Result<f64> {
        let mut kib = 0.0;
        for process in std::fs::read_to_string(self.cgroup.join("cgroup.procs"))?.lines() {
            let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let figure = line.and_then(|line| line.split_whitespace().next());
            kib += figure.context("no VmRSS")?.parse::<f64>()?;
        }
        Ok(kib / 1024.0)
    }

    fn remove(&mut self) -> Result<()> {
        std::fs::write(self.cgroup.join("cgroup.kill"), "1")?;
        self.process.wait()?;
        let deadline = Instant::now() + PATIENCE;
        // Empty once the last of its processes has gone.
        while let Err(error) = std::fs::remove_dir(&self.cgroup) {
            if Instant::now() > deadline {
                return Err(error).context(self.cgroup.display().to_string());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("bench: {error:#}");
        }
    }
}

/// Where cgroup2 is mounted.
fn cgroups() -> Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let point = mount.and_then(|line| line.split(' ').nth(4));
    Ok(point.context("cgroup2 is not mounted")?.into())
}
