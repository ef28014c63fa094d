//! Commands: streams, ends, terminals, and many at once.

use lab_ssh::{Command, Exit, Pty, Signal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::sshd::{Sshd, soon};

const MANY: &str = "67108864";

#[tokio::test]
async fn streams_are_apart_and_the_status_is_told() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let script = "read line; echo out $line; echo err $line >&2; exit 7";
    let mut exec = session.exec(&["sh", "-c", script]).await.expect("it runs");
    let mut stdin = exec.stdin.take().expect("stdin");
    stdin.write_all(b"42\n").await.expect("it reads");
    drop(stdin);
    let output = exec.output().await.expect("it ends");
    assert_eq!(output.exit, Exit::Code(7));
    assert_eq!(output.stdout, b"out 42\n");
    assert_eq!(output.stderr, b"err 42\n");
    let error = output.success().expect_err("it failed");
    assert!(
        error
            .to_string()
            .ends_with("it exited with status 7: err 42"),
        "{error}"
    );
}

#[tokio::test]
async fn arguments_arrive_as_they_are() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let argv = ["printf", "%s|", "it's", "", "a b", "$HOME", "*", "\u{e9}\n"];
    let output = session.output(&argv).await.expect("it runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "it's||a b|$HOME|*|\u{e9}\n|"
    );
}

#[tokio::test]
async fn a_signal_ends_a_command_also_of_root() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let mut exec = session.exec(&["sleep", "1000"]).await.expect("it runs");
    exec.signal(Signal::TERM).await.expect("sent");
    let exit = exec.wait().await.expect("it ends");
    assert_eq!(exit.code(), 143, "{exit}");
    assert_eq!(exit.to_string(), "was ended by SIGTERM");
}

#[tokio::test]
async fn a_command_that_does_not_exist() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let output = session.output(&["/nonexistent/command"]).await;
    let output = output.expect("the shell runs");
    assert_eq!(output.exit, Exit::Code(127));
    let error = output.success().expect_err("it is not there").to_string();
    assert!(
        error.starts_with("run `/nonexistent/command` on k8s-w1 ("),
        "{error}"
    );
    assert!(error.contains("not found"), "{error}");
}

#[tokio::test]
async fn a_dropped_command_is_ended() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let mut exec = session
        .exec(&["sh", "-c", "echo $$; exec sleep 1000"])
        .await
        .expect("it runs");
    let mut pid = String::new();
    let mut stdout = exec.stdout.take().expect("stdout");
    while !pid.ends_with('\n') {
        let mut byte = [0];
        stdout.read_exact(&mut byte).await.expect("a line");
        pid.push(char::from(byte[0]));
    }
    drop(exec);
    let gone = format!("while kill -0 {} 2>/dev/null; do :; done", pid.trim());
    let gone = session.output(&["timeout", "20", "sh", "-c", &gone]).await;
    assert!(gone.expect("it runs").exit.success());
}

#[tokio::test]
async fn fifty_commands_share_a_connection() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let mut running = Vec::new();
    for _ in 0..50 {
        running.push(session.exec(&["cat"]).await.expect("it runs"));
    }
    for (number, exec) in running.iter_mut().enumerate() {
        let stdin = exec.stdin.as_mut().expect("stdin");
        stdin.write_all(&[number as u8]).await.expect("written");
    }
    for (number, exec) in running.into_iter().enumerate() {
        let output = exec.output().await.expect("it ends");
        assert_eq!(output.stdout, [number as u8]);
    }
}

#[tokio::test]
async fn where_a_server_takes_few_commands_more_connections_are_made() {
    let sshd = Sshd::setup().option("MaxSessions 2").start();
    let session = sshd.session().await;
    let mut running = Vec::new();
    for _ in 0..7 {
        running.push(session.exec(&["cat"]).await.expect("it runs"));
    }
    for exec in running {
        assert!(exec.output().await.expect("it ends").exit.success());
    }
}

#[tokio::test]
async fn big_outputs_come_whole_on_both_streams() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let script = format!("head -c {MANY} /dev/zero & head -c {MANY} /dev/zero >&2; wait");
    let output = session
        .output(&["sh", "-c", &script])
        .await
        .expect("it ends");
    assert_eq!(output.stdout.len(), 64 << 20);
    assert_eq!(output.stderr.len(), 64 << 20);
}

#[tokio::test]
async fn a_slow_reader_stops_no_other_command() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let argv = ["head", "-c", "50000000", "/dev/zero"];
    let mut slow = session.exec(&argv).await.expect("it runs");
    for _ in 0..20 {
        let output = session.output(&["echo", "on"]).await.expect("it runs");
        assert_eq!(output.stdout, b"on\n");
    }
    let mut bytes = Vec::new();
    let mut stdout = slow.stdout.take().expect("stdout");
    stdout.read_to_end(&mut bytes).await.expect("all of it");
    assert_eq!(bytes.len(), 50_000_000);
    assert!(slow.wait().await.expect("it ends").success());
}

#[tokio::test]
async fn a_big_input_goes_through_while_output_comes_back() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let mut exec = session.exec(&["cat"]).await.expect("it runs");
    let mut stdin = exec.stdin.take().expect("stdin");
    let feed = tokio::spawn(async move {
        let chunk = vec![7; 1 << 20];
        for _ in 0..64 {
            stdin.write_all(&chunk).await.expect("it reads");
        }
    });
    let output = exec.output().await.expect("it ends");
    feed.await.expect("fed");
    assert_eq!(output.stdout.len(), 64 << 20);
}

#[tokio::test]
async fn writing_to_a_command_that_has_ended_fails_instead_of_waiting() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let mut exec = session.exec(&["true"]).await.expect("it runs");
    let mut stdin = exec.stdin.take().expect("stdin");
    let chunk = vec![7; 8 << 20];
    // More than the window of the channel, which nobody opens again.
    let written = tokio::time::timeout_at(soon().into(), stdin.write_all(&chunk)).await;
    written
        .expect("it does not wait")
        .expect_err("nobody reads");
    assert!(exec.wait().await.expect("it ended").success());
}

#[tokio::test]
async fn a_terminal_has_the_size_it_is_given_and_later_another() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let pty = Pty {
        term: "xterm".to_owned(),
        columns: 100,
        rows: 40,
    };
    // The trap stands before it says that it may be resized.
    let script = "stty size; trap 'stty size; exit 3' WINCH; echo $TERM; while :; do read x; done";
    let command = Command::new(["sh", "-c", script]).with_pty(pty);
    let mut exec = session.start(command).await.expect("it runs");
    let mut stdout = exec.stdout.take().expect("stdout");
    let mut seen = String::new();
    let mut resized = false;
    let mut byte = [0];
    while stdout.read(&mut byte).await.expect("readable") > 0 {
        seen.push(char::from(byte[0]));
        if seen.ends_with("xterm\r\n") && !resized {
            exec.resize(132, 50).await.expect("sent");
            resized = true;
        }
    }
    assert_eq!(seen, "40 100\r\nxterm\r\n50 132\r\n");
    assert_eq!(exec.wait().await.expect("it ends"), Exit::Code(3));
}

#[tokio::test]
async fn a_login_shell_runs_what_it_reads() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let mut exec = session.start(Command::shell()).await.expect("it runs");
    let mut stdin = exec.stdin.take().expect("stdin");
    stdin
        .write_all(b"echo $((6*7)); exit 5\n")
        .await
        .expect("it reads");
    let output = exec.output().await.expect("it ends");
    assert!(output.stdout.ends_with(b"42\n"), "{output:?}");
    assert_eq!(output.exit, Exit::Code(5));
}
