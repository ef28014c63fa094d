//! The `loop` plugin: a server that is its own upstream, by whatever way, hears a
//! question of its own again and again, and ends rather than ask for ever.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use domain::base::iana::Rtype;
use domain::base::{MessageBuilder, Name};
use tokio::net::UdpSocket;

use crate::message::Query;

/// The question may come back so often: to this server, and from one more that retries.
const HARMLESS: u32 = 2;
/// How long the question is asked, and after an answer, how long it may come back.
const WATCH: Duration = Duration::from_secs(30);
/// How long an answer may take, and the wait before it is asked again.
const RETRY: Duration = Duration::from_secs(5);

/// A server block's question: `HINFO NUMBER.NUMBER.ZONE`.
#[derive(Debug)]
pub struct Detector {
    zone: String,
    name: String,
    /// The name in wire format.
    wire: Vec<u8>,
    seen: AtomicU32,
    off: AtomicBool,
}

impl Detector {
    /// A question that nobody else asks, in a block's `zone`.
    #[must_use]
    pub fn new(zone: &str) -> Self {
        let number = || fastrand::u64(..) >> 1;
        let name = format!("{}.{}.{}", number(), number(), zone.trim_start_matches('.'));
        let wire = Name::vec_from_str(&name).map(Name::into_octets);
        Self {
            zone: zone.to_owned(),
            name,
            // The zone was checked; were it too long for two numbers, nothing would be found.
            wire: wire.unwrap_or_default(),
            seen: AtomicU32::new(0),
            off: AtomicBool::new(false),
        }
    }

    /// Looks at a query. Once it is the detector's own for the third time, this is what
    /// to say before ending.
    #[must_use]
    pub fn looped(
        &self,
        query: &Query<'_>,
        client: SocketAddr,
        local: SocketAddr,
    ) -> Option<String> {
        if query.rtype() != Rtype::HINFO || self.off.load(Ordering::Relaxed) {
            return None;
        }
        if query.key().as_bytes() != self.wire {
            return None;
        }
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        (seen > HARMLESS).then(|| {
            let (zone, name) = (&self.zone, &self.name);
            let to = match local.ip().is_unspecified() {
                true => format!(":{}", local.port()),
                false => local.to_string(),
            };
            format!(
                "plugin/loop: Loop ({client} -> {to}) detected for zone \"{zone}\", see \
                 https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO {name}\""
            )
        })
    }

    /// Asks the question at the address that the block listens on, and looks for half a minute.
    pub async fn probe(&self, address: SocketAddr) {
        let asked = tokio::time::timeout(WATCH, async {
            while self.ask(address).await.is_err() {
                // Not there yet, or no answer: what was seen is no loop.
                self.seen.store(0, Ordering::Relaxed);
                tokio::time::sleep(RETRY).await;
            }
        });
        if asked.await.is_ok() {
            tokio::time::sleep(WATCH).await;
        }
        self.off.store(true, Ordering::Relaxed);
    }

    async fn ask(&self, address: SocketAddr) -> std::io::Result<()> {
        let address = reachable(address);
        let own: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((own, 0)).await?;
        socket.connect(address).await?;
        socket.send(&self.query()).await?;
        let mut answer = [0; 512];
        tokio::time::timeout(RETRY, socket.recv(&mut answer)).await??;
        Ok(())
    }

    fn query(&self) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(fastrand::u16(..));
        builder.header_mut().set_rd(true);
        let mut question = builder.question();
        if let Ok(name) = Name::from_slice(&self.wire) {
            let pushed = question.push((name, Rtype::HINFO));
            debug_assert!(pushed.is_ok(), "a Vec takes everything");
        }
        question.finish()
    }
}

/// An address of this machine for one that stands for all.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // A socket for both families hears IPv4 wherever IPv6 is off.
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(detector: &Detector, message: &[u8]) -> Option<String> {
        let query = Query::read(message).unwrap();
        let client = "127.0.0.1:34036".parse().unwrap();
        detector.looped(&query, client, "0.0.0.0:53".parse().unwrap())
    }

    #[test]
    fn the_third_time_is_a_loop() {
        let detector = Detector::new("cluster.local.");
        let own = detector.query();
        let other = Detector::new("cluster.local.").query();
        for _ in 0..5 {
            assert_eq!(seen(&detector, &other), None);
        }
        assert_eq!((seen(&detector, &own), seen(&detector, &own)), (None, None));
        let said = seen(&detector, &own).unwrap();
        let start = "plugin/loop: Loop (127.0.0.1:34036 -> :53) detected for zone \"cluster.local.\", \
            see https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO ";
        assert!(said.starts_with(start), "{said}");
        assert!(said.ends_with(".cluster.local.\""), "{said}");
        // The root's has no second dot.
        assert!(!Detector::new(".").name.contains(".."));
    }

    #[tokio::test]
    async fn a_probe_asks_until_it_is_answered_and_then_stops_looking() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let detector = Detector::new(".");
        let serve = async {
            let mut message = [0; 512];
            let (length, client) = server.recv_from(&mut message).await.unwrap();
            assert_eq!(seen(&detector, &message[..length]), None);
            server.send_to(&message[..length], client).await.unwrap();
            // From here on nothing but time passes.
            tokio::time::pause();
        };
        tokio::join!(detector.probe(address), serve);
        let own = detector.query();
        assert!((0..5).all(|_| seen(&detector, &own).is_none()));
    }
}
