//! What is counted of queries to one address for one zone.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use domain::base::Header;
use domain::base::iana::Rcode;

use super::Client;
use super::site::Done;
use crate::cache::Side;
use crate::config::{Config, ServerBlock, ServerKey};
use crate::message::Query;
use crate::metrics::{Answered, Asked, CacheMetrics, DnsMetrics, Registry};
use crate::upstream::Transport;

/// Counters, of blocks with `prometheus`.
pub(crate) struct Counters {
    pub(super) dns: Option<Arc<DnsMetrics>>,
    cache: Option<Arc<CacheMetrics>>,
}

impl Counters {
    pub(super) fn new(
        block: &ServerBlock,
        key: &ServerKey,
        bind: Option<IpAddr>,
        registry: &Registry,
    ) -> Self {
        let server = server(key, bind);
        let zones: Vec<_> = match &block.cache {
            Some(cache) if !cache.zones.is_empty() => {
                cache.zones.iter().map(String::as_str).collect()
            }
            _ => block.keys.iter().map(|key| &*key.zone).collect(),
        };
        let counted = block.prometheus.is_some();
        Self {
            dns: counted.then(|| registry.dns(&server, &key.zone)),
            cache: (counted && block.cache.is_some())
                .then(|| registry.cache(&server, &zones.join(","))),
        }
    }

    /// Server, zone and plugin of everything that is enabled.
    pub(super) fn plugins(config: &Config) -> Vec<(String, String, &'static str)> {
        let mut enabled = Vec::new();
        for block in &config.blocks {
            let binds = match &*block.bind {
                [] => vec![None],
                bind => bind.iter().copied().map(Some).collect(),
            };
            for key in &block.keys {
                for &bind in &binds {
                    let names = plugins(block).into_iter();
                    enabled.extend(names.map(|it| (server(key, bind), key.zone.clone(), it)));
                }
            }
        }
        enabled
    }

    pub(super) fn hit(&self, side: Side) {
        self.hits(side, 1);
    }

    fn hits(&self, side: Side, times: u64) {
        if let Some(cache) = &self.cache {
            let cache = cache.own();
            cache.requests.fetch_add(times, Relaxed);
            match side {
                Side::Success => &cache.hits_success,
                Side::Denial => &cache.hits_denial,
            }
            .fetch_add(times, Relaxed);
        }
    }

    /// As many hits that were answered before the socket.
    pub(crate) fn hits_elsewhere(
        &self,
        side: Side,
        asked: &Asked,
        answered: &Answered,
        times: u64,
    ) {
        self.hits(side, times);
        if let Some(dns) = &self.dns {
            dns.count_alike(asked, answered, times);
        }
    }

    pub(super) fn missed(&self) {
        if let Some(cache) = &self.cache {
            cache.own().requests.fetch_add(1, Relaxed);
            cache.own().misses.fetch_add(1, Relaxed);
        }
    }

    /// Expired answers are served (`stale`), or an entry is asked for before it expires.
    pub(super) fn refreshing(&self, stale: bool) {
        if let Some(cache) = &self.cache {
            match stale {
                true => &cache.own().served_stale,
                false => &cache.own().prefetch,
            }
            .fetch_add(1, Relaxed);
        }
    }

    /// The upstream answered another question.
    pub(super) fn dropped(&self) {
        if let Some(cache) = &self.cache {
            cache.own().drops.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn kept(&self, side: Side, evicted: bool, entries: (usize, usize)) {
        let Some(cache) = &self.cache else {
            return;
        };
        cache.entries_success.store(entries.0 as u64, Relaxed);
        cache.entries_denial.store(entries.1 as u64, Relaxed);
        if evicted {
            match side {
                Side::Success => &cache.own().evictions_success,
                Side::Denial => &cache.own().evictions_denial,
            }
            .fetch_add(1, Relaxed);
        }
    }

    pub(super) fn answered(
        &self,
        query: &Query<'_>,
        client: &Client,
        done: Done,
        took: Duration,
        answer: &[u8],
    ) {
        let Some(dns) = &self.dns else {
            return;
        };
        let rcode = match answer.len() {
            ..12 => Rcode::SERVFAIL,
            _ => Header::for_message_slice(answer).rcode(),
        };
        let answered = Answered {
            rcode,
            size: answer.len(),
            plugin: done.plugin,
            took,
        };
        dns.count(&asked(query, client), &answered);
    }
}

/// A query, as it is counted.
pub(super) fn asked(query: &Query<'_>, client: &Client) -> Asked {
    let buffer = match (client.transport, query.edns()) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, Some(edns)) => edns.udp_size,
        (Transport::Udp, None) => 512,
    };
    Asked {
        client: client.address.ip(),
        transport: client.transport,
        rtype: query.rtype(),
        dnssec_ok: query.dnssec_ok(),
        buffer,
    }
}

/// CoreDNS's name of a listener.
fn server(key: &ServerKey, bind: Option<IpAddr>) -> String {
    match bind {
        None => format!("dns://:{}", key.port),
        Some(IpAddr::V4(address)) => format!("dns://{address}:{}", key.port),
        Some(IpAddr::V6(address)) => format!("dns://[{address}]:{}", key.port),
    }
}

fn plugins(block: &ServerBlock) -> Vec<&'static str> {
    let there = [
        ("bufsize", block.bufsize.is_some()),
        ("cache", block.cache.is_some()),
        ("errors", block.errors.is_some()),
        ("forward", !block.forwards.is_empty()),
        ("health", block.health.is_some()),
        ("hosts", block.hosts.is_some()),
        ("kubernetes", block.kubernetes.is_some()),
        ("loadbalance", block.loadbalance),
        ("log", block.log.is_some()),
        ("loop", block.detect_loop),
        ("prometheus", block.prometheus.is_some()),
        ("ready", block.ready.is_some()),
        ("reload", block.reload.is_some()),
        ("template", !block.templates.is_empty()),
    ];
    there
        .into_iter()
        .filter_map(|(name, is)| is.then_some(name))
        .collect()
}
