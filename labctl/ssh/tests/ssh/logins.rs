//! Ways in: agents, RSA keys, jump hosts, and OpenSSH's own client with our configuration.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lab_ssh::config::{resolve_in, ssh_config_text};
use lab_ssh::keys::KeyPair;
use lab_ssh::{Destination, Session, known_hosts};

use crate::sshd::{Sshd, soon};

async fn says_hello(destination: Destination) {
    let session = Session::connect(destination, soon()).await;
    let session = session.unwrap_or_else(|error| panic!("{error}"));
    let output = session.output(&["echo", "hello"]).await.expect("it runs");
    assert_eq!(output.stdout, b"hello\n");
}

/// Makes a pair with OpenSSH's tool and lets it in.
fn let_in(sshd: &Sshd, name: &str, arguments: &[&str]) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-f"])
        .arg(sshd.path(name))
        .args(arguments)
        .status();
    assert!(made.expect("ssh-keygen is there").success());
    let public = fs::read(sshd.path(&format!("{name}.pub"))).expect("readable");
    fs::write(sshd.path("authorized_keys"), public).expect("writable");
}

struct Agent(Child);

impl Agent {
    fn start(socket: &Path) -> Self {
        let agent = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(socket)
            .stdout(Stdio::piped())
            .spawn();
        let mut agent = agent.expect("ssh-agent is there");
        // It prints where its socket is once that is there.
        let mut said = [0];
        let stdout = agent.stdout.as_mut().expect("it is piped");
        std::io::Read::read_exact(stdout, &mut said).expect("it starts");
        Self(agent)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn with_a_key_that_only_the_agent_can_open() {
    let sshd = Sshd::start();
    let socket = sshd.path("agent.sock");
    let _agent = Agent::start(&socket);
    let_in(&sshd, "locked", &["-t", "ed25519", "-N", ""]);
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(sshd.path("locked"))
        .env("SSH_AUTH_SOCK", &socket)
        .status();
    assert!(added.expect("ssh-add is there").success());
    // From now on the file needs a passphrase.
    let locked = Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "secret", "-f"])
        .arg(sshd.path("locked"))
        .stdout(Stdio::null())
        .status();
    assert!(locked.expect("ssh-keygen is there").success());
    let mut destination = sshd.destination();
    destination.agent = Some(socket);
    destination.identities = vec![sshd.path("locked")];
    says_hello(destination.clone()).await;
    // And without naming it, whatever the agent holds is offered.
    destination.identities = Vec::new();
    destination.identities_only = false;
    says_hello(destination).await;
}

#[tokio::test]
async fn with_an_rsa_key_as_vagrant_makes_them() {
    let sshd = Sshd::start();
    let_in(
        &sshd,
        "rsa",
        &["-t", "rsa", "-b", "2048", "-N", "", "-m", "PEM"],
    );
    let mut destination = sshd.destination();
    destination.identities = vec![sshd.path("rsa")];
    says_hello(destination).await;
}

#[tokio::test]
async fn the_host_key_on_file_is_asked_for_when_the_server_has_several() {
    let sshd = Sshd::setup().rsa_host_key().start();
    let public = fs::read_to_string(sshd.path("ssh_host_rsa_key.pub")).expect("readable");
    let name = known_hosts::host_name("127.0.0.1", sshd.port);
    fs::write(sshd.path("known_hosts"), format!("{name} {public}")).expect("writable");
    says_hello(sshd.destination()).await;
}

#[tokio::test]
async fn through_a_jump_host() {
    let (outer, inner) = (Sshd::start(), Sshd::start());
    let mut destination = inner.destination();
    destination.jump = Some(Box::new(outer.destination()));
    says_hello(destination.clone()).await;
    destination.port = 1;
    let refused = Session::connect(destination, soon()).await;
    let error = refused.expect_err("nothing listens on port 1");
    assert!(
        error.to_string().contains("answered: Connect failed"),
        "{error}"
    );
}

#[tokio::test]
async fn a_jump_host_must_be_known_too() {
    let (outer, inner) = (Sshd::start(), Sshd::start());
    let mut jump = outer.destination();
    jump.known_hosts = inner.destination().known_hosts;
    let mut destination = inner.destination();
    destination.jump = Some(Box::new(jump));
    let refused = Session::connect(destination, soon()).await;
    let error = refused.expect_err("the jump host is unknown");
    assert!(
        matches!(error, lab_ssh::SshError::HostKeyUnknown { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn openssh_goes_where_our_configuration_leads() {
    let sshd = Sshd::start();
    let config = sshd.path("ssh_config");
    fs::write(&config, ssh_config_text(&[sshd.destination()])).expect("writable");
    let run = || {
        let output = Command::new("ssh")
            .arg("-F")
            .arg(&config)
            .args(["k8s-w1", "echo", "hello"])
            .output();
        output.expect("ssh is there")
    };
    let output = run();
    assert_eq!(output.stdout, b"hello\n", "{output:?}");
    // It is as strict as we are.
    let name = known_hosts::host_name("127.0.0.1", sshd.port);
    let other = KeyPair::generate("other");
    known_hosts::record(&sshd.path("known_hosts"), &[(name, other.public())]).expect("recorded");
    assert!(!run().status.success());
}

#[tokio::test]
async fn an_ssh_config_leads_us_where_it_leads_openssh() {
    let sshd = Sshd::start();
    let text = ssh_config_text(&[sshd.destination()]);
    let read = resolve_in("k8s-w1", "k8s-w1", &text);
    says_hello(read.unwrap_or_else(|error| panic!("{error}"))).await;
}
