//! Files: whole or not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use lab_ssh::{Source, SshError};

use crate::sshd::Sshd;

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("test folders have UTF-8 names")
}

#[tokio::test]
async fn a_file_goes_up_and_down_whole_with_its_mode() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let bytes: Vec<u8> = (0..5_000_003_u32).map(|n| (n / 7) as u8).collect();
    let (here, there, back) = (sshd.path("here"), sshd.path("there"), sshd.path("back"));
    fs::write(&here, &bytes).expect("writable");
    fs::write(&there, "what was there before").expect("writable");
    let seen = AtomicU64::new(0);
    let progress = |done: u64, total: u64| {
        assert_eq!(total, 5_000_003);
        seen.fetch_max(done, Ordering::Relaxed);
    };
    let up = session.upload(Source::File(&here), text(&there), 0o750, Some(&progress));
    up.await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(seen.load(Ordering::Relaxed), 5_000_003);
    assert!(
        fs::read(&there).expect("readable") == bytes,
        "it came whole"
    );
    let mode = fs::metadata(&there).expect("it is there").permissions();
    assert_eq!(mode.mode() & 0o7777, 0o750);
    let down = session.download(text(&there), &back, None).await;
    down.unwrap_or_else(|error| panic!("{error}"));
    assert!(
        fs::read(&back).expect("readable") == bytes,
        "it came back whole"
    );
    assert_no_leftovers(&sshd);
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let there = sshd.path("empty");
    let up = session.upload(Source::Bytes(b""), text(&there), 0o600, None);
    up.await.expect("uploaded");
    assert_eq!(fs::metadata(&there).expect("it is there").len(), 0);
}

#[tokio::test]
async fn files_that_do_not_tell_their_size_are_read_to_the_end() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let back = sshd.path("back");
    session
        .download("/proc/version", &back, None)
        .await
        .expect("read");
    assert_eq!(
        fs::read(&back).expect("readable"),
        fs::read("/proc/version").expect("readable")
    );
}

#[tokio::test]
async fn folders_go_up_and_down() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let here = sshd.path("here");
    fs::create_dir_all(here.join("a/b")).expect("writable");
    fs::write(here.join("a/b/one"), "1").expect("writable");
    fs::write(here.join("it's two"), "2").expect("writable");
    let (there, back) = (sshd.path("there"), sshd.path("back"));
    fs::create_dir(&there).expect("writable");
    fs::create_dir(&back).expect("writable");
    session
        .copy_to(&here, text(&there), None)
        .await
        .expect("copied");
    let copied = there.join("here");
    session
        .copy_from(text(&copied), &back, None)
        .await
        .expect("copied");
    assert_eq!(fs::read(back.join("here/a/b/one")).expect("readable"), b"1");
    assert_eq!(
        fs::read(back.join("here/it's two")).expect("readable"),
        b"2"
    );
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let up = session.upload(Source::Bytes(b"x"), "/nonexistent/file", 0o600, None);
    let error = up.await.expect_err("there is no such folder");
    assert!(matches!(error, SshError::RemoteFile { .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("no such file or folder"),
        "{error}"
    );
    let down = session
        .download("/nonexistent/file", &sshd.path("back"), None)
        .await;
    let error = down.expect_err("there is no such file");
    assert!(
        error
            .to_string()
            .starts_with("read /nonexistent/file on k8s-w1"),
        "{error}"
    );
    assert!(!sshd.path("back").exists());
}

#[tokio::test]
async fn a_server_without_sftp() {
    let sshd = Sshd::setup()
        .option("Subsystem nothing internal-sftp")
        .start();
    let session = sshd.session().await;
    let path = sshd.path("there");
    let up = session.upload(Source::Bytes(b"x"), text(&path), 0o600, None);
    let error = up.await.expect_err("there is no SFTP");
    assert!(matches!(error, SshError::NoSftp { .. }), "{error:?}");
    assert!(
        error.to_string().contains("Subsystem sftp internal-sftp"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_whose_sftp_program_is_missing() {
    let sshd = Sshd::setup().option("Subsystem sftp /nonexistent").start();
    let session = sshd.session().await;
    let path = sshd.path("there");
    let up = session.upload(Source::Bytes(b"x"), text(&path), 0o600, None);
    let error = up.await.expect_err("there is no SFTP");
    assert!(matches!(error, SshError::NoSftp { .. }), "{error:?}");
}

#[tokio::test]
async fn a_connection_lost_during_a_copy_is_told() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let cut = |done: u64, _| {
        if done > 1 << 20 {
            sshd.cut_connections();
        }
    };
    let bytes = vec![7; 64 << 20];
    let path = sshd.path("there");
    let up = session.upload(Source::Bytes(&bytes), text(&path), 0o600, Some(&cut));
    let error = up.await.expect_err("it was cut off");
    assert!(matches!(error, SshError::Disconnected { .. }), "{error:?}");
    assert!(!path.exists());
}

/// Nothing of a copy stays beside the files.
pub(crate) fn assert_no_leftovers(sshd: &Sshd) {
    let files = fs::read_dir(sshd.path("")).expect("readable");
    for file in files {
        let name = file.expect("readable").file_name();
        assert!(!name.to_string_lossy().contains("labctl-"), "{name:?}");
    }
}
