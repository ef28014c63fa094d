//! The scenarios against ours: no sockets, and tokio's paused time as the clock.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab_dns::clock::{Clock, Time};
use lab_dns::corefile::{self, Pillars};
use lab_dns::kubernetes::{Records, Store};
use lab_dns::metrics::Registry;
use lab_dns::service::{Client, Service, Surroundings};
use lab_dns::upstream::{Exchange, Exchanging, Taken, Transport};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::rpl::Scenario;
use crate::runner::{self, Answer, Difference, Server};
use crate::script::{Outcome, Script};

/// Longer than any answer takes, by the fake clock.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays a scenario, as fast as it can be computed.
pub(crate) fn play(scenario: &Scenario) -> Result<Vec<Difference>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    runtime.block_on(async {
        let script = Arc::new(Script::of(scenario));
        let mut ours = Ours::start(scenario, &script)?;
        Ok(runner::play(scenario, &script, &mut ours).await)
    })
}

/// tokio's time, which stands still until all wait for it.
struct Paused(Instant);

impl Clock for Paused {
    fn now(&self) -> Time {
        self.0.elapsed()
    }
}

/// The scripted upstreams, without sockets.
struct Scripted(Arc<Script>);

impl Exchange for Scripted {
    fn exchange<'a>(
        &'a self,
        upstream: SocketAddr,
        transport: Transport,
        query: &'a [u8],
        _: Taken<'a>,
    ) -> Exchanging<'a> {
        Box::pin(async move {
            match self
                .0
                .answer(upstream.ip(), transport == Transport::Tcp, query)
            {
                Outcome::Reply { octets, delay } => {
                    tokio::time::sleep(delay).await;
                    Ok(octets)
                }
                Outcome::Silence => std::future::pending::<io::Result<Vec<u8>>>().await,
            }
        })
    }
}

struct Ours {
    service: Arc<Service>,
    metrics: Arc<Registry>,
    answers: mpsc::UnboundedReceiver<Answer>,
    sender: mpsc::UnboundedSender<Answer>,
}

impl Ours {
    fn start(scenario: &Scenario, script: &Arc<Script>) -> Result<Self> {
        let file = Path::new(&scenario.name);
        let config = corefile::parse(file, &scenario.corefile, &Pillars::default())
            .context("the scenario's Corefile")?;
        let records = Store::default();
        if let Some(text) = scenario.files.get("records.json") {
            records
                .replace(serde_json::from_str::<Records>(text).context("the scenario's records")?);
        }
        let metrics = Registry::new("");
        let mut around = Surroundings::new(
            Arc::new(Paused(Instant::now())),
            Arc::new(Scripted(Arc::clone(script))),
            tokio::runtime::Handle::current(),
        );
        around.local.store = records;
        around.local.registry = Arc::clone(&metrics);
        let (sender, answers) = mpsc::unbounded_channel();
        Ok(Self {
            service: Arc::new(Service::new(config, around)?),
            metrics,
            answers,
            sender,
        })
    }
}

impl Server for Ours {
    const SLACK: u32 = 0;

    fn send(&mut self, tcp: bool, query: Vec<u8>) {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let client = Client {
            address: SocketAddr::new(address, 40_000),
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            local: SocketAddr::new(address, 53),
        };
        let service = Arc::clone(&self.service);
        let sender = self.sender.clone();
        let sent = Instant::now();
        tokio::spawn(async move {
            if let Some(octets) = service.resolve(&query, &client).await {
                let took = sent.elapsed();
                // Nobody may be waiting any longer.
                let _ = sender.send(Answer { octets, took });
            }
        });
    }

    async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.answers.recv())
            .await
            .ok()
            .flatten()
    }

    async fn elapse(&mut self, time: Duration) {
        // Time goes on from one timer to the next, and each does what it is set for.
        tokio::time::sleep(time).await;
    }

    async fn upstream_queries(&mut self, script: &Script, _expected: usize) -> usize {
        script.queries()
    }

    fn metric(&self, name: &str) -> Option<u64> {
        let text = self.metrics.render();
        let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        let value = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        // What was never counted is not there.
        Some(text.lines().filter(of_name).filter_map(value).sum())
    }
}
