//! The HTTP server under every app: one thread, ready when it says so, and gone
//! soon after SIGTERM.

use std::convert::Infallible;
use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Listen;

/// How long requests under way may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How long to let connections end when no more can be accepted, as Go does.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// What every app answers with.
pub(super) type Answer = Response<Full<Bytes>>;

/// What a server is told from outside.
#[derive(Debug)]
enum Told {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Serves until SIGTERM or SIGINT. `reload` is called on every SIGHUP.
pub(super) fn serve<H, F>(listen: Listen, handler: H, reload: impl FnMut()) -> anyhow::Result<()>
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send,
{
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("failed to start the server")?;
    runtime.block_on(async {
        let mut signals = Signals::watch().context("failed to watch for signals")?;
        let listener = bind(listen.port)?;
        if let Some(fd) = listen.ready_fd {
            report_ready(fd)?;
        }
        accept_until_stopped(listener, async || signals.next().await, handler, reload).await;
        Ok(())
    })
}

/// What the server is told by signals; watched before it says that it is ready.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}

/// Listens on every address: both families where the kernel has IPv6, as servers
/// written in Go do.
fn bind(port: u16) -> anyhow::Result<tokio::net::TcpListener> {
    let any: [SocketAddr; 2] = [
        (Ipv6Addr::UNSPECIFIED, port).into(),
        (Ipv4Addr::UNSPECIFIED, port).into(),
    ];
    let listener = TcpListener::bind(&any[..])
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .with_context(|| format!("failed to listen on TCP port {port}"))?;
    tokio::net::TcpListener::from_std(listener).context("failed to watch the listening socket")
}

/// Writes one byte to a file descriptor that the parent left open, and closes it.
fn report_ready(fd: RawFd) -> anyhow::Result<()> {
    let open = Path::new("/proc/self/fd").join(fd.to_string()).is_symlink();
    anyhow::ensure!(
        fd > 2 && open,
        "--ready-fd {fd} is not a descriptor opened for that purpose"
    );
    // SAFETY: the descriptor is open, since nothing closed it since it was looked
    // up; and it is the parent's for this purpose alone, so nothing else uses it.
    let mut ready = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    ready
        .write_all(b"\n")
        .with_context(|| format!("failed to report readiness on descriptor {fd}"))
}

async fn accept_until_stopped<H, F>(
    listener: tokio::net::TcpListener,
    mut told: impl AsyncFnMut() -> Told,
    handler: H,
    mut reload: impl FnMut(),
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send,
{
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            told = told() => match told {
                Told::Stop => break,
                Told::Reload => reload(),
            },
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => spawn(&connections, stream, remote, handler.clone()),
                Err(error) => {
                    eprintln!("failed to accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
        }
    }
    drop(listener);
    let ended = pin!(connections.shutdown());
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        eprintln!(
            "closing connections that did not end within {} s",
            GRACE.as_secs()
        );
    }
}

fn spawn<H, F>(
    connections: &GracefulShutdown,
    stream: tokio::net::TcpStream,
    remote: SocketAddr,
    handler: H,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send,
{
    // IPv4 clients of a dual-stack socket show as ::ffff:a.b.c.d.
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    let service = service_fn(move |request| {
        let answer = handler(request, remote);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        // A client that goes away in the middle is its own affair.
        let _ = connection.await;
    });
}

/// Takes all the descriptors that the hard limit allows, as Go's runtime does:
/// connections each take one, and the usual soft limit is 1024.
fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        eprintln!("failed to raise the limit of open files to {hard}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};
    use std::thread;

    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::super::whoami;
    use super::*;

    /// A whoami on a port of the kernel's choice.
    struct Server {
        port: u16,
        tell: UnboundedSender<Told>,
        thread: thread::JoinHandle<u32>,
    }

    impl Server {
        fn start() -> Self {
            let (tell, mut told) = unbounded_channel();
            let (report, port) = std::sync::mpsc::channel();
            let thread = thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let listener = bind(0).unwrap();
                    report.send(listener.local_addr().unwrap().port()).unwrap();
                    let told = async || told.recv().await.unwrap_or(Told::Stop);
                    let mut reloads = 0;
                    accept_until_stopped(listener, told, whoami::answer, || reloads += 1).await;
                    reloads
                })
            });
            Self {
                port: port.recv().unwrap(),
                tell,
                thread,
            }
        }

        fn connect(&self) -> TcpStream {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
            stream.set_read_timeout(Some(GRACE)).unwrap();
            stream
        }
    }

    fn ask(mut stream: &TcpStream, path: &str) {
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
    }

    fn answer(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn an_ipv4_client_sees_its_own_address() {
        let server = Server::start();
        let stream = server.connect();
        let own = stream.local_addr().unwrap();
        ask(&stream, "/");
        let answer = answer(stream);
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain"),
            "{answer}"
        );
        assert!(
            answer.contains(&format!("\nRemoteAddr: {own}\nGET / HTTP/1.1\r\n")),
            "{answer}"
        );
    }

    #[test]
    fn stopping_ends_what_is_under_way_and_takes_nothing_new() {
        let server = Server::start();
        let stream = server.connect();
        let idle = server.connect();
        // Its answer shows that the server has accepted all that came before.
        let last = server.connect();
        ask(&stream, "/?wait=300ms");
        ask(&last, "/health");
        assert!(answer(last).starts_with("HTTP/1.1 200 OK"));
        server.tell.send(Told::Reload).unwrap();
        server.tell.send(Told::Stop).unwrap();
        assert!(answer(stream).contains("Hostname: "));
        assert_eq!(answer(idle), "");
        assert_eq!(server.thread.join().unwrap(), 1, "reloads");
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
