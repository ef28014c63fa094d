//! Server blocks by address and zone, and the way of a query to its block and back.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use domain::base::iana::{Class, Rcode, Rtype};

use super::counters::Counters;
use super::site::{Asking, Done, Site};
use super::{Answer, Client};
use crate::clock::{Clock, Time};
use crate::message::{Limits, Query, Zone, rcode_reply, refusal};

/// Names that the server asks itself for, each for the one before, until it ends a circle.
const MAX_DEPTH: u8 = 8;

/// An answer that is waited for; none where there is none.
type Looking = Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>;

/// All of a service, the nearest zone first.
pub(super) struct Routes {
    routes: Vec<Route>,
    clock: Arc<dyn Clock>,
    pub(super) runtime: tokio::runtime::Handle,
}

/// One zone of a server block, at one of its addresses.
pub(super) struct Route {
    /// Address, unless the block listens on all.
    pub(super) bind: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) zone: Zone,
    pub(super) site: Arc<Site>,
    pub(super) counters: Arc<Counters>,
}

impl Routes {
    pub(super) fn new(
        mut routes: Vec<Route>,
        clock: Arc<dyn Clock>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.zone.wire_len()));
        Self {
            routes,
            clock,
            runtime,
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Answers what is at hand. `depth`: how many names were asked for on the way to this one.
    pub(super) fn answer(
        self: &Arc<Self>,
        now: Time,
        message: &[u8],
        client: &Client,
        depth: u8,
        out: &mut Vec<u8>,
    ) -> (Answer, Time) {
        let query = match Query::read(message) {
            Ok(query) => query,
            Err(error) => {
                return match refusal(message, error, out) {
                    true => (Answer::Ready, now),
                    false => (Answer::Silent, now),
                };
            }
        };
        let Some(route) = self.route(&query, client) else {
            let limits = Limits::new(query.edns(), client.transport, None);
            rcode_reply(&query, Rcode::REFUSED, limits, out);
            return (Answer::Ready, now);
        };
        let asking = self.asking(route, &query, client, depth);
        let Some(done) = route.site.answer(&asking, now, out) else {
            return (Answer::Later, now);
        };
        let ended = self.tell(route, &query, client, now, done, out);
        (Answer::Ready, ended)
    }

    /// Answers what [`Self::answer`] left for later.
    pub(super) async fn finish(
        self: &Arc<Self>,
        message: &[u8],
        client: &Client,
        depth: u8,
    ) -> Option<Vec<u8>> {
        let query = Query::read(message).ok()?;
        let route = self.route(&query, client)?;
        let began = self.now();
        let asking = self.asking(route, &query, client, depth);
        let (done, out) = route.site.finish(&asking).await;
        self.tell(route, &query, client, began, done, &out);
        Some(out)
    }

    /// What the server answers to a question of its own, for the one at `depth`: through all
    /// plugins of the block that has the name, counted and logged as the client's (CoreDNS's
    /// `upstream.Lookup`).
    pub(super) fn look_up(
        self: &Arc<Self>,
        message: Vec<u8>,
        client: Client,
        depth: u8,
    ) -> Looking {
        let routes = Arc::clone(self);
        Box::pin(async move {
            if depth >= MAX_DEPTH {
                return None;
            }
            let mut out = Vec::new();
            let now = routes.now();
            match routes.answer(now, &message, &client, depth + 1, &mut out).0 {
                Answer::Ready => Some(out),
                Answer::Silent => None,
                Answer::Later => routes.finish(&message, &client, depth + 1).await,
            }
        })
    }

    fn asking<'a>(
        self: &'a Arc<Self>,
        route: &'a Route,
        query: &'a Query<'a>,
        client: &'a Client,
        depth: u8,
    ) -> Asking<'a> {
        Asking {
            query,
            client,
            counters: &route.counters,
            routes: self,
            depth,
        }
    }

    /// Counts and logs an answer. Returns the time, if it had to look.
    fn tell(
        &self,
        route: &Route,
        query: &Query<'_>,
        client: &Client,
        began: Time,
        done: Done,
        answer: &[u8],
    ) -> Time {
        if route.site.log.is_none() && route.counters.dns.is_none() {
            return began;
        }
        let ended = self.now();
        let took = ended.saturating_sub(began);
        route.counters.answered(query, client, done, took, answer);
        if let Some(classes) = route.site.log {
            route.site.log(classes, query, client, done, took, answer);
        }
        ended
    }

    /// The block for a query: of those at this address, that of the nearest zone.
    /// CoreDNS knows one class.
    fn route(&self, query: &Query<'_>, client: &Client) -> Option<&Route> {
        if query.class() != Class::IN {
            return None;
        }
        let at = |bind: Option<IpAddr>| {
            move |route: &&Route| route.port == client.local.port() && route.bind == bind
        };
        let very = at(Some(client.local.ip()));
        if self.routes.iter().any(|route| very(&route)) {
            nearest(self.routes.iter().filter(very), query)
        } else {
            nearest(self.routes.iter().filter(at(None)), query)
        }
    }
}

/// The first route whose zone has the name. DS records are the parent's, where
/// that is served too.
fn nearest<'a>(routes: impl Iterator<Item = &'a Route>, query: &Query<'_>) -> Option<&'a Route> {
    let name = query.key();
    let mut child = None;
    for route in routes.filter(|route| route.zone.contains(name)) {
        if query.rtype() != Rtype::DS || !route.zone.is_apex(name) {
            return Some(route);
        }
        child = child.or(Some(route));
    }
    child
}
