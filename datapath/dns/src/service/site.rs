//! A server block at work: its plugins in CoreDNS's order.

use std::sync::Arc;

use domain::base::iana::Rcode;

use super::flight::Flights;
use super::{Answer, Report, ServiceError, Surroundings};
use crate::cache::{Cache, Hit};
use crate::clock::{Clock, Time};
use crate::config::ServerBlock;
use crate::forward::{ForwardError, Forwarder, upstream_query};
use crate::message::{Limits, Query, Response, ResponseError, fit, rcode_reply};
use crate::plugin::{LocalAnswers, Step};
use crate::upstream::Transport;

/// One server block.
pub(super) struct Site {
    bufsize: Option<u16>,
    errors: bool,
    cache: Option<Cache>,
    locals: Vec<Box<dyn LocalAnswers>>,
    forwards: Vec<Forwarder>,
    flights: Flights,
    clock: Arc<dyn Clock>,
    report: Arc<dyn Report>,
}

/// What came of asking upstream: the same for all who asked.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A whole answer, without OPT record.
    Answer(Vec<u8>),
    /// No answer but this.
    Failed(Rcode),
}

/// Why upstream is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A client waits.
    Client,
    /// An entry is to be replaced; nobody waits.
    Refresh,
}

impl Site {
    pub(super) fn new(block: ServerBlock, around: &Surroundings) -> Result<Self, ServiceError> {
        let forwards = block
            .forwards
            .into_iter()
            .map(|settings| Forwarder::new(settings, Arc::clone(&around.exchange)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            bufsize: block.bufsize,
            errors: block.errors,
            cache: block.cache.map(Cache::new).transpose()?,
            locals: Vec::new(),
            forwards,
            flights: Flights::default(),
            clock: Arc::clone(&around.clock),
            report: Arc::clone(&around.report),
        })
    }

    /// Answers what is at hand.
    pub(super) fn answer(
        self: &Arc<Self>,
        query: &Query<'_>,
        transport: Transport,
        now: Time,
        runtime: &tokio::runtime::Handle,
        out: &mut Vec<u8>,
    ) -> Answer {
        let limits = Limits::new(query.edns(), transport, self.bufsize);
        if let Some(hit) = self.cached(query, now, out) {
            if hit.stale && self.verifies_stale() {
                return Answer::Later;
            }
            if hit.stale || hit.prefetch {
                self.refresh(query, transport, runtime);
            }
            fit(query, limits, out);
            return Answer::Ready;
        }
        match self.local(query, now) {
            Step::Answer(message) => match Response::read(message, query) {
                Ok(mut response) => {
                    self.keep(query, &mut response, now, Purpose::Client);
                    out.clear();
                    out.extend_from_slice(response.message());
                    fit(query, limits, out);
                }
                Err(error) => {
                    self.failed(query, Rcode::SERVFAIL, &error.to_string());
                    rcode_reply(query, Rcode::SERVFAIL, limits, out);
                }
            },
            Step::Failed(error) => {
                self.failed(query, Rcode::SERVFAIL, &error);
                rcode_reply(query, Rcode::SERVFAIL, limits, out);
            }
            Step::Next if self.forwarder(query).is_some() => return Answer::Later,
            // The end of the chain: CoreDNS's plugin.NextOrFailure.
            Step::Next => {
                self.failed(
                    query,
                    Rcode::SERVFAIL,
                    "plugin/errors: no next plugin found",
                );
                rcode_reply(query, Rcode::SERVFAIL, limits, out);
            }
        }
        Answer::Ready
    }

    /// Asks upstream.
    pub(super) async fn finish(
        self: &Arc<Self>,
        query: &Query<'_>,
        transport: Transport,
        runtime: &tokio::runtime::Handle,
    ) -> Vec<u8> {
        let limits = Limits::new(query.edns(), transport, self.bufsize);
        let outcome = self.fly(query, transport, Purpose::Client, runtime).await;
        let mut out = Vec::new();
        match &*outcome {
            Outcome::Answer(message) if !self.unverified(message) => {
                out.reserve(message.len() + 16);
                out.extend_from_slice(message);
            }
            // With `serve_stale … verify`, an expired answer is better than none.
            _ if self.verifies_stale()
                && self.cached(query, self.clock.now(), &mut out).is_some() => {}
            Outcome::Answer(message) => {
                out.clear();
                out.extend_from_slice(message);
            }
            Outcome::Failed(rcode) => {
                rcode_reply(query, *rcode, limits, &mut out);
                return out;
            }
        }
        fit(query, limits, &mut out);
        out
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
    fn keep(&self, query: &Query<'_>, response: &mut Response, now: Time, purpose: Purpose) {
        if let Some(cache) = self.cache.as_ref().filter(|cache| cache.covers(query)) {
            cache.put(query, response, now, purpose == Purpose::Refresh);
        }
    }

    fn local(&self, query: &Query<'_>, now: Time) -> Step {
        for plugin in &self.locals {
            match plugin.answer(query, now) {
                Step::Next => {}
                done => return done,
            }
        }
        Step::Next
    }

    fn forwarder(&self, query: &Query<'_>) -> Option<(usize, &Forwarder)> {
        let mut forwards = self.forwards.iter().enumerate();
        forwards.find(|(_, forward)| forward.takes(query.key()))
    }

    fn verifies_stale(&self) -> bool {
        self.cache.as_ref().is_some_and(|cache| {
            cache
                .settings()
                .serve_stale
                .is_some_and(|stale| stale.verify)
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

    /// Asks upstream again; nobody waits.
    fn refresh(
        self: &Arc<Self>,
        query: &Query<'_>,
        transport: Transport,
        runtime: &tokio::runtime::Handle,
    ) {
        drop(self.fly(query, transport, Purpose::Refresh, runtime));
    }

    /// Joins whoever asks the same at this moment, or asks.
    fn fly(
        self: &Arc<Self>,
        query: &Query<'_>,
        transport: Transport,
        purpose: Purpose,
        runtime: &tokio::runtime::Handle,
    ) -> impl Future<Output = Arc<Outcome>> + use<> {
        let site = Arc::clone(self);
        let message: Box<[u8]> = query.message().into();
        let asked = async move {
            match Query::read(&message) {
                Ok(query) => site.ask(&query, transport, purpose).await,
                Err(_) => Outcome::Failed(Rcode::SERVFAIL),
            }
        };
        self.flights
            .join(self.flight_key(query, transport), runtime, asked)
    }

    /// Queries with the same key get the same answer.
    fn flight_key(&self, query: &Query<'_>, transport: Transport) -> Box<[u8]> {
        let mut key = upstream_query(query, self.bufsize, 0);
        let name = query.key().as_bytes();
        key[crate::message::HEADER..][..name.len()].copy_from_slice(name);
        key.push(match transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
        });
        key.into_boxed_slice()
    }

    async fn ask(&self, query: &Query<'_>, transport: Transport, purpose: Purpose) -> Outcome {
        let Some((_, forwarder)) = self.forwarder(query) else {
            return Outcome::Failed(Rcode::SERVFAIL);
        };
        let transport = forwarder.transport(transport);
        match forwarder.ask(query, transport, self.bufsize).await {
            Ok(answer) => self.take(query, answer, purpose),
            Err(error) => {
                self.failed(query, error.rcode(), &error.to_string());
                Outcome::Failed(ForwardError::rcode(&error))
            }
        }
    }

    fn take(&self, query: &Query<'_>, answer: Vec<u8>, purpose: Purpose) -> Outcome {
        match Response::read(answer, query) {
            Ok(mut response) => {
                self.keep(query, &mut response, self.clock.now(), purpose);
                Outcome::Answer(response.into_message())
            }
            Err(ResponseError::Mismatch) => Outcome::Failed(Rcode::FORMERR),
            Err(error @ ResponseError::Malformed) => {
                self.failed(query, Rcode::SERVFAIL, &error.to_string());
                Outcome::Failed(Rcode::SERVFAIL)
            }
        }
    }

    fn failed(&self, query: &Query<'_>, rcode: Rcode, error: &str) {
        if self.errors {
            self.report.failed(rcode, query, error);
        }
    }
}
