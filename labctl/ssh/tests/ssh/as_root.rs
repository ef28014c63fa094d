//! What only root can set up: other users, a full disk, a network without an answer.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab_ssh::{Destination, Session, Source, SshError};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{User, getuid};

use crate::sshd::Sshd;

fn needs_root() {
    assert!(
        getuid().is_root(),
        "this test needs root: it makes users, mounts and namespaces"
    );
}

static ACCOUNTS: AtomicU32 = AtomicU32::new(0);

/// A user of the tests' own, with a shell and without sudo.
struct Account(String);

impl Account {
    fn make() -> Self {
        let number = ACCOUNTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("labssh{}x{number}", std::process::id());
        let made = Command::new("useradd")
            .args([
                "--no-create-home",
                "--home-dir",
                "/",
                "--shell",
                "/bin/sh",
                "--password",
                "*",
            ])
            .arg(&name)
            .status();
        assert!(made.expect("useradd is there").success());
        Self(name)
    }

    /// What the user has in /tmp; one who had the same number may have left something.
    fn files(&self) -> Vec<PathBuf> {
        let user = User::from_name(&self.0).expect("users are readable");
        let uid = user.expect("it was made").uid.as_raw();
        let entries = fs::read_dir("/tmp").expect("readable").flatten();
        let own = entries.filter(|entry| entry.metadata().is_ok_and(|found| found.uid() == uid));
        let mut files: Vec<PathBuf> = own.map(|entry| entry.path()).collect();
        files.sort();
        files
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // Fails while a process of the user is ending; then it stays and its name is told.
        let removed = Command::new("userdel").arg("--force").arg(&self.0).output();
        if !removed.is_ok_and(|output| output.status.success()) && !thread::panicking() {
            panic!("the user {} is left", self.0);
        }
    }
}

#[tokio::test]
async fn a_login_that_cannot_become_root_is_told_how() {
    needs_root();
    let account = Account::make();
    let sshd = Sshd::setup().user(&account.0).start();
    let connected = Session::connect(sshd.destination().with_sudo(), crate::sshd::soon()).await;
    let session = connected.unwrap_or_else(|error| panic!("{error}"));
    let as_login = lab_ssh::Command::new(["id", "-un"]).as_login_user();
    let output = session
        .start(as_login)
        .await
        .expect("it runs")
        .output()
        .await;
    let name = output.expect("it ends").stdout;
    assert_eq!(String::from_utf8_lossy(&name).trim(), account.0);
    let error = session.output(&["id"]).await.expect_err("there is no way");
    assert!(matches!(error, SshError::NoSudo { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("/etc/sudoers.d/labctl"), "{message}");
    let upload = session.upload(Source::Bytes(b"x"), "/etc/labctl-test", 0o600, None);
    let error = upload.await.expect_err("there is no way");
    assert!(matches!(error, SshError::NoSudo { .. }), "{error:?}");
    assert!(!Path::new("/etc/labctl-test").exists());
    session.close().await;
    drop(sshd);
}

/// A sudo that lets everyone, as far as SSH is concerned: it drops its options and runs the rest.
fn permissive_sudo(sshd: &Sshd) {
    let sudo = sshd.path("sudo");
    let script = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n";
    fs::write(&sudo, script).expect("writable");
    fs::set_permissions(&sudo, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
}

#[tokio::test]
async fn files_of_root_go_through_a_folder_of_the_login() {
    needs_root();
    let account = Account::make();
    let before = account.files();
    let folder = tempfile::tempdir().expect("a folder");
    let path = format!("SetEnv PATH={}:/usr/bin:/bin", folder.path().display());
    let sshd = Sshd::setup().user(&account.0).option(&path).start();
    permissive_sudo(&sshd);
    fs::rename(sshd.path("sudo"), folder.path().join("sudo")).expect("moved");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(folder.path(), open).expect("ours");
    let connected = Session::connect(sshd.destination().with_sudo(), crate::sshd::soon()).await;
    let session = connected.unwrap_or_else(|error| panic!("{error}"));
    let there = folder.path().join("there");
    let there = there.to_str().expect("UTF-8");
    let upload = session.upload(Source::Bytes(b"hello"), there, 0o640, None);
    upload.await.unwrap_or_else(|error| panic!("{error}"));
    let metadata = fs::metadata(there).expect("it is there");
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    let back = folder.path().join("back");
    let download = session.download(there, &back, None).await;
    download.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(fs::read(&back).expect("readable"), b"hello");
    assert_eq!(
        account.files(),
        before,
        "nothing of the login is left in /tmp"
    );
    session.close().await;
    drop(sshd);
}

/// A small tmpfs, unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let size = Some("size=1m,mode=0777");
        let mounted = mount(
            Some("tmpfs"),
            folder.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            size,
        );
        mounted.expect("root may mount");
        Self(folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        umount2(self.0.path(), MntFlags::MNT_DETACH).expect("it is mounted");
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_the_partial_file_removed() {
    needs_root();
    let disk = Disk::make();
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let path = disk.0.path().join("big");
    let bytes = vec![7; 8 << 20];
    let upload = session.upload(
        Source::Bytes(&bytes),
        path.to_str().expect("UTF-8"),
        0o600,
        None,
    );
    let error = upload.await.expect_err("it does not fit");
    assert!(matches!(error, SshError::DiskFull { .. }), "{error:?}");
    let message = error.to_string();
    assert!(
        message.contains("no space left on the device, 8388608 bytes needed"),
        "{message}"
    );
    assert!(message.contains(path.to_str().expect("UTF-8")), "{message}");
    assert_eq!(fs::read_dir(disk.0.path()).expect("readable").count(), 0);
}

/// Connects from a network namespace of its own, after `ip` was run there with each of
/// `arguments`.
fn connect_from_nowhere(arguments: &'static [&'static [&'static str]]) -> SshError {
    let apart = thread::spawn(move || {
        // Only this thread enters it; it ends with the thread.
        unshare(CloneFlags::CLONE_NEWNET).expect("root may");
        for arguments in arguments {
            let done = Command::new("ip").args(*arguments).status();
            assert!(done.expect("iproute2 is there").success(), "{arguments:?}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let deadline = Instant::now() + Duration::from_millis(300);
        let destination = Destination::new("k8s-w1", "lab", "192.0.2.10", 22);
        let connected = Session::connect(destination, deadline);
        runtime.expect("a runtime").block_on(connected)
    });
    apart
        .join()
        .expect("no panic")
        .expect_err("nobody is there")
}

#[test]
fn an_address_without_a_route_is_unreachable() {
    needs_root();
    let error = connect_from_nowhere(&[]);
    assert!(matches!(error, SshError::Unreachable { .. }), "{error:?}");
    assert!(
        error.to_string().contains("Network is unreachable"),
        "{error}"
    );
}

#[test]
fn an_address_that_never_answers_is_unreachable() {
    needs_root();
    // A veth whose other end is a namespace's that answers nothing.
    let error = connect_from_nowhere(&[
        &["link", "add", "near", "type", "veth", "peer", "name", "far"],
        &["address", "add", "192.0.2.1/24", "dev", "near"],
        &["link", "set", "near", "up"],
        &["link", "set", "far", "up"],
        &[
            "neighbour",
            "add",
            "192.0.2.10",
            "lladdr",
            "02:00:00:00:00:10",
            "dev",
            "near",
        ],
    ]);
    assert!(matches!(error, SshError::Unreachable { .. }), "{error:?}");
    assert!(
        error.to_string().contains("no answer (tried for 0.3 s)"),
        "{error}"
    );
}
