//! What serves: sockets, threads and tasks of the Corefile in force.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::super::Current;
use super::super::listeners::{Listener, Listeners, Protocol};
use super::super::tcp;
use super::super::udp::{Shared, Worker};
use super::{RunError, Termination};
use crate::config::Config;
use crate::http::{self, Pages};
use crate::log::{self, Output};
use crate::metrics::Registry;
use crate::service::{Service, Surroundings};

/// The sockets of the moment.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<Listeners>>);

impl Held {
    pub(super) fn get(&self) -> Listeners {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn replace(&self, listeners: Listeners) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = listeners;
    }
}

/// What reads one address.
enum Reader {
    Threads(Vec<Worker>),
    Task(watch::Sender<bool>),
}

/// See the module.
pub(super) struct Serving {
    config: Config,
    around: Surroundings,
    workers: usize,
    shared: Shared,
    held: Held,
    pages: Arc<Pages>,
    looped: mpsc::Receiver<String>,
    readers: BTreeMap<(Protocol, SocketAddr), Reader>,
}

impl Serving {
    /// Serves, on sockets of `inherited` where they are those that are wanted.
    pub(super) fn start(
        config: Config,
        mut around: Surroundings,
        workers: usize,
        inherited: &Listeners,
    ) -> Result<Self, RunError> {
        let listeners = Listeners::for_config(&config, workers, inherited)?;
        let (tell, looped) = mpsc::channel(1);
        around.looped = Some(tell);
        let service = Service::new(config.clone(), around.clone())?;
        let pages = Pages::new(
            &config,
            around.local.store.clone(),
            Arc::clone(&around.local.registry),
        );
        let pages = Arc::new(pages.with_hot(around.hot.clone()));
        if let Some(hot) = &around.hot {
            hot.serve(service.generation());
        }
        let mut serving = Self {
            shared: Shared {
                current: Current::new(service),
                runtime: around.runtime.clone(),
                tasks: TaskTracker::new(),
                waiting: Arc::new(AtomicU32::new(0)),
            },
            config,
            around,
            workers,
            held: Held::default(),
            pages,
            looped,
            readers: BTreeMap::new(),
        };
        serving.read(listeners)?;
        serving.probe();
        Ok(serving)
    }

    /// The sockets of the moment.
    pub(super) fn listeners(&self) -> Held {
        self.held.clone()
    }

    /// Where faults are told and counted.
    pub(super) fn tells(&self) -> (Arc<Output>, Arc<Registry>) {
        (
            Arc::clone(&self.around.output),
            Arc::clone(&self.around.local.registry),
        )
    }

    /// Waits until a block's queries come back to it, which they had better not.
    pub(super) async fn looped(&mut self) -> Option<String> {
        self.looped.recv().await
    }

    /// Serves what the Corefile says now; what can't be served leaves everything as it
    /// was.
    pub(super) fn reload(&mut self, config: Config) {
        let output = Arc::clone(&self.around.output);
        output.info("Reloading");
        match self.switch(config) {
            Ok(()) => {
                output.info(&log::running(&self.config));
                output.info("Reloading complete");
            }
            Err(error) => {
                output.error(&format!(
                    "plugin/reload: {error}; the Corefile before stays"
                ));
                self.around.local.registry.reload_failed();
            }
        }
    }

    fn switch(&mut self, config: Config) -> Result<(), RunError> {
        let listeners = Listeners::for_config(&config, self.workers, &self.held.get())?;
        let before = self.shared.current.get();
        let service = Service::following(config.clone(), self.around.clone(), Some(&before))?;
        let generation = service.generation();
        self.shared.current.replace(service);
        if let Some(hot) = &self.around.hot {
            hot.serve(generation);
        }
        self.pages.replace(&config);
        self.config = config;
        self.read(listeners)?;
        self.probe();
        Ok(())
    }

    /// Has the `loop` plugins ask themselves.
    fn probe(&self) {
        for probing in self.shared.current.get().probes() {
            self.around.runtime.spawn(probing);
        }
    }

    /// Reads these sockets, and no others.
    fn read(&mut self, listeners: Listeners) -> Result<(), RunError> {
        for listener in listeners.iter() {
            let key = (listener.protocol, listener.address);
            if !self.readers.contains_key(&key) {
                let reader = self.reader(listener)?;
                self.readers.insert(key, reader);
            }
        }
        let gone: Vec<_> = self
            .readers
            .keys()
            .filter(|(protocol, address)| listeners.find(*protocol, *address).is_none())
            .copied()
            .collect();
        for key in gone {
            if let Some(reader) = self.readers.remove(&key) {
                reader.stop();
            }
        }
        self.held.replace(listeners);
        Ok(())
    }

    fn reader(&self, listener: &Listener) -> Result<Reader, RunError> {
        let first = |sockets: &[Arc<OwnedFd>]| -> std::io::Result<std::net::TcpListener> {
            let socket = sockets.first().ok_or(std::io::ErrorKind::NotFound)?;
            Ok(std::net::TcpListener::from(socket.try_clone()?))
        };
        match listener.protocol {
            Protocol::Udp => {
                let workers = listener.sockets.iter().map(|socket| {
                    Worker::start(Arc::clone(socket), listener.address, self.shared.clone())
                });
                Ok(Reader::Threads(workers.collect::<Result<_, _>>()?))
            }
            Protocol::Tcp => {
                let (stop, stopped) = watch::channel(false);
                let accepting = tcp::accept(
                    first(&listener.sockets)?,
                    self.shared.current.clone(),
                    self.shared.tasks.clone(),
                    stopped,
                );
                self.shared.tasks.spawn(accepting);
                Ok(Reader::Task(stop))
            }
            Protocol::Http => {
                let (stop, mut stopped) = watch::channel(false);
                let socket = first(&listener.sockets)?;
                socket.set_nonblocking(true)?;
                let socket = tokio::net::TcpListener::from_std(socket)?;
                let pages = Arc::clone(&self.pages);
                let address = listener.address;
                self.shared.tasks.spawn(async move {
                    let stopped = async move {
                        // The sender is gone when the server is.
                        let _ = stopped.wait_for(|stop| *stop).await;
                    };
                    http::serve(socket, address, pages, stopped).await;
                });
                Ok(Reader::Task(stop))
            }
        }
    }

    /// Goes on for a while, unhealthy; a second signal ends that.
    pub(super) async fn lameduck(&self, signals: &mut Termination) {
        let health = self.config.blocks.iter().filter_map(|block| block.health);
        let Some(wait) = health.map(|health| health.lameduck).max() else {
            return;
        };
        self.pages.set_lameduck();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = signals.received() => {}
        }
    }

    /// Reads no more, and waits for what is under way.
    pub(super) async fn stop(mut self, at_most: Duration) {
        if let Some(hot) = &self.around.hot {
            hot.end();
        }
        for (_, reader) in std::mem::take(&mut self.readers) {
            reader.stop();
        }
        self.shared.tasks.close();
        // What is left after that has no answer any more.
        let _ = tokio::time::timeout(at_most, self.shared.tasks.wait()).await;
    }
}

impl Reader {
    fn stop(self) {
        match self {
            Self::Threads(workers) => workers.into_iter().for_each(Worker::stop),
            // Nobody listens to it if the task has ended.
            Self::Task(stop) => drop(stop.send(true)),
        }
    }
}
