//! A server block at work: its plugins in CoreDNS's order.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::Rcode;
use tokio::sync::mpsc;

use super::ask::{Outcome, Purpose};
use super::counters::{Counters, asked};
use super::flight::Flights;
use super::routes::Routes;
use super::{Client, ServiceError, Surroundings};
use crate::cache::{Cache, Hit, Often, Stored};
use crate::clock::{Clock, Time};
use crate::config::{LogClasses, ServerBlock, ServerKey};
use crate::errors::Errors;
use crate::forward::Forwarder;
use crate::hot::{HotAnswers, Offer};
use crate::loadbalance;
use crate::log::{self, Output};
use crate::loop_detection::Detector;
use crate::message::{Limits, Query, Response, fit, rcode_reply, withhold_ad};
use crate::plugin::{LocalPlugin, Step, local_plugins};
use crate::upstream::Transport;

/// One server block.
pub(super) struct Site {
    keys: Vec<ServerKey>,
    pub(super) bufsize: Option<u16>,
    errors: Option<Errors>,
    pub(super) log: Option<LogClasses>,
    loadbalance: bool,
    detector: Option<Arc<Detector>>,
    looped: Option<mpsc::Sender<String>>,
    cache: Option<Arc<Cache>>,
    /// With the names that answers are counted under.
    locals: Vec<LocalPlugin>,
    forwards: Vec<Forwarder>,
    pub(super) flights: Flights,
    pub(super) clock: Arc<dyn Clock>,
    output: Arc<Output>,
    /// What answers before the socket, with the service's generation; none if this block's
    /// answers have to be made here each time.
    hot: Option<(HotAnswers, u64)>,
}

/// A query on its way through the plugins.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) query: &'a Query<'a>,
    pub(super) client: &'a Client,
    pub(super) counters: &'a Arc<Counters>,
    /// All blocks, for what the server asks itself.
    pub(super) routes: &'a Arc<Routes>,
    /// Names that were asked for on the way to this one.
    pub(super) depth: u8,
}

/// How a query was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// The plugin whose answer it is; empty for the server's own.
    pub(super) plugin: &'static str,
    /// No plugin wrote an answer: the server did, for the error of one.
    pub(super) failed: bool,
}

impl Site {
    pub(super) fn new(
        block: ServerBlock,
        around: &Surroundings,
        kept: Option<Arc<Cache>>,
        generation: u64,
    ) -> Result<Self, ServiceError> {
        let cache = match (kept, block.cache.clone()) {
            (Some(kept), _) => Some(kept),
            (None, settings) => settings.map(Cache::new).transpose()?.map(Arc::new),
        };
        let zone = block.keys.first().filter(|_| block.detect_loop);
        let detector = zone.map(|key| Arc::new(Detector::new(&key.zone)));
        let errors = block.errors.as_ref();
        let errors = errors.map(|it| Errors::new(it, &around.output, &around.runtime));
        // Lines of `log` are of each query; templates are not looked into.
        let same_each_time = block.log.is_none() && block.templates.is_empty();
        let hot = around.hot.clone().filter(|_| same_each_time);
        Ok(Self {
            hot: hot.map(|hot| (hot, generation)),
            locals: local_plugins(&block, &around.local)?,
            keys: block.keys,
            bufsize: block.bufsize,
            errors: errors.transpose()?,
            log: block.log,
            loadbalance: block.loadbalance,
            detector,
            looped: around.looped.clone(),
            cache,
            forwards: block
                .forwards
                .into_iter()
                .map(|settings| Forwarder::new(settings, &around.exchange, &around.local.registry))
                .collect::<Result<_, _>>()?,
            flights: Flights::default(),
            clock: Arc::clone(&around.clock),
            output: Arc::clone(&around.output),
        })
    }

    pub(super) fn has_keys(&self, keys: &[ServerKey]) -> bool {
        self.keys == keys
    }

    pub(super) const fn cache(&self) -> Option<&Arc<Cache>> {
        self.cache.as_ref()
    }

    /// Answers what is at hand; none if it has to wait for an upstream.
    pub(super) fn answer(
        self: &Arc<Self>,
        asking: &Asking<'_>,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Option<Done> {
        let query = asking.query;
        let limits = Limits::new(query.edns(), asking.client.transport, self.bufsize);
        if let Some(hit) = self.cached(query, now, out) {
            asking.counters.hit(hit.side);
            if hit.stale && self.verifies_stale() {
                return None;
            }
            if hit.stale || hit.prefetch {
                asking.counters.refreshing(hit.stale);
                drop(self.fly(asking, Purpose::Refresh));
            }
            self.finished(query, limits, out);
            if let Some(often) = hit.often {
                self.offer(asking, often, out);
            }
            return Some(Done {
                plugin: "cache",
                failed: false,
            });
        }
        if self.caches(query) {
            asking.counters.missed();
        }
        self.detect_loop(asking);
        match self.local(query, now) {
            Some((plugin, Step::Answer(message))) => match Response::read(message, query) {
                Ok(mut response) => {
                    self.keep(asking, &mut response, now, Purpose::Client);
                    out.clear();
                    out.extend_from_slice(response.message());
                    self.finished(query, limits, out);
                    Some(Done {
                        plugin,
                        failed: false,
                    })
                }
                Err(error) => Some(self.give_up(query, limits, &error.to_string(), out)),
            },
            Some((_, Step::Failed(error))) => Some(self.give_up(query, limits, &error, out)),
            Some((_, Step::Alias(_))) => None,
            _ if self.forwarder(query).is_some() => None,
            // The end of the chain: CoreDNS's plugin.NextOrFailure.
            _ => Some(self.give_up(query, limits, "no next plugin found", out)),
        }
    }

    /// Offers an answer out of the cache, as it goes out, to be given before the socket.
    fn offer(&self, asking: &Asking<'_>, often: Often, answer: &[u8]) {
        let (Some((hot, generation)), Some(cache)) = (&self.hot, &self.cache) else {
            return;
        };
        let Client { address, local, .. } = *asking.client;
        let (Transport::Udp, SocketAddr::V4(_), SocketAddr::V4(server)) =
            (asking.client.transport, address, local)
        else {
            return;
        };
        // What is in random order is another answer each time; what was cut makes clients
        // come back over TCP.
        let shuffled = self.loadbalance && !matches!(answer.get(6..8), Some([0, 0 | 1]));
        if shuffled || domain::base::Header::for_message_slice(answer).tc() {
            return;
        }
        hot.offer(Offer {
            server,
            query: asking.query.message().into(),
            answer: answer.into(),
            often,
            asked: asked(asking.query, asking.client),
            cache: Arc::clone(cache),
            counters: Arc::clone(asking.counters),
            generation: *generation,
        });
    }

    /// `loadbalance`, which comes before the cache, and what the client takes.
    fn finished(&self, query: &Query<'_>, limits: Limits, out: &mut Vec<u8>) {
        if self.loadbalance {
            loadbalance::shuffle(out);
        }
        // Without the cache, it is the upstream's word that is passed on.
        if self.caches(query) {
            withhold_ad(query, out);
        }
        fit(query, limits, out);
    }

    /// The `loop` plugin's question to this block itself.
    pub(super) fn probe(
        site: &Arc<Self>,
        address: SocketAddr,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let detector = site.detector.clone()?;
        Some(async move { detector.probe(address).await })
    }

    /// Tells of a loop.
    fn detect_loop(&self, asking: &Asking<'_>) {
        if let Some(detector) = &self.detector
            && let Some(tell) = &self.looped
            && let Client { address, local, .. } = *asking.client
            && let Some(line) = detector.looped(asking.query, address, local)
        {
            // Once is enough.
            let _ = tell.try_send(line);
        }
    }

    /// SERVFAIL, for the error of a plugin.
    fn give_up(&self, query: &Query<'_>, limits: Limits, error: &str, out: &mut Vec<u8>) -> Done {
        self.failed(query, Rcode::SERVFAIL, error);
        rcode_reply(query, Rcode::SERVFAIL, limits, out);
        Done {
            plugin: "",
            failed: true,
        }
    }

    /// Asks upstream.
    pub(super) async fn finish(self: &Arc<Self>, asking: &Asking<'_>) -> (Done, Vec<u8>) {
        let query = asking.query;
        let limits = Limits::new(query.edns(), asking.client.transport, self.bufsize);
        let outcome = self.fly(asking, Purpose::Client).await;
        let mut out = Vec::new();
        let mut done = Done {
            plugin: "forward",
            failed: false,
        };
        match &*outcome {
            Outcome::Answer { message, plugin } if !self.unverified(message) => {
                done.plugin = *plugin;
                out.reserve_exact(message.len() + 11);
                out.extend_from_slice(message);
            }
            // With `serve_stale … verify`, an expired answer is better than none.
            _ if self.verifies_stale()
                && self.cached(query, self.clock.now(), &mut out).is_some() =>
            {
                asking.counters.refreshing(true);
                done.plugin = "cache";
            }
            Outcome::Answer { message, plugin } => {
                done.plugin = *plugin;
                out.clear();
                out.extend_from_slice(message);
            }
            Outcome::Failed { rcode, written } => {
                rcode_reply(query, *rcode, limits, &mut out);
                done.failed = !written;
                return (done, out);
            }
        }
        self.finished(query, limits, &mut out);
        (done, out)
    }

    /// Whether such queries pass through the cache.
    fn caches(&self, query: &Query<'_>) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.covers(query))
    }

    /// Looks the query up, if it is one that is cached.
    fn cached(&self, query: &Query<'_>, now: Time, out: &mut Vec<u8>) -> Option<Hit> {
        let cache = self.cache.as_ref()?;
        if !cache.covers(query) {
            return None;
        }
        cache.get(query, now, out)
    }

    /// Keeps an answer, if it is one that is cached.
    pub(super) fn keep(
        &self,
        asking: &Asking<'_>,
        response: &mut Response,
        now: Time,
        purpose: Purpose,
    ) {
        let query = asking.query;
        let Some(cache) = self.cache.as_ref().filter(|cache| cache.covers(query)) else {
            return;
        };
        // An expired answer that is served in its stead would go.
        if self.unverified(response.message()) && cache.get(query, now, &mut Vec::new()).is_some() {
            return;
        }
        let refresh = purpose == Purpose::Refresh;
        if let Stored::Kept { side, evicted } = cache.put(query, response, now, refresh) {
            asking.counters.kept(side, evicted, cache.entries());
        }
    }

    pub(super) fn local(&self, query: &Query<'_>, now: Time) -> Option<(&'static str, Step)> {
        self.locals
            .iter()
            .map(|(name, plugin)| (*name, plugin.answer(query, now)))
            .find(|(_, step)| *step != Step::Next)
    }

    pub(super) fn forwarder(&self, query: &Query<'_>) -> Option<&Forwarder> {
        self.forwards
            .iter()
            .find(|forward| forward.takes(query.key()))
    }

    fn verifies_stale(&self) -> bool {
        self.cache.as_ref().is_some_and(|cache| {
            let stale = cache.settings().serve_stale;
            stale.is_some_and(|stale| stale.verify)
        })
    }

    /// Whether an answer does not replace a stale one: anything but NOERROR and NXDOMAIN.
    fn unverified(&self, message: &[u8]) -> bool {
        self.verifies_stale()
            && !matches!(
                domain::base::Header::for_message_slice(message).rcode(),
                Rcode::NOERROR | Rcode::NXDOMAIN
            )
    }

    pub(super) fn failed(&self, query: &Query<'_>, rcode: Rcode, error: &str) {
        if let Some(errors) = &self.errors {
            errors.failed(query, rcode, error);
        }
    }

    /// Prints the `log` plugin's line.
    pub(super) fn log(
        &self,
        classes: LogClasses,
        query: &Query<'_>,
        client: &Client,
        done: Done,
        took: Duration,
        answer: &[u8],
    ) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let wanted = match done.failed {
            true => classes.error,
            false => log::wanted(classes, answer),
        };
        if !wanted {
            return;
        }
        let line = log::Line {
            client: client.address,
            transport: client.transport,
            query,
            answer: (!done.failed).then_some(answer),
            took,
        };
        LINE.with_borrow_mut(|text| {
            text.clear();
            line.write(text);
            self.output.print(text);
        });
    }
}
