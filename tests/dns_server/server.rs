//! A network namespace, an upstream, and `labctl dns` on 127.0.0.1:53.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::wire::{A, Header, NOERROR, query};
use super::{upstream, wire};

pub(crate) const ADDRESS: &str = "127.0.0.1:53";
/// How long any one thing may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The test's own network, with an upstream and a folder for its servers.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
}

impl Site {
    /// Puts this thread, and those that it starts, into a new network namespace.
    pub(crate) fn new(cache: &str, forward: &str) -> Self {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.expect("run ip").success());
        upstream::start();
        let folder = tempfile::tempdir().expect("a folder");
        let upstream = upstream::ADDRESS;
        let corefile = format!(
            ".:53 {{\n    bind 127.0.0.1\n    prometheus 127.0.0.1:9153\n    errors\n    \
             cache {cache}\n    forward . {upstream} {{\n        {forward}\n    }}\n}}\n"
        );
        std::fs::write(folder.path().join("Corefile"), corefile).expect("write the Corefile");
        Self { folder }
    }

    /// The binary that the tests were built with.
    pub(crate) fn binary() -> PathBuf {
        env!("CARGO_BIN_EXE_labctl").into()
    }

    /// Starts a server, and waits until it serves.
    #[track_caller]
    pub(crate) fn start(&self, binary: &Path, words: &[&str]) -> Server {
        let (mut reading, writing) = std::io::pipe().expect("a pipe");
        let descriptor = writing.as_raw_fd();
        // Inherited under its number.
        nix::fcntl::fcntl(&writing, nix::fcntl::F_SETFD(nix::fcntl::FdFlag::empty()))
            .expect("keep the pipe open for the child");
        let log = self.folder.path().join("log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log");
        let process = Command::new(binary)
            .args(["dns", "--conf"])
            .arg(self.folder.path().join("Corefile"))
            .args(["--ready-fd", &descriptor.to_string()])
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log, twice"))
            .stderr(log)
            .spawn()
            .expect("start labctl dns");
        drop(writing);
        let mut word = [0];
        if reading.read_exact(&mut word).is_err() {
            panic!("it ended before it served:\n{}", self.log());
        }
        Server { process }
    }

    /// What servers said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(crate) process: Child,
}

impl Server {
    /// A line of /proc/PID/status, KiB.
    pub(crate) fn status_kib(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let figure = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        figure.expect("the field").parse().expect("a figure")
    }

    /// Asserts that it runs and answers, over UDP and TCP.
    #[track_caller]
    pub(crate) fn answers(&mut self) {
        assert_eq!(self.process.try_wait().expect("its state"), None, "it runs");
        let asked = query(7, "alive.example.", A);
        for answer in [ask_udp(&asked), ask_tcp(&asked)] {
            let header = Header::of(&answer.expect("an answer"));
            assert_eq!((header.id, header.rcode, header.counts[1]), (7, NOERROR, 1));
        }
    }

    /// Waits for its end; says its exit code.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait().expect("its state") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended of itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One query over UDP; none if there is no answer within a second.
pub(crate) fn ask_udp(query: &[u8]) -> Option<Vec<u8>> {
    let socket = socket();
    socket.send(query).expect("send");
    receive(&socket)
}

/// A UDP socket towards the server.
pub(crate) fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(ADDRESS).expect("connect");
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout");
    socket
}

pub(crate) fn receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

/// A connection to the server.
pub(crate) fn connect() -> TcpStream {
    let stream = TcpStream::connect(ADDRESS).expect("connect");
    stream
        .set_read_timeout(Some(Duration::from_secs(3)))
        .expect("a timeout");
    stream
}

/// One query on a connection of its own; none if there is no answer.
pub(crate) fn ask_tcp(query: &[u8]) -> Option<Vec<u8>> {
    let mut stream = connect();
    stream.write_all(&framed(query)).ok()?;
    receive_tcp(&mut stream)
}

/// A message behind its length.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("messages fit");
    [&length.to_be_bytes()[..], message].concat()
}

pub(crate) fn receive_tcp(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// The sum of a metric's lines.
pub(crate) fn metric(name: &str) -> f64 {
    let mut stream = TcpStream::connect("127.0.0.1:9153").expect("connect to /metrics");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: dns\r\nConnection: close\r\n\r\n")
        .expect("ask for metrics");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the metrics");
    let values = text
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name));
    values
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// The length of a query's header, for those who cut it.
pub(crate) const HEADER: usize = wire::HEADER;
