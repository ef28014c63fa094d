//! The same for callers that are threads.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::time::{Duration, Instant};

use lab_ssh::SshError;
use lab_ssh::blocking::Connection;
use tokio::runtime::Runtime;

use crate::sshd::{Sshd, soon};

fn connected(sshd: &Sshd) -> (Runtime, Connection) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let connection = Connection::connect(runtime.handle(), sshd.destination(), soon());
    (
        runtime,
        connection.unwrap_or_else(|error| panic!("{error}")),
    )
}

#[test]
fn requests_and_answers_go_line_by_line() {
    let sshd = Sshd::start();
    let (_runtime, connection) = connected(&sshd);
    let mut process = connection.process(&["cat"]).expect("it runs");
    let mut stdin = process.stdin.take().expect("stdin");
    let mut stdout = BufReader::new(process.stdout.take().expect("stdout"));
    for request in ["one\n", "two\n"] {
        stdin.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stdout.read_line(&mut answer).expect("readable");
        assert_eq!(answer, request);
    }
    assert!(process.try_wait().expect("it runs").is_none());
    let early = process.wait_until(Instant::now() + Duration::from_millis(50));
    assert_eq!(early.expect("it runs"), None);
    drop(stdin);
    assert!(process.wait().expect("it ends").success());
}

#[test]
fn a_signal_gives_128_and_its_number() {
    let sshd = Sshd::start();
    let (_runtime, connection) = connected(&sshd);
    let mut process = connection
        .process(&["sh", "-c", "kill -9 $$"])
        .expect("it runs");
    assert_eq!(process.wait().expect("it ends").code(), 137);
}

#[test]
fn a_dropped_process_is_ended() {
    let sshd = Sshd::start();
    let (_runtime, connection) = connected(&sshd);
    let script = "echo $$; exec sleep 1000";
    let mut process = connection.process(&["sh", "-c", script]).expect("it runs");
    let mut stdout = BufReader::new(process.stdout.take().expect("stdout"));
    let mut pid = String::new();
    stdout.read_line(&mut pid).expect("readable");
    drop(process);
    let gone = format!("while kill -0 {} 2>/dev/null; do :; done", pid.trim());
    let gone = connection.output(&["timeout", "20", "sh", "-c", &gone]);
    assert!(gone.expect("it runs").exit.success());
}

#[test]
fn threads_share_a_connection() {
    let sshd = Sshd::start();
    let (_runtime, connection) = connected(&sshd);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let connection = &connection;
            scope.spawn(move || {
                let number = number.to_string();
                let output = connection.output(&["echo", &number]).expect("it runs");
                assert_eq!(output.stdout, format!("{number}\n").as_bytes());
            });
        }
    });
}

#[test]
fn a_lost_connection_ends_the_streams_and_is_told() {
    let sshd = Sshd::start();
    let (_runtime, connection) = connected(&sshd);
    let mut process = connection
        .process(&["sh", "-c", "echo up; cat"])
        .expect("it runs");
    let stdin = process.stdin.take();
    let mut stdout = BufReader::new(process.stdout.take().expect("stdout"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("readable");
    sshd.cut_connections();
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("it ends");
    assert!(rest.is_empty());
    let error = process.wait().expect_err("it was cut off");
    assert!(matches!(error, SshError::Disconnected { .. }), "{error:?}");
    drop(stdin);
}

#[test]
fn a_unix_socket_of_the_node_is_a_socket_here() {
    let sshd = Sshd::start();
    let (_runtime, connection) = connected(&sshd);
    let path = sshd.path("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    let echo = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("a peer");
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).expect("readable");
        peer.write_all(&heard).expect("written");
    });
    let path = path.to_str().expect("a UTF-8 path");
    let mut socket = connection.forward_unix(path).expect("forwarded");
    socket.write_all(b"hello").expect("written");
    socket.shutdown(std::net::Shutdown::Write).expect("ended");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("readable");
    assert_eq!(answer, b"hello");
    echo.join().expect("no panic");
    let refused = connection.forward_unix("/nonexistent/agent.sock");
    assert!(
        matches!(refused, Err(SshError::RequestRefused { .. })),
        "{refused:?}"
    );
}
