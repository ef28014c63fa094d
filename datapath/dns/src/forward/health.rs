//! Upstreams, and whether they are up.

use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use domain::base::iana::Rtype;
use domain::base::{MessageBuilder, Name};

use super::random_id;
use crate::config;
use crate::message::{Zone, ZoneError};
use crate::metrics::ProxyMetrics;
use crate::upstream::{Exchange, Transport};

/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// An upstream server.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    exchange: Arc<dyn Exchange>,
    transport: Transport,
    question: Vec<u8>,
    interval: Duration,
    max_fails: u32,
    /// Probes that failed in a row.
    fails: AtomicU32,
    probing: AtomicBool,
    pub(crate) metrics: Arc<ProxyMetrics>,
}

impl Upstream {
    pub(crate) fn new(
        metrics: Arc<ProxyMetrics>,
        address: SocketAddr,
        settings: &config::Forward,
        exchange: &Arc<dyn Exchange>,
    ) -> Result<Self, ZoneError> {
        Ok(Self {
            address,
            exchange: Arc::clone(exchange),
            transport: if settings.force_tcp {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            question: probe_question(&settings.health_check)?,
            interval: settings.health_check.interval,
            max_fails: settings.max_fails,
            fails: AtomicU32::new(0),
            probing: AtomicBool::new(false),
            metrics,
        })
    }

    /// More than `max_fails` probes failed in a row.
    pub(crate) fn is_down(&self) -> bool {
        self.max_fails > 0 && self.fails.load(Ordering::Relaxed) > self.max_fails
    }

    /// Probes it until it answers, unless that is under way.
    pub(crate) fn probe(upstream: &Arc<Self>) {
        if upstream.max_fails == 0 || upstream.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let probed = Arc::downgrade(upstream);
        tokio::spawn(async move {
            // A configuration that was replaced takes its probes with it.
            while let Some(upstream) = probed.upgrade() {
                if upstream.answers().await {
                    upstream.fails.store(0, Ordering::Relaxed);
                    upstream.probing.store(false, Ordering::Release);
                    return;
                }
                upstream.fails.fetch_add(1, Ordering::Relaxed);
                upstream.metrics.healthcheck_failed();
                let interval = upstream.interval;
                drop(upstream);
                tokio::time::sleep(interval).await;
            }
        });
    }

    /// Any answer at all will do.
    async fn answers(&self) -> bool {
        let mut question = self.question.clone();
        question[..2].copy_from_slice(&random_id().to_be_bytes());
        let exchanging = self
            .exchange
            // Probes have no part in what is counted of queries.
            .exchange(self.address, self.transport, &question, &|_| ());
        matches!(
            tokio::time::timeout(PROBE_TIMEOUT, exchanging).await,
            Ok(Ok(_))
        )
    }
}

fn probe_question(check: &config::HealthCheck) -> Result<Vec<u8>, ZoneError> {
    Zone::parse(&check.domain)?;
    let name = Name::<Vec<u8>>::from_str(&check.domain).unwrap_or_else(|_| Name::root());
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_rd(check.recursion_desired);
    let mut builder = builder.question();
    // A name and a type fit into a vector.
    let _ = builder.push((name, Rtype::NS));
    Ok(builder.finish())
}
