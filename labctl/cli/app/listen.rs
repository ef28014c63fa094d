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

/// Serves until SIGTERM or SIGINT. `on_hangup` is called on every SIGHUP.
pub(super) fn serve<H, F>(listen: Listen, handler: H, on_hangup: impl FnMut()) -> anyhow::Result<()>
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
        let signals = Signals::watch().context("failed to watch for signals")?;
        let listener = bind(listen.port)?;
        if let Some(fd) = listen.ready_fd {
            report_ready(fd)?;
        }
        accept_until_stopped(listener, signals, handler, on_hangup).await;
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
    mut signals: Signals,
    handler: H,
    mut on_hangup: impl FnMut(),
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send,
{
    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => on_hangup(),
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
