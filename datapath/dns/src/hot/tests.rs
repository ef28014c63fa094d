use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::*;
use crate::corefile::{Pillars, parse};
use crate::metrics::Registry;
use crate::plugin::asking::query;
use crate::service::{Answer, Client, Service, Surroundings};
use crate::upstream::{Exchange, Exchanging, Taken, Transport};

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
        Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) })
    }
}

/// What a table was told.
#[derive(Default)]
struct Told {
    /// TTL, how many places of TTLs, how old, how long: by place.
    there: BTreeMap<u32, (u32, usize, Duration, Duration)>,
    given: BTreeMap<u32, u64>,
    unavailable: bool,
}

#[derive(Clone, Default)]
struct Table(Arc<Mutex<Told>>);

impl Table {
    fn there(&self) -> Vec<(u32, usize, Duration, Duration)> {
        self.0.lock().unwrap().there.values().copied().collect()
    }

    /// Every answer is given that often once more.
    fn give(&self, times: u64) {
        let mut told = self.0.lock().unwrap();
        let places: Vec<_> = told.there.keys().copied().collect();
        for place in places {
            *told.given.entry(place).or_default() += times;
        }
    }
}

impl AnswerTable for Table {
    fn install(&mut self, answer: &HotAnswer<'_>) -> Result<Place, NotInstalled> {
        let mut told = self.0.lock().unwrap();
        if told.unavailable {
            return Err(NotInstalled::Unavailable("no such interface".to_owned()));
        }
        assert_eq!(answer.server, "10.0.0.53:53".parse().unwrap());
        let place = told.given.len() as u32;
        let seen = (answer.ttl, answer.ttls.len(), answer.age, answer.left);
        told.there.insert(place, seen);
        told.given.insert(place, 0);
        Ok(Place(place))
    }

    fn given(&self, place: Place) -> u64 {
        self.0.lock().unwrap().given[&place.0]
    }

    fn remove(&mut self, places: &[Place]) -> Vec<u64> {
        let mut told = self.0.lock().unwrap();
        let gone = places.iter().map(|place| {
            told.there.remove(&place.0).expect("it is there");
            told.given[&place.0]
        });
        gone.collect()
    }
}

/// A server without sockets, and time that stands still.
struct Scene {
    service: Service,
    around: Surroundings,
    clock: Arc<Set>,
    table: Table,
    offered: Receiver<Offer>,
    client: Client,
}

const HOSTS: &str =
    "hosts {\n 192.0.2.1 one.test\n 192.0.2.1 two.test\n 192.0.2.2 two.test\n ttl 30\n }";

impl Scene {
    /// One block with names, a cache of 30 seconds, and what else it says.
    fn new(plugins: &str) -> Self {
        Self::with_cache("cache 30", plugins)
    }

    fn with_cache(cache: &str, plugins: &str) -> Self {
        let clock = Arc::new(Set::default());
        *clock.0.lock().unwrap() = Duration::from_secs(1000);
        let table = Table::default();
        let output = Arc::new(Output::new(std::io::sink()));
        let (hot, offered) = HotAnswers::new(Box::new(table.clone()), clock.clone(), output);
        let runtime = tokio::runtime::Handle::current();
        let mut around = Surroundings::new(clock.clone(), Arc::new(Nobody), runtime);
        around.local.registry = Registry::new("test");
        around.hot = Some(hot.clone());
        let service = Service::new(Self::config(cache, plugins), around.clone()).unwrap();
        hot.serve(service.generation());
        Self {
            service,
            around,
            clock,
            table,
            offered,
            client: Client {
                address: "10.0.0.1:4000".parse().unwrap(),
                transport: Transport::Udp,
                local: "10.0.0.53:53".parse().unwrap(),
            },
        }
    }

    fn config(cache: &str, plugins: &str) -> crate::config::Config {
        let text = format!(".:53 {{\n prometheus\n {cache}\n {HOSTS}\n {plugins}\n}}\n");
        parse(Path::new("Corefile"), &text, &Pillars::default()).unwrap()
    }

    fn hot(&self) -> &HotAnswers {
        self.around.hot.as_ref().unwrap()
    }

    /// So many queries at once, and what comes of their offers.
    fn asked(&self, name: &str, times: usize) {
        let message = query(name, "A");
        let mut out = Vec::new();
        for _ in 0..times {
            let answer = self.service.answer(&message, &self.client, &mut out);
            assert_eq!(answer, Answer::Ready);
        }
        let offers = self.offered.try_iter().collect();
        lock(&self.hot().state).take(offers, self.clock.now());
    }

    fn later(&self, by: Duration) {
        *self.clock.0.lock().unwrap() += by;
    }

    fn look(&self) {
        lock(&self.hot().state).look(self.clock.now());
    }

    /// What is counted of queries, but for how long they took.
    fn counted(&self) -> Vec<String> {
        self.hot().count();
        let page = self.around.local.registry.render();
        let lines = page.lines().filter(|line| line.starts_with("coredns_"));
        let lines = lines.filter(|line| !line.contains("duration_seconds_sum"));
        lines.map(str::to_owned).collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn what_is_asked_ten_times_in_a_second_is_answered_elsewhere() {
    let scene = Scene::new("");
    // The first is no hit.
    scene.asked("one.test", 1 + 9);
    scene.later(SECOND);
    scene.asked("one.test", 9);
    assert_eq!(scene.table.there(), []);
    scene.later(4 * SECOND);
    scene.asked("one.test", 10);
    let left = 25 * SECOND - CLOCK_LAG;
    assert_eq!(scene.table.there(), [(30, 1, 5 * SECOND, left)]);
    // Neither more of the same nor the next second's installs it again.
    scene.asked("one.test", 100);
    scene.later(SECOND);
    scene.asked("one.test", 100);
    assert_eq!(scene.table.there().len(), 1);
}

#[tokio::test]
async fn what_is_answered_elsewhere_is_counted_as_if_it_were_here() {
    let (here, elsewhere) = (Scene::new(""), Scene::new(""));
    for scene in [&here, &elsewhere] {
        scene.asked("one.test", 11);
        scene.asked("none.test", 1);
    }
    here.asked("one.test", 25);
    elsewhere.table.give(20);
    elsewhere.hot().count();
    elsewhere.table.give(5);
    assert_eq!(elsewhere.counted(), here.counted());
    let hits =
        "coredns_cache_hits_total{server=\"dns://:53\",type=\"success\",view=\"\",zones=\".\"} 35";
    assert!(elsewhere.counted().iter().any(|line| line == hits));
    // What was given last is counted when it goes.
    here.asked("one.test", 3);
    elsewhere.table.give(3);
    elsewhere.hot().end();
    assert_eq!(elsewhere.counted(), here.counted());
    assert_eq!(elsewhere.table.there(), []);
}

#[tokio::test]
async fn answers_that_differ_each_time_are_made_here() {
    for plugins in [
        "log",
        "template IN TXT x {\n rcode REFUSED\n }",
        "loadbalance",
    ] {
        let scene = Scene::new(plugins);
        scene.asked("two.test", 20);
        assert_eq!(scene.table.there(), [], "{plugins}");
    }
    let scene = Scene::new("loadbalance");
    scene.asked("one.test", 20);
    assert_eq!(scene.table.there().len(), 1, "there is but one order");
    let scene = Scene::new("");
    scene.asked("two.test", 20);
    assert_eq!(scene.table.there()[0].1, 2, "two TTLs");
    for (address, transport, local) in [
        ("10.0.0.1:4000", Transport::Tcp, "10.0.0.53:53"),
        ("[::1]:4000", Transport::Udp, "[::1]:53"),
    ] {
        let mut scene = Scene::new("");
        scene.client = Client {
            address: address.parse().unwrap(),
            transport,
            local: local.parse().unwrap(),
        };
        scene.asked("one.test", 20);
        assert_eq!(scene.table.there(), []);
    }
}

#[tokio::test]
async fn an_answer_is_good_for_as_long_as_the_cache_gives_it_as_it_is() {
    let scene = Scene::with_cache("cache 30 {\n prefetch 5 1m 20%\n }", "");
    scene.asked("one.test", 20);
    // With 6 seconds left it is to be asked for again.
    let (.., left) = scene.table.there()[0];
    assert_eq!(left, 24 * SECOND - CLOCK_LAG);
    let scene = Scene::with_cache("cache 30 {\n keepttl\n }", "");
    scene.asked("one.test", 20);
    let (_, ttls, ..) = scene.table.there()[0];
    assert_eq!(ttls, 0, "none that counts down");
    let scene = Scene::new("");
    scene.asked("one.test", 1);
    scene.later(29 * SECOND);
    scene.asked("one.test", 20);
    assert_eq!(scene.table.there(), [], "there is too little time left");
}

#[tokio::test]
async fn popularity_counts_what_is_answered_elsewhere() {
    let scene = Scene::with_cache("cache 30 {\n prefetch 100 1m 20%\n }", "");
    scene.asked("one.test", 20);
    scene.table.give(100);
    scene.hot().count();
    scene.later(25 * SECOND);
    scene.asked("one.test", 1);
    let fetched = |line: &String| line.starts_with("coredns_cache_prefetch_total");
    assert!(scene.counted().iter().any(fetched), "{:?}", scene.counted());
}

#[tokio::test]
async fn answers_go_when_they_expire_are_idle_or_are_replaced() {
    let scene = Scene::new("");
    scene.asked("one.test", 20);
    scene.later(30 * SECOND);
    scene.look();
    assert_eq!(scene.table.there(), []);

    scene.asked("one.test", 20);
    for _ in 0..IDLE {
        scene.look();
        assert_eq!(scene.table.there().len(), 1);
    }
    scene.table.give(1);
    for _ in 0..IDLE {
        scene.look();
        assert_eq!(scene.table.there().len(), 1);
    }
    scene.look();
    assert_eq!(scene.table.there(), []);

    // A newer answer takes the place of an older one that nobody has removed yet.
    scene.later(SECOND);
    scene.asked("one.test", 20);
    let (.., before) = scene.table.there()[0];
    scene.later(30 * SECOND);
    scene.asked("one.test", 20);
    let [(.., now)] = scene.table.there()[..] else {
        panic!("one answer");
    };
    assert!(now > before);
}

#[tokio::test]
async fn a_new_corefile_starts_anew() {
    let scene = Scene::new("");
    scene.asked("one.test", 20);
    let config = Scene::config("cache 30", "errors");
    let around = scene.around.clone();
    let next = Service::following(config, around, Some(&scene.service)).unwrap();
    scene.hot().serve(next.generation());
    assert_eq!(scene.table.there(), []);
    // A thread that had the service before in hand.
    scene.later(SECOND);
    scene.asked("one.test", 20);
    assert_eq!(scene.table.there(), []);
    let scene = Scene {
        service: next,
        ..scene
    };
    scene.later(SECOND);
    scene.asked("one.test", 20);
    assert_eq!(scene.table.there().len(), 1);
}

#[tokio::test]
async fn without_a_table_the_socket_answers() {
    let scene = Scene::new("");
    scene.table.0.lock().unwrap().unavailable = true;
    scene.asked("one.test", 20);
    scene.table.0.lock().unwrap().unavailable = false;
    scene.later(SECOND);
    scene.asked("one.test", 20);
    assert_eq!(scene.table.there(), [], "it is tried once");
}
