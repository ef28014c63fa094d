//! `coredns_dns_*`: queries and answers of one server address and zone.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};

use super::TIME_BUCKETS;
use super::histogram::{Histogram, Snapshot};
use super::sharded::Sharded;
use super::text::{Family, Kind, Text};
use crate::upstream::Transport;

const REQUESTS: Family = (
    "coredns_dns_requests_total",
    Kind::Counter,
    "Counter of DNS requests made per zone, protocol and family.",
);
const DO_REQUESTS: Family = (
    "coredns_dns_do_requests_total",
    Kind::Counter,
    "Counter of DNS requests with DO bit set per zone.",
);
const DURATION: Family = (
    "coredns_dns_request_duration_seconds",
    Kind::Histogram,
    "Histogram of the time (in seconds) each request took per zone.",
);
const REQUEST_SIZE: Family = (
    "coredns_dns_request_size_bytes",
    Kind::Histogram,
    "Size of the EDNS0 UDP buffer in bytes (64K for TCP) per zone and protocol.",
);
const RESPONSE_SIZE: Family = (
    "coredns_dns_response_size_bytes",
    Kind::Histogram,
    "Size of the returned response in bytes per zone and protocol.",
);
const RESPONSES: Family = (
    "coredns_dns_responses_total",
    Kind::Counter,
    "Counter of response status codes.",
);

const SIZE_BUCKETS: [u64; 14] = [
    0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000,
];
/// Types that CoreDNS counts by name; the rest are `other` (its `vars.monitorType`).
const TYPES: [Rtype; 16] = [
    Rtype::A,
    Rtype::AAAA,
    Rtype::CNAME,
    Rtype::DNSKEY,
    Rtype::DS,
    Rtype::HTTPS,
    Rtype::MX,
    Rtype::NS,
    Rtype::NSEC,
    Rtype::NSEC3,
    Rtype::PTR,
    Rtype::RRSIG,
    Rtype::SOA,
    Rtype::SRV,
    Rtype::SVCB,
    Rtype::TXT,
];
const OTHER: usize = TYPES.len();
const RCODES: usize = 16;
const FAMILIES: [&str; 2] = ["1", "2"];
const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];
/// Plugins that answer, and none: the server itself.
const PLUGINS: [&str; 7] = [
    "",
    "cache",
    "forward",
    "hosts",
    "kubernetes",
    "template",
    "zone",
];

/// A query, as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Address of the client.
    pub client: IpAddr,
    /// How it came.
    pub transport: Transport,
    /// Query type.
    pub rtype: Rtype,
    /// DO
    pub dnssec_ok: bool,
    /// Octets of an answer that the client takes: what its OPT says, 512 without
    /// one, 65535 by TCP.
    pub buffer: u16,
}

/// An answer, as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// RCODE
    pub rcode: Rcode,
    /// Octets.
    pub size: usize,
    /// The plugin whose answer it is: `cache`, `forward` and so on; empty for the server's own.
    pub plugin: &'static str,
    /// From query to answer.
    pub took: Duration,
}

/// What is counted of one server address and zone.
#[derive(Debug)]
pub struct DnsMetrics {
    server: String,
    zone: String,
    shards: Sharded<Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    /// By family, transport, type.
    requests: [[[AtomicU64; OTHER + 1]; 2]; 2],
    do_requests: AtomicU64,
    duration: Histogram<16>,
    request_size: [Histogram<14>; 2],
    response_size: [Histogram<14>; 2],
    /// By plugin, RCODE.
    responses: [[AtomicU64; RCODES]; PLUGINS.len()],
}

impl DnsMetrics {
    pub(super) fn new(server: &str, zone: &str) -> Self {
        Self {
            server: server.to_owned(),
            zone: zone.to_owned(),
            shards: Sharded::default(),
        }
    }

    pub(super) fn is(&self, server: &str, zone: &str) -> bool {
        self.server == server && self.zone == zone
    }

    /// Counts a query and its answer.
    pub fn count(&self, asked: &Asked, answered: &Answered) {
        self.count_alike(asked, answered, 1);
    }

    /// Counts that many queries and answers that are alike.
    pub fn count_alike(&self, asked: &Asked, answered: &Answered, times: u64) {
        let shard = self.shards.own();
        let transport = usize::from(asked.transport == Transport::Tcp);
        let family = usize::from(asked.client.to_canonical().is_ipv6());
        let rtype = TYPES.iter().position(|rtype| *rtype == asked.rtype);
        shard.requests[family][transport][rtype.unwrap_or(OTHER)].fetch_add(times, Relaxed);
        if asked.dnssec_ok {
            shard.do_requests.fetch_add(times, Relaxed);
        }
        let took = u64::try_from(answered.took.as_nanos()).unwrap_or(u64::MAX);
        shard.duration.observe(&TIME_BUCKETS, took, times);
        shard.request_size[transport].observe(&SIZE_BUCKETS, asked.buffer.into(), times);
        let size = u64::try_from(answered.size).unwrap_or(u64::MAX);
        shard.response_size[transport].observe(&SIZE_BUCKETS, size, times);
        let plugin = PLUGINS.iter().position(|name| *name == answered.plugin);
        let rcode = usize::from(answered.rcode.to_int()) % RCODES;
        shard.responses[plugin.unwrap_or(0)][rcode].fetch_add(times, Relaxed);
    }

    pub(super) fn write(&self, text: &mut Text) {
        let (server, zone) = (("server", &*self.server), ("zone", &*self.zone));
        let view = ("view", "");
        self.write_requests(text);
        let count = self.shards.sum(|it| it.do_requests.load(Relaxed));
        text.count(DO_REQUESTS, &[server, view, zone], count);
        let duration = self.snapshot(|it| &it.duration);
        if duration.total() > 0 {
            text.histogram(
                DURATION,
                &[server, view, zone],
                (&TIME_BUCKETS, 1e9),
                &duration,
            );
        }
        for (at, transport) in TRANSPORTS.iter().enumerate() {
            let labels = [("proto", transport.as_str()), server, view, zone];
            for (family, snapshot) in [
                (REQUEST_SIZE, self.snapshot(|it| &it.request_size[at])),
                (RESPONSE_SIZE, self.snapshot(|it| &it.response_size[at])),
            ] {
                if snapshot.total() > 0 {
                    text.histogram(family, &labels, (&SIZE_BUCKETS, 1.0), &snapshot);
                }
            }
        }
        for (plugin, name) in PLUGINS.iter().enumerate() {
            for rcode in 0..RCODES {
                let count = self
                    .shards
                    .sum(|it| it.responses[plugin][rcode].load(Relaxed));
                let code = Rcode::masked_from_int(u8::try_from(rcode).unwrap_or_default());
                let labels = [
                    ("plugin", *name),
                    ("rcode", &*code.to_string()),
                    server,
                    view,
                    zone,
                ];
                text.count(RESPONSES, &labels, count);
            }
        }
    }

    fn write_requests(&self, text: &mut Text) {
        for (family, number) in FAMILIES.iter().enumerate() {
            for (at, transport) in TRANSPORTS.iter().enumerate() {
                for rtype in 0..=OTHER {
                    let load = |it: &Shard| it.requests[family][at][rtype].load(Relaxed);
                    let name = TYPES.get(rtype).map(ToString::to_string);
                    let labels = [
                        ("family", *number),
                        ("proto", transport.as_str()),
                        ("server", &*self.server),
                        ("type", name.as_deref().unwrap_or("other")),
                        ("view", ""),
                        ("zone", &*self.zone),
                    ];
                    text.count(REQUESTS, &labels, self.shards.sum(load));
                }
            }
        }
    }

    fn snapshot<const N: usize>(&self, of: impl Fn(&Shard) -> &Histogram<N>) -> Snapshot<N> {
        let sum = self.shards.sum(|it| of(it).sum());
        Snapshot::new(|bucket| self.shards.sum(|it| of(it).count(bucket)), sum)
    }
}
