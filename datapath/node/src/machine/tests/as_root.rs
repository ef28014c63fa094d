//! Whole lives of machines. Each boot is a process in namespaces and a cgroup of
//! its own, which runs one of the tests of [`boots`].

mod boots;
mod furnish;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use tempfile::TempDir;

use crate::cgroup::{self, Cgroup};
use crate::process::{self, ChildSetup};

/// What a machine keeps through reboots: `/var/lib`, and its `/etc/hosts`.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let home = folder.path().join("lib/labctl/bin");
        fs::create_dir_all(&home).expect("make");
        fs::write(folder.path().join("hosts"), "127.0.0.1 localhost\n").expect("write");
        Self { folder }
    }

    /// Boots a machine with this disk, and does what the boot of that name does.
    /// The machine loses its power when that is done.
    #[track_caller]
    fn boot(&self, boot: &str) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes namespaces: run it as root"
        );
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let group = format!("labctl-test-{}-machine-{count}", std::process::id());
        let mount = cgroup::mount_point().expect("cgroup2 is mounted");
        let power = Power(Cgroup::at(mount.join(group)));
        power.0.create().expect("create as root");
        let setup = ChildSetup::new()
            .cgroup(&power.0)
            .expect("open")
            .new_session()
            .unshare(
                CloneFlags::CLONE_NEWNET
                    | CloneFlags::CLONE_NEWNS
                    | CloneFlags::CLONE_NEWUTS
                    | CloneFlags::CLONE_NEWCGROUP,
            );
        let said = self.path().join("console");
        let console = fs::File::create(&said).expect("create");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--exact", "--ignored", "--nocapture"])
            .arg(format!("machine::tests::as_root::boots::{boot}"))
            .env("LABCTL_TEST_DISK", self.folder.path())
            .stdin(Stdio::null())
            .stdout(console.try_clone().expect("clone"))
            .stderr(console);
        let mut spawned = process::spawn(command, setup).expect("start");
        let ended = spawned
            .pidfd
            .wait(Instant::now() + Duration::from_secs(120));
        assert!(ended.expect("poll"), "{boot} takes too long");
        let status = spawned.child.wait().expect("reap");
        drop(power);
        let said = fs::read_to_string(&said).expect("read");
        assert!(status.success(), "{boot}: {said}");
        assert!(said.contains("1 passed"), "no boot {boot}: {said}");
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Ends everything of a machine at once when it is dropped.
struct Power(Cgroup);

impl Drop for Power {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait_empty(Instant::now() + Duration::from_secs(20));
        let _ = self.0.remove();
    }
}

#[test]
fn a_node_is_as_planned_and_mended_when_it_is_not() {
    Disk::new().boot("comes_up_and_is_mended");
}

#[test]
fn a_node_comes_back_after_a_reboot() {
    let disk = Disk::new();
    disk.boot("comes_up");
    disk.boot("is_back_after_a_reboot");
}

#[test]
fn a_plan_mends_a_machine_whose_init_does_not_boot_labctl() {
    let disk = Disk::new();
    disk.boot("comes_up");
    disk.boot("is_mended_after_a_reboot");
}

#[test]
fn a_release_leaves_nothing() {
    let disk = Disk::new();
    disk.boot("is_released");
    let left = fs::read_dir(disk.path().join("lib")).expect("list").count();
    assert_eq!(left, 0, "something is left in /var/lib");
    let hosts = fs::read_to_string(disk.path().join("hosts")).expect("read");
    assert_eq!(hosts, "127.0.0.1 localhost\n");
}

#[test]
fn a_release_needs_no_record() {
    let disk = Disk::new();
    disk.boot("is_released_without_a_record");
    let left = fs::read_dir(disk.path().join("lib")).expect("list").count();
    assert_eq!(left, 0, "something is left in /var/lib");
}

#[test]
fn another_lab_is_refused() {
    Disk::new().boot("refuses_another_lab");
}

#[test]
fn what_was_there_before_stays() {
    Disk::new().boot("keeps_what_was_there");
}

#[test]
fn a_server_that_does_not_start_is_told_with_its_log() {
    Disk::new().boot("tells_why_a_server_does_not_start");
}
