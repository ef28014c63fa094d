//! What a block does when its cache has no answer, or an old one.

use std::sync::Arc;

use domain::base::iana::Rcode;

use super::site::{Asking, Site};
use crate::forward::upstream_query;
use crate::message::{HEADER, Query, Response, ResponseError};
use crate::plugin::Step;
use crate::upstream::Transport;

/// What came of asking upstream: the same for all who asked.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A whole answer.
    Answer {
        /// Without OPT record.
        message: Vec<u8>,
        /// The plugin whose answer it is.
        plugin: &'static str,
    },
    /// No answer but this.
    Failed {
        /// What the client is told.
        rcode: Rcode,
        /// It is the plugin's own answer, not the server's for a plugin that failed.
        written: bool,
    },
}

/// Why upstream is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client waits.
    Client,
    /// An entry is to be replaced; nobody waits.
    Refresh,
}

/// SERVFAIL for a plugin that failed.
pub(super) const FAILED: Outcome = Outcome::Failed {
    rcode: Rcode::SERVFAIL,
    written: false,
};

impl Site {
    /// Joins whoever asks the same at this moment, or asks.
    pub(super) fn fly(
        self: &Arc<Self>,
        asking: &Asking<'_>,
        purpose: Purpose,
    ) -> impl Future<Output = Arc<Outcome>> + use<> {
        let site = Arc::clone(self);
        let message: Box<[u8]> = asking.query.message().into();
        let (client, depth) = (*asking.client, asking.depth);
        let (counters, routes) = (Arc::clone(asking.counters), Arc::clone(asking.routes));
        let asked = async move {
            let Ok(query) = Query::read(&message) else {
                return FAILED;
            };
            let asking = Asking {
                query: &query,
                client: &client,
                counters: &counters,
                routes: &routes,
                depth,
            };
            site.ask(&asking, purpose).await
        };
        self.flights
            .join(self.flight_key(asking), &asking.routes.runtime, asked)
    }

    /// Queries with the same key get the same answer. One that the server asks itself waits for
    /// none that may wait for it.
    fn flight_key(&self, asking: &Asking<'_>) -> Box<[u8]> {
        let query = asking.query;
        let mut key = upstream_query(query, self.bufsize, 0);
        let name = query.key().as_bytes();
        key[HEADER..][..name.len()].copy_from_slice(name);
        key.push(asking.depth);
        key.push(match asking.client.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
        });
        key.into_boxed_slice()
    }

    async fn ask(&self, asking: &Asking<'_>, purpose: Purpose) -> Outcome {
        let query = asking.query;
        // Entries that are refreshed may be of a local plugin.
        match self.local(query, self.clock.now()) {
            Some((plugin, Step::Answer(message))) => {
                return self.take(asking, message, purpose, plugin);
            }
            Some((plugin, Step::Alias(alias))) => {
                let (client, question) = (*asking.client, alias.question(query));
                let found = asking.routes.look_up(question, client, asking.depth).await;
                let message = alias.completed(&found.unwrap_or_default());
                return self.take(asking, message, purpose, plugin);
            }
            Some((_, Step::Failed(error))) => {
                self.failed(query, Rcode::SERVFAIL, &error);
                return FAILED;
            }
            _ => {}
        }
        let Some(forwarder) = self.forwarder(query) else {
            return FAILED;
        };
        let transport = forwarder.transport(asking.client.transport);
        match forwarder.ask(query, transport, self.bufsize).await {
            Ok(answer) => self.take(asking, answer, purpose, "forward"),
            Err(error) => {
                self.failed(query, error.rcode(), &error.to_string());
                Outcome::Failed {
                    rcode: error.rcode(),
                    written: false,
                }
            }
        }
    }

    fn take(
        &self,
        asking: &Asking<'_>,
        answer: Vec<u8>,
        purpose: Purpose,
        plugin: &'static str,
    ) -> Outcome {
        match Response::read(answer, asking.query) {
            Ok(mut response) => {
                self.keep(asking, &mut response, self.clock.now(), purpose);
                Outcome::Answer {
                    message: response.into_message(),
                    plugin,
                }
            }
            Err(ResponseError::Mismatch) => {
                asking.counters.dropped();
                Outcome::Failed {
                    rcode: Rcode::FORMERR,
                    written: true,
                }
            }
            Err(error @ ResponseError::Malformed) => {
                self.failed(asking.query, Rcode::SERVFAIL, &error.to_string());
                FAILED
            }
        }
    }
}
