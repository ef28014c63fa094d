//! Each way to fail, with its message.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use lab_ssh::keys::KeyPair;
use lab_ssh::{Destination, Session, SshError, known_hosts};

use nix::sys::signal::Signal;

use crate::sshd::{Sshd, soon};

async fn failure(destination: Destination, deadline: Instant) -> SshError {
    match Session::connect(destination, deadline).await {
        Ok(session) => panic!("{session:?} was let in"),
        Err(error) => error,
    }
}

fn unused_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn nothing_listens() {
    let port = unused_port();
    let error = failure(Destination::new("k8s-w1", "lab", "127.0.0.1", port), soon()).await;
    assert!(matches!(error, SshError::Refused { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "connect to k8s-w1 (lab@127.0.0.1:{port}): connection refused; \
             check that an SSH server listens there"
        )
    );
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_unreachable_after_the_deadline() {
    // The kernel completes the handshake; nobody accepts.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = failure(
        Destination::new("k8s-w1", "lab", "127.0.0.1", port),
        deadline,
    )
    .await;
    assert!(matches!(error, SshError::Unreachable { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("sent no SSH greeting (tried for 0.3 s)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    let error = failure(
        Destination::new("k8s-w1", "lab", "k8s-w1.invalid", 22),
        soon(),
    )
    .await;
    assert!(matches!(error, SshError::Unreachable { .. }), "{error:?}");
    let message = error.to_string();
    assert!(
        message.starts_with("reach k8s-w1 (lab@k8s-w1.invalid): "),
        "{message}"
    );
}

/// A server that says `greeting` to whoever comes first.
fn says(greeting: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("the test connects");
        let mut heard = [0; 256];
        let _ = peer.read(&mut heard);
        let _ = peer.write_all(greeting);
    });
    port
}

#[tokio::test]
async fn something_else_than_ssh_answers() {
    let port = says(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let error = failure(Destination::new("k8s-w1", "lab", "127.0.0.1", port), soon()).await;
    assert!(matches!(error, SshError::NotSsh { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("it said \"HTTP/1.1 400 Bad Request\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_forwarder_without_a_server_behind_it_may_get_one() {
    let port = says(b"");
    let error = failure(Destination::new("k8s-w1", "lab", "127.0.0.1", port), soon()).await;
    assert!(matches!(error, SshError::HungUp { .. }), "{error:?}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn an_unknown_host_is_never_trusted() {
    let sshd = Sshd::start();
    let mut destination = sshd.destination();
    destination.known_hosts = vec![sshd.path("none")];
    let error = failure(destination, soon()).await;
    let SshError::HostKeyUnknown { offered, .. } = &error else {
        panic!("{error:?}");
    };
    let print = sshd.host_key.fingerprint();
    assert_eq!(offered.to_string(), format!("ED25519 {print}"));
    assert!(!error.is_transient());
    assert!(error.to_string().contains("ssh-keygen -lf"), "{error}");
}

#[tokio::test]
async fn a_replaced_key_names_both_keys_and_the_line() {
    let sshd = Sshd::start();
    let old = KeyPair::generate("old");
    let name = known_hosts::host_name("127.0.0.1", sshd.port);
    let file = sshd.path("known_hosts");
    known_hosts::record(&file, &[(name, old.public())]).expect("recorded");
    let error = failure(sshd.destination(), soon()).await;
    assert!(
        matches!(error, SshError::HostKeyChanged { .. }),
        "{error:?}"
    );
    let message = error.to_string();
    let shown = format!("its host key ED25519 {}", sshd.host_key.fingerprint());
    assert!(message.contains(&shown), "{message}");
    let expected = format!("ED25519 {} at {}:1", old.fingerprint(), file.display());
    assert!(message.contains(&expected), "{message}");
}

#[tokio::test]
async fn a_revoked_key_is_refused() {
    let sshd = Sshd::start();
    let file = sshd.path("known_hosts");
    let mut lines = std::fs::read_to_string(&file).expect("readable");
    lines.push_str(&format!(
        "@revoked * {}\n",
        sshd.host_key.public_line().expect("a line")
    ));
    std::fs::write(&file, lines).expect("writable");
    let error = failure(sshd.destination(), soon()).await;
    assert!(
        matches!(error, SshError::HostKeyRevoked { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("known_hosts:2"), "{error}");
}

#[tokio::test]
async fn a_login_with_another_key_is_refused() {
    let sshd = Sshd::start();
    let mut destination = sshd.destination();
    let other = sshd.path("other");
    let pair = KeyPair::load_or_create(&other, "other").expect("a key");
    destination.identities = vec![other.clone(), sshd.path("missing")];
    let error = failure(destination, soon()).await;
    assert!(matches!(error, SshError::LoginRefused { .. }), "{error:?}");
    let message = error.to_string();
    let offered = format!("offered: {} ({})", other.display(), pair.fingerprint());
    assert!(message.contains(&offered), "{message}");
    assert!(message.contains("the server takes publickey"), "{message}");
    assert!(message.contains("missing: No such file"), "{message}");
}

#[tokio::test]
async fn a_key_with_a_passphrase_or_for_all_to_read_is_not_used() {
    let sshd = Sshd::start();
    let locked = sshd.path("locked");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "secret", "-f"])
        .arg(&locked)
        .status();
    assert!(made.expect("ssh-keygen is there").success());
    let open = sshd.path("open");
    KeyPair::load_or_create(&open, "").expect("a key");
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("ours");
    let mut destination = sshd.destination();
    destination.identities = vec![locked, open];
    let message = failure(destination, soon()).await.to_string();
    assert!(
        message.contains("add it to the agent with `ssh-add`"),
        "{message}"
    );
    assert!(
        message.contains("others may read it (mode 0644)"),
        "{message}"
    );
}

#[tokio::test]
async fn a_server_killed_during_a_command_is_a_lost_connection() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let exec = session.exec(&["cat"]).await.expect("it runs");
    let mut exec = exec;
    let stdin = exec.stdin.take();
    sshd.cut_connections();
    let error = exec.wait().await.expect_err("it was cut off");
    assert!(matches!(error, SshError::Disconnected { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.starts_with("run `cat` on k8s-w1 ("), "{message}");
    assert!(message.ends_with("the server closed it"), "{message}");
    drop(stdin);
    assert!(session.is_lost());
    let again = session.output(&["true"]).await;
    assert!(matches!(again, Err(SshError::Disconnected { .. })));
}

#[tokio::test]
async fn a_node_that_answers_no_more_is_lost_after_fifteen_seconds() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let mut exec = session.exec(&["cat"]).await.expect("it runs");
    let _stdin = exec.stdin.take();
    let started = Instant::now();
    sshd.signal_connections(Signal::SIGSTOP);
    let waited = tokio::time::timeout_at(soon().into(), exec.wait());
    let error = waited
        .await
        .expect("it is noticed")
        .expect_err("it is lost");
    assert!(started.elapsed() > Duration::from_secs(14), "{error}");
    assert!(
        error.to_string().ends_with("it did not answer for 15 s"),
        "{error}"
    );
}

#[tokio::test]
async fn a_node_that_comes_back_is_reached_again_by_all_clones() {
    let mut sshd = Sshd::start();
    let session = sshd.session().await;
    let clone = session.clone();
    sshd.go_down();
    session.lost().await;
    let reconnecting = tokio::spawn(async move { session.reconnect(soon()).await });
    sshd.restart();
    reconnecting.await.expect("no panic").expect("it is back");
    assert!(
        clone
            .output(&["true"])
            .await
            .expect("it runs")
            .exit
            .success()
    );
}

#[tokio::test]
async fn a_node_that_stays_up_has_not_rebooted() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let deadline = Instant::now() + Duration::from_millis(100);
    let error = session
        .reconnect(deadline)
        .await
        .expect_err("it never went");
    assert!(error.to_string().contains("has not gone down"), "{error}");
}
