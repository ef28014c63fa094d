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
/// Namespaces and cgroups are named by this and the benchmark's process.
const PREFIX: &str = "labctl-bench-";

/// A network namespace that goes with this.
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    pub(super) fn new() -> Result<Self> {
        sweep()?;
        let name = format!("{PREFIX}{}", std::process::id());
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
        let name = format!("{PREFIX}{}-{number}", std::process::id());
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
        kill(&self.cgroup)?;
        self.process.wait()?;
        remove(&self.cgroup)
    }
}

fn kill(cgroup: &Path) -> Result<()> {
    std::fs::write(cgroup.join("cgroup.kill"), "1")
        .with_context(|| format!("kill what is in {}", cgroup.display()))
}

/// Removes a cgroup once the last of its processes has gone.
fn remove(cgroup: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = std::fs::remove_dir(cgroup) {
        if Instant::now() > deadline {
            return Err(error).context(cgroup.display().to_string());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Ends the servers and removes the namespaces of benchmarks that were killed.
fn sweep() -> Result<()> {
    for cgroup in of_dead_benchmarks(&cgroups()?)? {
        kill(&cgroup)?;
        remove(&cgroup)?;
    }
    for namespace in of_dead_benchmarks(Path::new("/run/netns"))? {
        let name = namespace.file_name().context("a namespace has a name")?;
        output(command("ip").args(["netns", "delete"]).arg(name))?;
    }
    Ok(())
}

/// What is in `folder` by the name of a process that has gone. Empty where there is no such
/// folder: `ip` makes that of namespaces with the first of them.
fn of_dead_benchmarks(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("read {}", folder.display()))?,
    };
    let mut left = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let process = number.map(|number| number.split_once('-').map_or(number, |(it, _)| it));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            left.push(entry.path());
        }
    }
    Ok(left)
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
