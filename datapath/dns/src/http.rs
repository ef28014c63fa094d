//! `/health`, `/ready` and `/metrics`: the pages of the `health`, `ready` and
//! `prometheus` plugins. Plugins with the same address share a listener.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::hot::HotAnswers;
use crate::kubernetes::Store;
use crate::metrics::Registry;

/// Connections of one address at once; those beyond wait to be accepted. Whoever reads
/// pages needs one, and none may use up the descriptors that queries need.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to write its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests under way may take to end.
const GRACE: Duration = Duration::from_secs(2);
/// How long to let connections end when no more can be accepted.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// One of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Page {
    Health,
    Ready,
    Metrics,
}

/// What is served where, and what the pages say.
#[derive(Debug)]
pub struct Pages {
    routes: RwLock<Routes>,
    lameduck: AtomicBool,
    store: Store,
    registry: Arc<Registry>,
    /// What answers before the socket, and counts for itself.
    hot: Option<HotAnswers>,
}

/// What a Corefile says of pages.
#[derive(Debug, Default)]
struct Routes {
    pages: BTreeMap<SocketAddr, BTreeSet<Page>>,
    /// Whether a `kubernetes` plugin waits for records.
    kubernetes: bool,
}

impl Pages {
    /// The pages that `config` asks for.
    #[must_use]
    pub fn new(config: &Config, store: Store, registry: Arc<Registry>) -> Self {
        Self {
            routes: RwLock::new(Routes::new(config)),
            lameduck: AtomicBool::new(false),
            store,
            registry,
            hot: None,
        }
    }

    /// The same where some answers are given before the socket.
    #[must_use]
    pub fn with_hot(mut self, hot: Option<HotAnswers>) -> Self {
        self.hot = hot;
        self
    }

    /// Serves what a new Corefile asks for.
    pub fn replace(&self, config: &Config) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Routes::new(config);
    }

    /// From now on `/health` says that the server is about to leave, so that nobody sends more to it.
    pub fn set_lameduck(&self) {
        self.lameduck.store(true, Ordering::Relaxed);
    }

    fn page(&self, address: SocketAddr, path: &str) -> (StatusCode, &'static str, String) {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let page = match path {
            "/health" => Page::Health,
            "/ready" => Page::Ready,
            "/metrics" => Page::Metrics,
            _ => return not_found(),
        };
        let pages = routes.pages.get(&address);
        if !pages.is_some_and(|pages| pages.contains(&page)) {
            return not_found();
        }
        let kubernetes = routes.kubernetes;
        drop(routes);
        match page {
            Page::Health => self.health(),
            Page::Ready if kubernetes && self.store.current().is_none() => (
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT_TYPE,
                "kubernetes".to_owned(),
            ),
            Page::Ready => (StatusCode::OK, TEXT_TYPE, "OK".to_owned()),
            Page::Metrics => {
                self.hot.iter().for_each(HotAnswers::count);
                (StatusCode::OK, METRICS_TYPE, self.registry.render())
            }
        }
    }

    fn health(&self) -> (StatusCode, &'static str, String) {
        let asked = Instant::now();
        let well = !self.lameduck.load(Ordering::Relaxed);
        self.registry.health_request(asked.elapsed(), well);
        match well {
            true => (StatusCode::OK, TEXT_TYPE, "OK".to_owned()),
            false => (
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT_TYPE,
                "Shutting down".to_owned(),
            ),
        }
    }
}

impl Routes {
    fn new(config: &Config) -> Self {
        let mut routes = Self::default();
        for block in &config.blocks {
            let health = block.health.map(|health| (health.address, Page::Health));
            let ready = block.ready.map(|address| (address, Page::Ready));
            let metrics = block.prometheus.map(|address| (address, Page::Metrics));
            for (address, page) in [health, ready, metrics].into_iter().flatten() {
                routes.pages.entry(address).or_default().insert(page);
            }
            routes.kubernetes |= block.kubernetes.is_some();
        }
        routes
    }
}

fn not_found() -> (StatusCode, &'static str, String) {
    // As Go's net/http has it.
    (
        StatusCode::NOT_FOUND,
        TEXT_TYPE,
        "404 page not found\n".to_owned(),
    )
}

/// Serves the pages of `address`, which is the Corefile's, on `listener` until `stopped`.
pub async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    pages: Arc<Pages>,
    stopped: impl Future<Output = ()>,
) {
    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stopped = pin!(stopped);
    let accept = async || {
        let place = Arc::clone(&places).acquire_owned().await;
        (place, listener.accept().await)
    };
    loop {
        tokio::select! {
            () = &mut stopped => break,
            accepted = accept() => match accepted {
                (Ok(place), Ok((stream, _))) => {
                    spawn(&connections, (stream, place), address, Arc::clone(&pages));
                }
                // No descriptor is free: some will be.
                _ => tokio::time::sleep(ACCEPT_BACKOFF).await,
            },
        }
    }
    drop(listener);
    // Whoever takes longer is cut off.
    let _late = tokio::time::timeout(GRACE, connections.shutdown()).await;
}

fn spawn(
    connections: &GracefulShutdown,
    (stream, place): (TcpStream, OwnedSemaphorePermit),
    address: SocketAddr,
    pages: Arc<Pages>,
) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let pages = Arc::clone(&pages);
        async move {
            let readable = matches!(*request.method(), Method::GET | Method::HEAD);
            let (status, kind, text) = match readable {
                true => pages.page(address, request.uri().path()),
                false => (
                    StatusCode::METHOD_NOT_ALLOWED,
                    TEXT_TYPE,
                    "Method Not Allowed\n".to_owned(),
                ),
            };
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    // A client that goes away is none of the server's business.
    tokio::spawn(async move {
        drop(connection.await);
        drop(place);
    });
}

#[cfg(test)]
mod tests;
