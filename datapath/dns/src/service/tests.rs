use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};

use super::*;
use crate::corefile::{Pillars, parse};
use crate::upstream::{Exchanging, Taken};

/// A clock that is set.
#[derive(Default)]
struct Set(Mutex<Duration>);

impl Clock for Set {
    fn now(&self) -> Time {
        *self.0.lock().unwrap()
    }
}

/// No upstream answers.
struct Nobody;

impl Exchange for Nobody {
    fn exchange<'a>(
        &'a self,
        _: SocketAddr,
        _: Transport,
        _: &'a [u8],
        _: Taken<'a>,
    ) -> Exchanging<'a> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

fn config(text: &str) -> Config {
    parse(Path::new("Corefile"), text, &Pillars::default()).unwrap()
}

fn around(clock: &Arc<Set>) -> Surroundings {
    let clock = Arc::clone(clock);
    Surroundings::new(clock, Arc::new(Nobody), tokio::runtime::Handle::current())
}

fn client(local: &str) -> Client {
    Client {
        address: "10.0.0.1:4000".parse().unwrap(),
        transport: Transport::Udp,
        local: local.parse().unwrap(),
    }
}

fn query(name: &str) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec().question();
    let name: Name<Vec<u8>> = name.parse().unwrap();
    builder.push((name, Rtype::A)).unwrap();
    builder.finish()
}

/// RCODE, and the TTL of the first answer.
fn read(answer: &[u8]) -> (Rcode, Option<u32>) {
    let message = Message::from_slice(answer).unwrap();
    let first = message.answer().unwrap().next();
    let ttl = first.map(|record| record.unwrap().ttl().as_secs());
    (message.header().rcode(), ttl)
}

/// What is at hand.
fn ask(service: &Service, name: &str) -> Option<(Rcode, Option<u32>)> {
    let mut out = Vec::new();
    match service.answer(&query(name), &client("127.0.0.1:53"), &mut out) {
        Answer::Ready => Some(read(&out)),
        Answer::Silent | Answer::Later => None,
    }
}

const HOSTS: &str = "hosts /dev/null {\n 10.0.0.1 a.\n fallthrough\n}";

#[tokio::test]
async fn stale_answers_of_local_plugins_are_refreshed() {
    let clock = Arc::new(Set::default());
    let text = format!(". {{\n cache 30 {{\n serve_stale\n }}\n {HOSTS}\n}}");
    let service = Service::new(config(&text), around(&clock)).unwrap();
    assert_eq!(ask(&service, "a."), Some((Rcode::NOERROR, Some(30))));
    *clock.0.lock().unwrap() = Duration::from_secs(40);
    assert_eq!(ask(&service, "a."), Some((Rcode::NOERROR, Some(0))));
    let refreshed = async {
        while ask(&service, "a.") != Some((Rcode::NOERROR, Some(30))) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refreshed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_changed_corefile_keeps_the_caches_that_stay_the_same() {
    let clock = Arc::new(Set::default());
    let forward = "forward . 192.0.2.1";
    let text = format!(". {{\n cache 30\n {HOSTS}\n}}");
    let first = Service::new(config(&text), around(&clock)).unwrap();
    assert!(ask(&first, "a.").is_some());
    let following = |text: &str| {
        let config = config(text);
        Service::following(config, around(&clock), Some(&first)).unwrap()
    };
    let same = following(&format!(". {{\n cache 30\n {forward}\n}}"));
    assert_eq!(ask(&same, "a."), Some((Rcode::NOERROR, Some(30))));
    let other = following(&format!(". {{\n cache 20\n {forward}\n}}"));
    assert_eq!(ask(&other, "a."), None, "it has to be asked for");
}

#[tokio::test]
async fn blocks_are_chosen_by_address_then_by_the_nearest_zone() {
    let clock = Arc::new(Set::default());
    let block = |key: &str, bind: &str, rcode: &str| {
        format!("{key} {{\n {bind}\n template ANY ANY {{\n rcode {rcode}\n }}\n}}\n")
    };
    let text = [
        block("local:53", "bind 10.0.0.1", "NXDOMAIN"),
        block("cluster.local:53", "bind 10.0.0.1", "SERVFAIL"),
        block("local:53", "bind 10.0.0.9", "NOTIMP"),
        block("local:54", "", "FORMERR"),
    ];
    let service = Service::new(config(&text.concat()), around(&clock)).unwrap();
    let rcode = |name: &str, local: &str| {
        let mut out = Vec::new();
        service.answer(&query(name), &client(local), &mut out);
        read(&out).0
    };
    assert_eq!(rcode("a.local.", "10.0.0.1:53"), Rcode::NXDOMAIN);
    assert_eq!(rcode("a.Cluster.LOCAL.", "10.0.0.1:53"), Rcode::SERVFAIL);
    assert_eq!(rcode("a.cluster.local.", "10.0.0.9:53"), Rcode::NOTIMP);
    assert_eq!(rcode("a.local.", "10.0.0.1:54"), Rcode::FORMERR);
    assert_eq!(rcode("a.example.", "10.0.0.1:53"), Rcode::REFUSED);
}

#[tokio::test]
async fn local_answers_are_balanced_as_all_are() {
    let text = ". {\n loadbalance\n hosts /none {\n 10.0.0.1 three\n 10.0.0.2 three\n 10.0.0.3 three\n }\n}";
    let service = Service::new(config(text), around(&Arc::default())).unwrap();
    let orders: std::collections::BTreeSet<_> = (0..200)
        .map(|_| {
            let mut out = Vec::new();
            let asked = service.answer(&query("three."), &client("127.0.0.1:53"), &mut out);
            assert_eq!(asked, Answer::Ready);
            out
        })
        .collect();
    assert_eq!(orders.len(), 6);
}
