//! Where labctl is run: a network namespace with the segments that hosts are connected
//! to, and a user who has never used labctl.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::lab::{Ran, root};
use crate::user::{copy_for_all, wait_until};

/// Bridges: of the lab, and of the addresses that hosts are reached at.
const SEGMENTS: &str = "
link set lo up
link add lab type bridge
link set lab up
link add mgmt type bridge
link set mgmt up
addr add 172.31.0.1/24 dev mgmt
";

/// The namespaces, and root's home in them.
pub(crate) struct Desk {
    home: tempfile::TempDir,
    /// Where that is mounted: `ssh` asks the password database, not the environment.
    mounted: PathBuf,
    /// Process that holds the namespaces.
    holder: Child,
}

impl Desk {
    /// Needs root.
    #[track_caller]
    pub(crate) fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes namespaces and loads eBPF programs: run it as root"
        );
        let home = tempfile::Builder::new()
            .prefix("desk-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a folder");
        let labctl = assert_cmd::cargo::cargo_bin!("labctl");
        fs::copy(labctl, home.path().join("labctl")).expect("copy labctl");
        for folder in ["labs", "checks"] {
            copy_for_all(&root().join(folder), &home.path().join(folder));
        }
        let account = nix::unistd::User::from_uid(nix::unistd::getuid());
        let mounted = account.expect("accounts").expect("root's account").dir;
        let holder = Command::new("unshare")
            .args(["--net", "--mount", "sh"])
            .arg(root().join("tests/ssh_hosts/desk.sh"))
            .arg(home.path())
            .arg(&mounted)
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare starts (util-linux)");
        let desk = Self {
            home,
            mounted,
            holder,
        };
        let ready = desk.home.path().join("ready");
        wait_until("the desk is there", Duration::from_secs(20), || {
            ready.exists()
        });
        desk.ip(SEGMENTS);
        desk
    }

    /// A file in the user's home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file of the user's `~/.ssh`.
    pub(crate) fn write_ssh(&self, name: &str, text: &str) {
        let path = self.path(".ssh").join(name);
        fs::write(&path, text).expect("write a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
    }

    /// Makes a key in the user's `~/.ssh`, and returns the line of its public half.
    pub(crate) fn make_key(&self, name: &str) -> String {
        let folder = self.path(".ssh");
        fs::create_dir_all(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("ours");
        new_key(&folder.join(name))
    }

    /// Any program at the desk, in the user's home.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--mount", "--target"])
            .arg(self.holder.id().to_string())
            .args(["env", "-C"])
            .arg(&self.mounted)
            .arg(program)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.mounted);
        command
    }

    /// `labctl` with arguments, not started.
    pub(crate) fn labctl(&self, args: &[&str]) -> Command {
        let mut command = self.command(self.mounted.join("labctl"));
        command.args(args);
        command
    }

    /// Runs `labctl` on the desk's lab to its end: other tests' labs may be up beside it.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let mut labctl = self.labctl(args);
        labctl.env("LABCTL_LAB", "study");
        Ran::from(labctl.output().expect("nsenter starts"))
    }

    /// Runs lines of ip(8).
    #[track_caller]
    pub(crate) fn ip(&self, lines: &str) {
        batch(self.command("ip"), lines);
    }

    /// Runs lines of ip(8) in a namespace that has a name at the desk.
    #[track_caller]
    pub(crate) fn ip_in(&self, namespace: &str, lines: &str) {
        let mut ip = self.command("ip");
        ip.args(["-netns", namespace]);
        batch(ip, lines);
    }

    /// What there is of labs.
    pub(crate) fn labs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path(".local/state/labctl/labs"));
        let entries = entries.into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Its namespaces go with it.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Has `ip`, a command that is ip(8), run lines.
#[track_caller]
pub(crate) fn batch(mut ip: Command, lines: &str) {
    ip.args(["-batch", "-"]).stdin(Stdio::piped());
    let mut ip = ip.spawn().expect("nsenter starts");
    let mut stdin = ip.stdin.take().expect("piped");
    stdin.write_all(lines.as_bytes()).expect("ip reads");
    drop(stdin);
    assert!(ip.wait().expect("ip is ours").success(), "ip: {lines}");
}

/// Makes a key that was not there, and returns the line of its public half.
pub(crate) fn new_key(path: &Path) -> String {
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path);
    let made = keygen.status().expect("openssh-client is installed");
    assert!(made.success(), "ssh-keygen: {made}");
    fs::read_to_string(path.with_extension("pub")).expect("a key")
}
