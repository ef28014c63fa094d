//! The builder for labs on virtual machines: an ordinary user with a home of its own.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{Ran, root};

/// `nobody`: an ordinary user that every system has.
const NOBODY: u32 = 65534;

/// An ordinary user. Run as root, the tests become `nobody`; else they are whoever
/// runs them. Everything that labctl keeps is in a folder of the test's own.
pub(crate) struct User {
    home: tempfile::TempDir,
    labctl: PathBuf,
    uid: Option<u32>,
}

impl User {
    /// A user who has never used labctl.
    pub(crate) fn new() -> Self {
        // In the target folder there is room for images; /tmp may be memory.
        let home = tempfile::Builder::new()
            .prefix("user-")
            .tempdir_in(roomy())
            .expect("a folder");
        let labctl = home.path().join("labctl");
        // The target folder may be closed to others.
        std::fs::copy(assert_cmd::cargo::cargo_bin!("labctl"), &labctl).expect("copy labctl");
        let uid = nix::unistd::geteuid().is_root().then_some(NOBODY);
        if let Some(uid) = uid {
            std::os::unix::fs::chown(home.path(), Some(uid), Some(uid)).expect("chown");
        }
        for folder in ["labs", "checks"] {
            copy_for_all(&root().join(folder), &home.path().join(folder));
        }
        Self { home, labctl, uid }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Any program as this user.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("TMPDIR", self.home())
            .current_dir(self.home());
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// `labctl` with arguments, not started.
    pub(crate) fn labctl(&self, args: &[&str]) -> Command {
        let mut command = self.command(&self.labctl);
        command.args(args);
        command
    }

    /// Runs `labctl` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.labctl(args).output().expect("labctl starts"))
    }

    /// This user's processes whose arguments name the user's home.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let home = self.home().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
                continue;
            };
            let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            if arguments.contains(&home) {
                found.push((pid, arguments));
            }
        }
        found
    }

    /// What there is of labs: files, and processes.
    pub(crate) fn left(&self) -> Vec<String> {
        let labs = self.home().join(".local/state/labctl/labs");
        let mut left: Vec<String> = std::fs::read_dir(&labs)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().display().to_string())
            .collect();
        let processes = self.processes();
        left.extend(
            processes
                .into_iter()
                .map(|(pid, what)| format!("{pid} {what}")),
        );
        left
    }

    /// The process of a node's machine, if there is one.
    pub(crate) fn machine(&self, lab: &str, node: &str) -> Option<i32> {
        let folder = format!("labs/{lab}/nodes/{node}");
        let name = format!("labctl:{lab}:{node}");
        let is_it = |what: &str| what.contains(&folder) || what.contains(&name);
        let mut processes = self.processes().into_iter();
        let found = processes.find(|(_, what)| what.contains("qemu-system") && is_it(what));
        found.map(|(pid, _)| pid)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let down = self.run(&["down", "--all", "--quiet"]);
        let left = self.left();
        if !left.is_empty() && !std::thread::panicking() {
            panic!("labctl down --all left {left:?}: {}", down.stderr);
        }
    }
}

/// Waits until `done`; says what it waited for when that takes longer than `patience`.
#[track_caller]
pub(crate) fn wait_until(what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not after {patience:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn roomy() -> &'static Path {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // Its parents must let an ordinary user through.
    let open = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).map(|it| it.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o001 != 0)
    };
    if target.ancestors().all(open) {
        target
    } else {
        Path::new("/var/tmp")
    }
}

pub(crate) fn copy_for_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a folder");
    for entry in std::fs::read_dir(from).expect("a folder of the repository") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            let text = std::fs::read(entry.path()).expect("a file");
            std::fs::write(to.join(entry.file_name()), text).expect("write a file");
        }
    }
}
