//! Hosts that labctl did not make, each with Debian's sshd.
//!
//! ```text
//! eth0   10.0.2.15/24, the default route leads to 10.0.2.2, a namespace of its own
//! eth1   on the lab's segment
//! mgmt0  172.31.0.N/24, on the desk's segment
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::desk::{Desk, batch, new_key};
use crate::user::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);

const HOST_KEY: &str = "ssh/ssh_host_ed25519_key";

/// Debian's, but for what a host without its own accounts cannot use.
const SSHD_CONFIG: &str = "\
ListenAddress 0.0.0.0
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
KbdInteractiveAuthentication no
UsePAM no
PidFile none
Subsystem sftp /usr/lib/openssh/sftp-server
";

/// What a host is to be like.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Last part of its address at the desk.
    pub(crate) number: u8,
    /// `furnished` with the mounts that systemd makes, or `bare`.
    pub(crate) mounts: &'static str,
    /// Lines of ip(8), once it has its interfaces.
    pub(crate) setup: &'static str,
}

/// A host that runs until dropped.
pub(crate) struct Host {
    kind: Kind,
    folder: tempfile::TempDir,
    cgroup: PathBuf,
    /// unshare(1); its child is process 1 of the host.
    unshare: Child,
    init: i32,
}

impl Host {
    /// A host connected to the desk, which `authorized` opens, and which the desk does
    /// not know yet.
    pub(crate) fn start(desk: &Desk, kind: Kind, authorized: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::Builder::new()
            .prefix("host-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a folder");
        let own = |name: &str| folder.path().join(name);
        for folder in ["lib", "ssh", "home/.ssh"] {
            fs::create_dir_all(own(folder)).expect("a folder");
        }
        fs::write(own("hosts"), "127.0.0.1\tlocalhost\n10.9.9.9\tmine\n").expect("write");
        fs::write(own("home/.ssh/authorized_keys"), authorized).expect("write");
        new_key(&own(HOST_KEY));
        fs::write(own("ssh/sshd_config"), SSHD_CONFIG).expect("write");
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let group = format!("labctl-test-{}-host-{count}", std::process::id());
        let cgroup = cgroup2().join(group);
        fs::create_dir(&cgroup).expect("make a cgroup as root");
        let log = fs::File::create(own("log")).expect("a log");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ssh_hosts/host.sh");
        let unshare = Command::new("sh")
            .args([script.as_path(), &cgroup, folder.path()])
            .args([kind.name, kind.mounts])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("a shell starts");
        let mut host = Self {
            kind,
            folder,
            cgroup,
            unshare,
            init: 0,
        };
        wait_until("sshd listens", PATIENCE, || {
            host.log().contains("Server listening on 0.0.0.0")
        });
        let parent = host.unshare.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let init = children.expect("unshare runs");
        host.init = init.trim().parse().expect("unshare has one child");
        host.connect(desk);
        host
    }

    fn connect(&self, desk: &Desk) {
        let (Kind { name, number, .. }, init) = (self.kind, self.init);
        desk.ip(&format!(
            "netns add gate-{name}
             link add eth0 netns gate-{name} type veth peer name eth0 netns {init}
             link add eth1-{name} master lab up type veth peer name eth1 netns {init}
             link add mgmt-{name} master mgmt up type veth peer name mgmt0 netns {init}"
        ));
        desk.ip_in(
            &format!("gate-{name}"),
            "addr add 10.0.2.2/24 dev eth0\nlink set eth0 up\n",
        );
        self.ip(&format!(
            "addr add 172.31.0.{number}/24 dev mgmt0
             link set mgmt0 up
             addr add 10.0.2.15/24 dev eth0
             link set eth0 up
             route add default via 10.0.2.2 dev eth0
             {}",
            self.kind.setup
        ));
        // The kernel tells of carriers a moment after both ends of a cable are up.
        wait_until("all carriers are there", PATIENCE, || {
            let links = self.command("ip").args(["link", "show", "up"]).output();
            let links = links.expect("nsenter starts").stdout;
            !String::from_utf8_lossy(&links).contains("NO-CARRIER")
        });
    }

    /// The node that it is to be.
    pub(crate) const fn name(&self) -> &'static str {
        self.kind.name
    }

    /// Its address at the desk.
    pub(crate) fn address(&self) -> String {
        format!("172.31.0.{}", self.kind.number)
    }

    /// The line of a `known_hosts` file about it.
    pub(crate) fn known(&self) -> String {
        let key = fs::read_to_string(self.path(HOST_KEY).with_extension("pub")).expect("a key");
        format!("{} {key}", self.address())
    }

    /// Gives it another host key, as when it is installed anew.
    pub(crate) fn replace_key(&self) {
        fs::remove_file(self.path(HOST_KEY)).expect("a key");
        new_key(&self.path(HOST_KEY));
        let listening = || self.log().matches("Server listening on 0.0.0.0").count();
        let before = listening();
        kill(Pid::from_raw(self.init), Signal::SIGHUP).expect("sshd is ours");
        wait_until("sshd listens again", PATIENCE, || listening() > before);
    }

    /// Plugs its cable to the desk in or out.
    pub(crate) fn set_cable(&self, desk: &Desk, state: &str) {
        desk.ip(&format!("link set mgmt-{} {state}\n", self.kind.name));
    }

    /// A file of the host's `/var/lib`.
    pub(crate) fn lib(&self, name: &str) -> PathBuf {
        self.path("lib").join(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    #[track_caller]
    fn ip(&self, lines: &str) {
        batch(self.command("ip"), lines);
    }

    /// Any program in the namespaces of the host, and in no cgroup of its.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--mount", "--uts", "--pid", "--target"])
            .arg(self.init.to_string())
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Everything of the host that labs could change, a line each.
    pub(crate) fn state(&self) -> BTreeSet<String> {
        const LOOKS: [&[&str]; 12] = [
            &["hostname"],
            &["cat", "/etc/hosts"],
            &["ip", "-brief", "link"],
            &["ip", "-brief", "-4", "address"],
            &["ip", "-4", "route", "show", "table", "all"],
            &["ip", "rule"],
            &["ip", "neighbour", "show", "nud", "permanent"],
            &["tc", "qdisc", "show"],
            &["find", "/var/lib", "/run", "/sys/fs/bpf"],
            &["find", "/sys/fs/cgroup", "-maxdepth", "2", "-type", "d"],
            // Not those of labs in namespaces beside this one, which come and go.
            &[
                "awk",
                "$2 !~ \"^/run/labctl/\" { $1 = $2 = $3 = \"\"; print }",
                "/proc/mounts",
            ],
            &[
                "grep",
                "-rs",
                "",
                "/proc/sys/net/ipv4/ip_forward",
                "/proc/sys/net/ipv4/conf",
            ],
        ];
        let mut state = BTreeSet::new();
        for look in LOOKS {
            let output = self.command(look[0]).args(&look[1..]).output();
            let output = output.expect("nsenter starts").stdout;
            let lines = String::from_utf8_lossy(&output).into_owned();
            // An interface has this from the first time that it is up, and keeps it.
            let lines = lines.lines().filter(|line| !line.contains("qdisc noqueue"));
            state.extend(lines.map(|line| format!("{}: {line}", look.join(" "))));
        }
        state.extend(self.processes());
        state
    }

    /// Its processes, by their cgroups.
    fn processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.cgroup.clone()];
        while let Some(folder) = folders.pop() {
            let pids = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            let what = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cmdline"));
            let told = |pid| {
                Some(format!(
                    "process {pid} {}",
                    what(pid).ok()?.replace('\0', " ")
                ))
            };
            found.extend(pids.lines().filter_map(told));
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            folders.extend(entries.map(|it| it.path()).filter(|path| path.is_dir()));
        }
        found
    }

    /// Asserts that the host is as it was; what connections leave may take a moment.
    #[track_caller]
    pub(crate) fn assert_is(&self, before: &BTreeSet<String>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.state();
            if now == *before {
                return;
            }
            let new: Vec<_> = now.difference(before).collect();
            let gone: Vec<_> = before.difference(&now).collect();
            let name = self.kind.name;
            assert!(
                Instant::now() < deadline,
                "{name} has {new:#?} and no longer has {gone:#?}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // All processes of its namespaces end with the first, and that with unshare(1).
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        if std::thread::panicking() {
            eprintln!("{}: {}", self.kind.name, self.log());
        }
        let deadline = Instant::now() + PATIENCE;
        while fs::remove_dir(&self.cgroup).is_err() && Instant::now() < deadline {
            remove_children(&self.cgroup);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn remove_children(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_children(&entry.path());
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Where the machine that runs the tests has cgroup2.
fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let mut fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let found = fields.find(|line| line.get(2) == Some(&"cgroup2"));
    PathBuf::from(found.expect("cgroup2 is mounted")[1])
}
