//! All groups of one process, and the page that `/metrics` is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::histogram::{Histogram, Snapshot};
use super::text::{Family, Kind, Text};
use super::{CacheMetrics, DnsMetrics, ForwardMetrics, ProxyMetrics, TIME_BUCKETS, process};

const BUILD_INFO: Family = (
    "coredns_build_info",
    Kind::Gauge,
    "A metric with a constant '1' value labeled by version, revision, and goversion from which CoreDNS was built.",
);
const PANICS: Family = (
    "coredns_panics_total",
    Kind::Counter,
    "A metrics that counts the number of panics.",
);
const ENABLED: Family = (
    "coredns_plugin_enabled",
    Kind::Gauge,
    "A metric that indicates whether a plugin is enabled on per server and zone basis.",
);
const HEALTH_DURATION: Family = (
    "coredns_health_request_duration_seconds",
    Kind::Histogram,
    "Histogram of the time (in seconds) each request took.",
);
const HEALTH_FAILURES: Family = (
    "coredns_health_request_failures_total",
    Kind::Counter,
    "The number of times the health check failed.",
);
const RELOAD_FAILED: Family = (
    "coredns_reload_failed_total",
    Kind::Counter,
    "Counter of the number of failed reload attempts.",
);
const RELOAD_VERSION: Family = (
    "coredns_reload_version_info",
    Kind::Gauge,
    "A metric with a constant '1' value labeled by hash, and value which type of hash generated.",
);
const HOSTS_ENTRIES: Family = (
    "coredns_hosts_entries",
    Kind::Gauge,
    "The combined number of entries in hosts and Corefile.",
);
const SETUP_ERRORS: Family = (
    "coredns_nodecache_setup_errors_total",
    Kind::Counter,
    "The number of errors during periodic network setup for node-cache",
);

/// What failed while node-cache's interface and rules were set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetupError {
    /// A rule could not be read, added or deleted.
    Iptables,
    /// iptables' lock was held.
    IptablesLock,
    /// The interface, or its addresses, could not be added.
    InterfaceAdd,
    /// The interface could not be looked at.
    InterfaceCheck,
    /// The configuration could not be read.
    Configmap,
}

impl SetupError {
    const ALL: [Self; 5] = [
        Self::Configmap,
        Self::InterfaceAdd,
        Self::InterfaceCheck,
        Self::Iptables,
        Self::IptablesLock,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::IptablesLock => "iptables_lock",
            Self::InterfaceAdd => "interface_add",
            Self::InterfaceCheck => "interface_check",
            Self::Configmap => "configmap",
        }
    }
}

/// Everything that is counted in a process.
#[derive(Debug, Default)]
pub struct Registry {
    version: String,
    groups: Mutex<Groups>,
    forward: Arc<ForwardMetrics>,
    /// Panics that were caught.
    pub panics: AtomicU64,
    reload_failed: AtomicU64,
    health_failures: AtomicU64,
    health_duration: Histogram<16>,
}

#[derive(Debug, Default)]
struct Groups {
    dns: Vec<Arc<DnsMetrics>>,
    caches: Vec<Arc<CacheMetrics>>,
    proxies: Vec<Arc<ProxyMetrics>>,
    /// Server, zone, plugin.
    plugins: BTreeSet<(String, String, &'static str)>,
    digest: String,
    hosts_entries: Option<usize>,
    /// None unless this is a node-cache.
    setup_errors: Option<BTreeMap<SetupError, u64>>,
}

impl Registry {
    /// Nothing counted yet, by that version of the server.
    #[must_use]
    pub fn new(version: &str) -> Arc<Self> {
        Arc::new(Self {
            version: version.to_owned(),
            ..Self::default()
        })
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counters of queries to `server` (`dns://:53`, `dns://169.254.20.10:53`) for
    /// names in the server block's `zone`.
    pub fn dns(&self, server: &str, zone: &str) -> Arc<DnsMetrics> {
        let groups = &mut self.groups().dns;
        shared(
            groups,
            |it| it.is(server, zone),
            || DnsMetrics::new(server, zone),
        )
    }

    /// Counters of the cache of `zones`, joined by commas, for queries to `server`.
    pub fn cache(&self, server: &str, zones: &str) -> Arc<CacheMetrics> {
        let groups = &mut self.groups().caches;
        shared(
            groups,
            |it| it.is(server, zones),
            || CacheMetrics::new(server, zones),
        )
    }

    /// Counters of queries to the upstream `to`.
    pub fn proxy(&self, to: SocketAddr) -> Arc<ProxyMetrics> {
        let groups = &mut self.groups().proxies;
        shared(groups, |it| it.to() == to, || ProxyMetrics::new(to))
    }

    /// Counters of all `forward`s.
    #[must_use]
    pub fn forward(&self) -> Arc<ForwardMetrics> {
        Arc::clone(&self.forward)
    }

    /// Puts what is enabled in the place of what was: server, zone, plugin.
    pub fn enable(&self, plugins: impl IntoIterator<Item = (String, String, &'static str)>) {
        self.groups().plugins = plugins.into_iter().collect();
    }

    /// Tells the digest of the Corefile in force.
    pub fn running(&self, digest: &str) {
        digest.clone_into(&mut self.groups().digest);
    }

    /// Names that `hosts` knows.
    pub fn hosts_entries(&self, count: usize) {
        self.groups().hosts_entries = Some(count);
    }

    /// From now on this is a node-cache, which counts its errors.
    pub fn count_setup_errors(&self) {
        self.groups().setup_errors.get_or_insert_default();
    }

    /// A node-cache could not set something up.
    pub fn setup_error(&self, error: SetupError) {
        let mut groups = self.groups();
        *groups
            .setup_errors
            .get_or_insert_default()
            .entry(error)
            .or_default() += 1;
    }

    /// A Corefile changed and could not be used.
    pub fn reload_failed(&self) {
        self.reload_failed.fetch_add(1, Relaxed);
    }

    /// A look at one's own `/health` took so long, and went well or not.
    pub fn health_request(&self, took: Duration, well: bool) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.health_duration.observe(&TIME_BUCKETS, took, 1);
        if !well {
            self.health_failures.fetch_add(1, Relaxed);
        }
    }

    /// The page, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Text::default();
        let build = [
            ("goversion", ""),
            ("revision", ""),
            ("version", &*self.version),
        ];
        text.value(BUILD_INFO, &build, 1.0);
        text.value(PANICS, &[], self.panics.load(Relaxed) as f64);
        text.value(RELOAD_FAILED, &[], self.reload_failed.load(Relaxed) as f64);
        text.value(
            HEALTH_FAILURES,
            &[],
            self.health_failures.load(Relaxed) as f64,
        );
        let duration = Snapshot::of(&self.health_duration);
        text.histogram(HEALTH_DURATION, &[], (&TIME_BUCKETS, 1e9), &duration);
        self.forward.write(&mut text);
        self.groups().write(&mut text);
        process::write(&mut text);
        text.finish()
    }
}

impl Groups {
    fn write(&self, text: &mut Text) {
        self.dns.iter().for_each(|it| it.write(text));
        self.caches.iter().for_each(|it| it.write(text));
        self.proxies.iter().for_each(|it| it.write(text));
        for (server, zone, plugin) in &self.plugins {
            let labels = [
                ("name", *plugin),
                ("server", server),
                ("view", ""),
                ("zone", zone),
            ];
            text.value(ENABLED, &labels, 1.0);
        }
        if !self.digest.is_empty() {
            let labels = [("hash", "sha512"), ("value", &*self.digest)];
            text.value(RELOAD_VERSION, &labels, 1.0);
        }
        if let Some(entries) = self.hosts_entries {
            text.value(HOSTS_ENTRIES, &[], entries as f64);
        }
        if let Some(errors) = &self.setup_errors {
            for error in SetupError::ALL {
                let count = errors.get(&error).copied().unwrap_or_default();
                text.value(SETUP_ERRORS, &[("errortype", error.as_str())], count as f64);
            }
        }
    }
}

/// The group that `is` the wanted one, or a new one.
fn shared<T>(groups: &mut Vec<Arc<T>>, is: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> Arc<T> {
    if let Some(group) = groups.iter().find(|it| is(it)) {
        return Arc::clone(group);
    }
    let group = Arc::new(new());
    groups.push(Arc::clone(&group));
    group
}

#[cfg(test)]
mod tests;
