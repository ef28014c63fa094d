//! What a Corefile comes to: server blocks with their plugins, typed and checked.
//!
//! Made by [`crate::corefile`], which reports faults with file:line; read by the
//! server. Plugins run in CoreDNS's order (its plugin.cfg), not the Corefile's: `bind`,
//! `ready`, `health`, `prometheus`, `errors`, `log`, `bufsize`, `loadbalance`,
//! `cache`, `template`, `hosts`, `kubernetes`, `zone`, `loop`, `forward`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A Corefile, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file, for messages.
    pub file: PathBuf,
    /// SHA512 of the text, lower-case hex: what `reload` prints and compares.
    pub digest: String,
    /// Server blocks in the file's order.
    pub blocks: Vec<ServerBlock>,
}

/// One server block: `cluster.local:53 { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerBlock {
    /// Zones and ports it answers for. A block's cache and forwarders are shared
    /// by its keys, its metrics are labelled with them.
    pub keys: Vec<ServerKey>,
    /// `bind`: addresses to listen on; none means all (`0.0.0.0` and `::`).
    pub bind: Vec<IpAddr>,
    /// `errors`: failed queries are told of.
    pub errors: Option<Errors>,
    /// `log`: which answers are logged.
    pub log: Option<LogClasses>,
    /// `health`
    pub health: Option<Health>,
    /// `ready`: where `/ready` is served; `:8181`.
    pub ready: Option<SocketAddr>,
    /// `prometheus`: where `/metrics` is served; `localhost:9153`.
    pub prometheus: Option<SocketAddr>,
    /// `reload`: how often the file is looked at.
    pub reload: Option<Reload>,
    /// `loop`: ask oneself once for a random name, and end if that comes back.
    pub detect_loop: bool,
    /// `loadbalance`: A, AAAA and MX records in random order.
    pub loadbalance: bool,
    /// `bufsize`: the largest UDP size that is told upstream and taken from clients.
    pub bufsize: Option<u16>,
    /// `cache`
    pub cache: Option<CacheSettings>,
    /// `template`s in the file's order.
    pub templates: Vec<Template>,
    /// `hosts`
    pub hosts: Option<Hosts>,
    /// `kubernetes`
    pub kubernetes: Option<Kubernetes>,
    /// `zone`
    pub zone: Option<ZoneFile>,
    /// `forward`s in the file's order; the first whose zone fits takes the query.
    pub forwards: Vec<Forward>,
}

/// A zone and port of a server block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerKey {
    /// Lower case, absolute, with the final dot; `.` for all.
    pub zone: String,
    /// Port; 53 unless given.
    pub port: u16,
}

/// `errors`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Errors that are told together, each by the first expression that fits.
    pub consolidate: Vec<Consolidate>,
}

/// `consolidate` of `errors`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consolidate {
    /// From the first error to the line that tells of it.
    pub period: Duration,
    /// Regular expression that fits a part of the error's text.
    pub pattern: String,
    /// Of that line.
    pub level: Level,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Not printed.
    Debug,
    /// `[INFO]`
    Info,
    /// `[WARNING]`
    Warning,
    /// `[ERROR]`
    Error,
}

/// Classes of answers that `log` prints. All off would be no `log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogClasses {
    /// NOERROR with an answer.
    pub success: bool,
    /// NXDOMAIN and NODATA.
    pub denial: bool,
    /// SERVFAIL, REFUSED, FORMERR and others.
    pub error: bool,
}

/// `health [ADDRESS] { lameduck DURATION }`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Where `/health` is served; `:8080`.
    pub address: SocketAddr,
    /// How long to go on after SIGTERM, unhealthy.
    pub lameduck: Duration,
}

/// `reload [INTERVAL] [JITTER]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// 30 s.
    pub interval: Duration,
    /// Each wait is longer or shorter by up to this; 15 s.
    pub jitter: Duration,
}

/// `cache [TTL] [ZONES…] { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct CacheSettings {
    /// Zones that are cached; empty for the block's.
    pub zones: Vec<String>,
    /// `success CAPACITY [TTL] [MINTTL]`; 9984, 3600 s, 5 s.
    pub success: CacheBounds,
    /// `denial CAPACITY [TTL] [MINTTL]`; 9984, 1800 s, 5 s.
    pub denial: CacheBounds,
    /// `prefetch AMOUNT [DURATION [PERCENTAGE]]`
    pub prefetch: Option<Prefetch>,
    /// `serve_stale [DURATION] [immediate|verify]`
    pub serve_stale: Option<ServeStale>,
    /// `servfail DURATION`: 5 s, at most 5 min, 0 for never.
    pub servfail: Duration,
    /// `disable success [ZONES…]`: names below these zones aren't cached; `.` for all.
    pub disable_success: Vec<String>,
    /// `disable denial [ZONES…]`
    pub disable_denial: Vec<String>,
    /// `keepttl`: answers carry the upstream's TTL as it was.
    pub keepttl: bool,
}

/// Bounds of one of the two caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheBounds {
    /// Entries; at least 1024.
    pub capacity: u32,
    /// Longest time that an answer is kept, and its largest TTL, seconds.
    pub max_ttl: u32,
    /// Shortest, seconds.
    pub min_ttl: u32,
}

/// Names that are asked for often are asked upstream again before they expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// Queries for a name that make it popular; 0 would be no prefetch.
    pub amount: u32,
    /// No longer gap between them than this; 1 min.
    pub duration: Duration,
    /// When less than this share of its TTL is left, percent; 10.
    pub percentage: u8,
}

/// Expired answers are served with TTL 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeStale {
    /// For how long after they expired; 1 h.
    pub duration: Duration,
    /// Whether the upstream is asked first (`verify`), or after (`immediate`).
    pub verify: bool,
}

/// `forward FROM TO… { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Zone that it takes, absolute.
    pub from: String,
    /// Upstream servers: addresses as written, those of a `resolv.conf` in its place.
    pub to: Vec<SocketAddr>,
    /// `except`: zones below `from` that it leaves alone.
    pub except: Vec<String>,
    /// `force_tcp`
    pub force_tcp: bool,
    /// `prefer_udp`
    pub prefer_udp: bool,
    /// `max_fails`: failed health probes in a row that make an upstream down; 2, 0 for never.
    pub max_fails: u32,
    /// `expire`: idle connections are closed after this; 10 s.
    pub expire: Duration,
    /// `policy`
    pub policy: Policy,
    /// `health_check DURATION [no_rec] [domain NAME]`; 0.5 s, `.`
    pub health_check: HealthCheck,
    /// `max_concurrent`: queries under way, above which REFUSED is the answer; 0 for any number.
    pub max_concurrent: u32,
}

/// In what order upstreams are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Whichever.
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
    /// The first that is up.
    Sequential,
}

/// How an upstream is probed once it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Time between probes.
    pub interval: Duration,
    /// Whether probes ask for recursion.
    pub recursion_desired: bool,
    /// Name of the `NS` query, absolute.
    pub domain: String,
}

/// `hosts [FILE [ZONES…]] { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Hosts {
    /// `/etc/hosts` unless given; looked at again every [`Self::reload`].
    pub file: PathBuf,
    /// Zones; empty for the block's.
    pub zones: Vec<String>,
    /// Lines written in the Corefile itself.
    pub inline: Vec<(IpAddr, String)>,
    /// `ttl`: 3600 s.
    pub ttl: u32,
    /// `no_reverse`: PTR queries aren't answered.
    pub no_reverse: bool,
    /// `reload`: 5 s, zero for never.
    pub reload: Duration,
    /// `fallthrough [ZONES…]`
    pub fallthrough: Fallthrough,
}

/// `template CLASS TYPE [ZONES…] { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Query class, or none for ANY.
    pub class: Option<u16>,
    /// Query type, or none for ANY.
    pub rtype: Option<u16>,
    /// Zones; empty for the block's.
    pub zones: Vec<String>,
    /// `match`: regular expressions, of which one must fit; `.*` without any.
    pub matches: Vec<String>,
    /// `answer`, `additional` and `authority` lines: records with Go templates in them.
    pub answers: Vec<String>,
    /// See [`Self::answers`].
    pub additionals: Vec<String>,
    /// See [`Self::answers`].
    pub authorities: Vec<String>,
    /// `rcode`: NOERROR.
    pub rcode: u8,
    /// `fallthrough [ZONES…]`
    pub fallthrough: Fallthrough,
}

/// `kubernetes [ZONES…] { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Kubernetes {
    /// Zones; those that end in `in-addr.arpa.` or `ip6.arpa.` are for PTR. The
    /// first other one is the primary, of which SRV and PTR answers are made.
    pub zones: Vec<String>,
    /// `pods`
    pub pods: PodMode,
    /// `endpoint_pod_names`: endpoints without host name are called by their pod.
    pub endpoint_pod_names: bool,
    /// `ttl`: 5 s unless given, up to an hour.
    pub ttl: u32,
    /// `namespaces`: those that are shown; empty for all.
    pub namespaces: Vec<String>,
    /// `noendpoints`
    pub no_endpoints: bool,
    /// `ignore empty_service`: a service without ready endpoints doesn't exist.
    pub ignore_empty_service: bool,
    /// `fallthrough [ZONES…]`
    pub fallthrough: Fallthrough,
}

/// `zone FILE { resolver }`: labctl's own plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneFile {
    /// The file; read when the server starts.
    pub file: PathBuf,
    /// `resolver`: answers look like those of a server that asked around, not the owner's.
    pub resolver: bool,
}

/// `pods disabled|insecure|verified`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodMode {
    /// NXDOMAIN
    #[default]
    Disabled,
    /// `10-0-2-15.default.pod…` is 10.0.2.15, whether or not there is such a pod.
    Insecure,
    /// Only if there is one in that namespace.
    Verified,
}

/// Whether names that a plugin doesn't know go to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fallthrough {
    /// The plugin answers NXDOMAIN.
    #[default]
    Never,
    /// All names.
    Always,
    /// Names below these zones.
    Zones(Vec<String>),
}
