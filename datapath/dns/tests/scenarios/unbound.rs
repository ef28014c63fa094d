//! The scenarios against unbound, which forwards to the scripted upstreams.
//!
//! It runs in a network namespace of the test's own, where the upstreams' addresses
//! are the loopback's. libfaketime moves its clock: the wall clock, by which its cache
//! goes, and not the monotonic one, by which its timers go.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

use crate::rpl::Scenario;
use crate::runner::{self, Answer, Difference, Server};
use crate::script::{Outcome, Script};

/// How long an answer may take. Ours are by the fake clock.
const PATIENCE: Duration = Duration::from_secs(6);
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// Plays a scenario, on a thread whose network namespace is new.
pub(crate) fn play(scenario: &Scenario) -> Result<Vec<Difference>> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<Vec<Difference>> {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .context("make a network namespace")?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(play_here(scenario))
        });
        thread.join().expect("the scenario's thread")
    })
}

async fn play_here(scenario: &Scenario) -> Result<Vec<Difference>> {
    let script = Arc::new(Script::of(scenario));
    ip(&["link", "set", "lo", "up"])?;
    for address in script.addresses() {
        ip(&["address", "add", &address.to_string(), "dev", "lo"])?;
        serve(SocketAddr::new(address, 53), &script).await?;
    }
    let mut unbound = Unbound::start(scenario, &script).await?;
    Ok(runner::play(scenario, &script, &mut unbound).await)
}

fn ip(words: &[&str]) -> Result<()> {
    let status = Command::new("ip").args(words).status().context("run ip")?;
    ensure!(status.success(), "ip {}: {status}", words.join(" "));
    Ok(())
}

/// An upstream, on UDP and TCP.
async fn serve(address: SocketAddr, script: &Arc<Script>) -> Result<()> {
    let udp = Arc::new(UdpSocket::bind(address).await?);
    let tcp = TcpListener::bind(address).await?;
    let of_udp = Arc::clone(script);
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
            let outcome = of_udp.answer(address.ip(), false, &buffer[..length]);
            if let Outcome::Reply { octets, delay } = outcome {
                let udp = Arc::clone(&udp);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    // A client that is gone misses nothing.
                    let _ = udp.send_to(&octets, client).await;
                });
            }
        }
    });
    let of_tcp = Arc::clone(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = tcp.accept().await {
            let script = Arc::clone(&of_tcp);
            // A connection that breaks off is the client's affair.
            tokio::spawn(async move { serve_stream(stream, address.ip(), &script).await.ok() });
        }
    });
    Ok(())
}

async fn serve_stream(mut stream: TcpStream, address: IpAddr, script: &Script) -> Result<()> {
    loop {
        let query = receive(&mut stream).await?;
        if let Outcome::Reply { octets, delay } = script.answer(address, true, &query) {
            tokio::time::sleep(delay).await;
            send(&mut stream, &octets).await?;
        }
    }
}

async fn receive(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn send(stream: &mut TcpStream, message: &[u8]) -> Result<()> {
    stream.write_u16(u16::try_from(message.len())?).await?;
    Ok(stream.write_all(message).await?)
}

/// unbound, and the file that says how far ahead its clock is.
struct Unbound {
    process: Child,
    ahead: Duration,
    clock: PathBuf,
    answers: mpsc::UnboundedReceiver<Answer>,
    sender: mpsc::UnboundedSender<Answer>,
    _folder: tempfile::TempDir,
}

impl Unbound {
    async fn start(scenario: &Scenario, script: &Script) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let clock = folder.path().join("clock");
        std::fs::write(&clock, "+0s\n")?;
        for (name, text) in &scenario.files {
            std::fs::write(folder.path().join(name), text)?;
        }
        let config = folder.path().join("unbound.conf");
        let more = scenario
            .files
            .get("unbound.conf")
            .map_or("", String::as_str);
        std::fs::write(&config, configuration(script, more))?;
        let mut command = Command::new("/usr/sbin/unbound");
        command
            .args(["-d", "-p", "-c"])
            .arg(&config)
            // Zone files are named without a folder.
            .current_dir(folder.path())
            .env("LD_PRELOAD", faketime()?)
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log"))?);
        // SAFETY: prctl is a system call and nothing else; it may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
                    .map_err(Into::into)
            });
        }
        let process = command
            .spawn()
            .context("start unbound (`cargo xtask setup` installs it)")?;
        let (sender, answers) = mpsc::unbounded_channel();
        let mut unbound = Self {
            process,
            ahead: Duration::ZERO,
            clock,
            answers,
            sender,
            _folder: folder,
        };
        unbound.wait().await?;
        Ok(unbound)
    }

    /// Waits until it answers what it answers of itself.
    async fn wait(&mut self) -> Result<()> {
        let mut query = crate::message::Message::new();
        query.question = Some(crate::message::question("version.server. CH TXT")?);
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let query = query.compose(1, None);
            let asked = ask_udp(&query);
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(50), asked).await {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                let log = self.clock.with_file_name("log");
                let log = std::fs::read_to_string(log).unwrap_or_default();
                bail!("unbound ended: {status}\n{log}");
            }
        }
        bail!("unbound does not answer");
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        // It may have ended of itself; then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server for Unbound {
    const SLACK: u32 = 2;

    fn send(&mut self, tcp: bool, query: Vec<u8>) {
        let sender = self.sender.clone();
        let sent = Instant::now();
        tokio::spawn(async move {
            let answer = if tcp {
                ask_tcp(&query).await
            } else {
                ask_udp(&query).await
            };
            if let Ok(octets) = answer {
                let took = sent.elapsed();
                // Nobody may be waiting any longer.
                let _ = sender.send(Answer { octets, took });
            }
        });
    }

    async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.answers.recv())
            .await
            .ok()
            .flatten()
    }

    async fn elapse(&mut self, time: Duration) {
        self.ahead += time;
        let text = format!("+{}s\n", self.ahead.as_secs_f64());
        let next = self.clock.with_extension("next");
        let written =
            std::fs::write(&next, text).and_then(|()| std::fs::rename(&next, &self.clock));
        written.expect("set unbound's clock");
    }

    async fn upstream_queries(&mut self, script: &Script, expected: usize) -> usize {
        let deadline = Instant::now() + Duration::from_secs(1);
        while script.queries() < expected && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The reply to the last one is on its way; nothing shows when it has arrived.
        tokio::time::sleep(Duration::from_millis(100)).await;
        script.queries()
    }

    fn metric(&self, _name: &str) -> Option<u64> {
        None
    }
}

async fn ask_udp(query: &[u8]) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(ADDRESS).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).await?;
    buffer.truncate(length);
    Ok(buffer)
}

async fn ask_tcp(query: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(ADDRESS).await?;
    send(&mut stream, query).await?;
    receive(&mut stream).await
}

/// What makes unbound a forwarder without DNSSEC that leaves nothing out; then what
/// the scenario says.
fn configuration(script: &Script, more: &str) -> String {
    let forward: String = script
        .addresses()
        .map(|address| format!("  forward-addr: {address}\n"))
        .collect();
    format!(
        "server:
  interface: 127.0.0.1
  port: 53
  username: \"\"
  chroot: \"\"
  directory: \"\"
  pidfile: \"\"
  use-syslog: no
  do-daemonize: no
  do-ip6: no
  num-threads: 1
  module-config: iterator
  do-not-query-localhost: no
  qname-minimisation: no
  minimal-responses: no
  rrset-roundrobin: no
  unblock-lan-zones: yes
  insecure-lan-zones: yes
{more}
remote-control:
  control-enable: no
forward-zone:
  name: .
{forward}"
    )
}

fn faketime() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?.filter_map(Result::ok);
    folders
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| Path::exists(library))
        .context("there is no libfaketime: `cargo xtask setup` installs it")
}
