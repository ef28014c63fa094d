//! The server from start to end: `labctl dns`.

mod records;
mod serving;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::handover::{self, HandoverError, Offer};
use super::listeners::{ListenError, Listeners};
use crate::clock::{Clock, Monotonic};
use crate::corefile::{self, CorefileError, Pillars};
use crate::hot::{AnswerTable, HotAnswers};
use crate::kubernetes::Store;
use crate::log::{self, Output};
use crate::metrics::Registry;
use crate::plugin::LocalData;
use crate::reload::Watcher;
use crate::service::{ServiceError, Surroundings};
use crate::upstream::Sockets;
use serving::Serving;

/// How long queries that are under way may take after the last one was read.
const DRAIN: Duration = Duration::from_secs(5);
/// Threads of the runtime: it has what waits for upstreams, and connections.
const RUNTIME_THREADS: usize = 2;

/// How to run.
pub struct Options {
    /// The Corefile.
    pub corefile: PathBuf,
    /// What node-cache's placeholders stand for.
    pub pillars: Pillars,
    /// JSON of [`crate::kubernetes::Records`], read again when it is replaced.
    pub records: Option<PathBuf>,
    /// Unix socket by which one process follows another.
    pub handover: Option<PathBuf>,
    /// What answers before the socket.
    pub answers: Option<Box<dyn AnswerTable>>,
    /// UDP threads for each address; none for one per core.
    pub workers: Option<usize>,
    /// What is said on start.
    pub version: String,
    /// What is counted.
    pub metrics: Arc<Registry>,
    /// Where lines go.
    pub output: Arc<Output>,
    /// Is called once all addresses are served.
    pub serving: Box<dyn FnOnce() + Send>,
}

/// Why serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A signal.
    Told,
    /// Another process serves: what was set up for both has to stay.
    Relieved,
}

/// Why the server could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The Corefile.
    #[error(transparent)]
    Corefile(#[from] CorefileError),
    /// What the Corefile asks for.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The process before this one, or the one after.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// Queries come back to where they came from.
    #[error("{0}")]
    Loop(String),
    /// Threads, signals.
    #[error("cannot run: {0}")]
    Run(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT, or until another process has taken over.
///
/// # Errors
/// See [`RunError`].
pub fn run(options: Options) -> Result<Ended, RunError> {
    one_heap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("dns")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(serve(options));
    // Whatever still runs has had its time: SIGTERM must not hang (node-cache#453).
    runtime.shutdown_background();
    ended
}

/// Has all threads allocate from one heap, unless it is too late for that. glibc gives
/// each a heap of its own, which keeps what a burst of misses took; hits allocate nothing,
/// so that nobody waits for the lock.
fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number, under the allocator's own lock.
    let _ = unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1) };
}

async fn serve(mut options: Options) -> Result<Ended, RunError> {
    let config = corefile::load(&options.corefile, &options.pillars)?;
    let output = Arc::clone(&options.output);
    let clock: Arc<dyn Clock> = Arc::new(Monotonic::default());
    let answers = options.answers.take();
    let hot =
        answers.map(|table| HotAnswers::start(table, Arc::clone(&clock), Arc::clone(&output)));
    let around = Surroundings {
        clock,
        exchange: Arc::new(Sockets::default()),
        runtime: tokio::runtime::Handle::current(),
        output: Arc::clone(&output),
        local: LocalData {
            store: Store::default(),
            registry: Arc::clone(&options.metrics),
            addresses: own_addresses(),
        },
        looped: None,
        hot: hot.transpose()?,
    };
    let mut signals = Signals::new()?;
    records::follow(options.records.take(), around.local.store.clone(), &output).await;
    let taken = options
        .handover
        .as_deref()
        .map(handover::take)
        .transpose()?;
    let (inherited, predecessor) = match taken.flatten() {
        Some((inherited, predecessor)) => (inherited, Some(predecessor)),
        None => (Listeners::default(), None),
    };
    let workers = options
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let started = log::started(&config, &options.version);
    let mut watcher = Watcher::new(&config, options.pillars.clone());
    let mut serving = Serving::start(config, around, workers, &inherited)?;
    drop(inherited);
    output.print(started.as_bytes());
    if let Some(predecessor) = predecessor {
        predecessor.relieve();
    }
    let relieved = offer(&options, &serving)?;
    std::mem::replace(&mut options.serving, Box::new(|| ()))();
    let ended = until_told(&mut serving, &mut watcher, &mut signals, relieved).await?;
    if ended == Ended::Told {
        serving.lameduck(&mut signals.any).await;
    }
    serving.stop(DRAIN).await;
    Ok(ended)
}

/// Offers the sockets to the next process, on a thread that ends with this one.
fn offer(options: &Options, serving: &Serving) -> Result<mpsc::Receiver<()>, RunError> {
    let (tell, relieved) = mpsc::channel(1);
    if let Some(path) = &options.handover {
        let offer = Offer::new(path)?;
        let listeners = serving.listeners();
        std::thread::Builder::new()
            .name("dns-handover".to_owned())
            .spawn(move || {
                offer.wait(|| listeners.get());
                // The server may be ending by itself.
                let _ = tell.blocking_send(());
            })?;
    } else {
        // Kept open: nobody ever takes over.
        std::mem::forget(tell);
    }
    Ok(relieved)
}

async fn until_told(
    serving: &mut Serving,
    watcher: &mut Watcher,
    signals: &mut Signals,
    mut relieved: mpsc::Receiver<()>,
) -> Result<Ended, RunError> {
    let (output, metrics) = serving.tells();
    loop {
        let config = tokio::select! {
            () = signals.any.received() => return Ok(Ended::Told),
            Some(()) = relieved.recv() => return Ok(Ended::Relieved),
            Some(line) = serving.looped() => return Err(RunError::Loop(line)),
            _ = signals.reload.recv() => watcher.check(&output, &metrics),
            config = watcher.changed(&output, &metrics) => Some(config),
        };
        if let Some(config) = config {
            serving.reload(config);
        }
    }
}

/// Addresses of this host; none where the kernel won't tell.
fn own_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
    });
    addresses.collect()
}

/// Signals that are heeded.
struct Signals {
    any: Termination,
    reload: Signal,
}

/// SIGTERM and SIGINT.
pub(super) struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            any: Termination {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            // CoreDNS's signal for reading the Corefile at once.
            reload: signal(SignalKind::user_defined1())?,
        })
    }
}

impl Termination {
    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
