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
    /// A whole answer, without OPT record.
    Answer(Vec<u8>),
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
        let (client, runtime) = (*asking.client, asking.runtime.clone());
        let counters = Arc::clone(asking.counters);
        let asked = async move {
            let Ok(query) = Query::read(&message) else {
                return FAILED;
            };
            let asking = Asking {
                query: &query,
                client: &client,
                counters: &counters,
                runtime: &runtime,
            };
            site.ask(&asking, purpose).await
        };
        let key = self.flight_key(asking.query, asking.client.transport);
        self.flights.join(key, asking.runtime, asked)
    }

    /// Queries with the same key get the same answer.
    fn flight_key(&self, query: &Query<'_>, transport: Transport) -> Box<[u8]> {
        let mut key = upstream_query(query, self.bufsize, 0);
        let name = query.key().as_bytes();
        key[HEADER..][..name.len()].copy_from_slice(name);
        key.push(match transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
        });
        key.into_boxed_slice()
    }

    async fn ask(&self, asking: &Asking<'_>, purpose: Purpose) -> Outcome {
        let query = asking.query;
        // Entries that are refreshed may be of a local plugin.
        match self.local(query, self.clock.now()) {
            Some((_, Step::Answer(message))) => return self.take(asking, message, purpose),
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
            Ok(answer) => self.take(asking, answer, purpose),
            Err(error) => {
                self.failed(query, error.rcode(), &error.to_string());
                Outcome::Failed {
                    rcode: error.rcode(),
                    written: false,
                }
            }
        }
    }

    fn take(&self, asking: &Asking<'_>, answer: Vec<u8>, purpose: Purpose) -> Outcome {
        match Response::read(answer, asking.query) {
            Ok(mut response) => {
                self.keep(asking, &mut response, self.clock.now(), purpose);
                Outcome::Answer(response.into_message())
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
