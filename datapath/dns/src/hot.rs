//! Answers that are asked for so often that they are given before the socket, by whatever
//! implements [`AnswerTable`]: in labs a program in the kernel.
//!
//! Threads that answer queries offer what qualifies ([`HotAnswers::offer`]); one thread
//! decides, keeps the table, and adds what was answered there to the counters, as if the
//! server had answered it. An answer stays no longer than the cache would give it as it is:
//! until it expires, or until it is time to ask for it again (`prefetch`).

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::base::Header;

use crate::cache::{Cache, Often};
use crate::clock::{Clock, Time};
use crate::log::Output;
use crate::message::{HEADER, Query, Response};
use crate::metrics::{Answered, Asked};
use crate::service::Counters;

/// How often the thread looks at what it has.
const TICK: Duration = Duration::from_secs(1);
/// Looks in which an answer wasn't asked for, after which it makes room.
const IDLE: u32 = 10;
/// Offers that wait to be looked at. Of those beyond, the names are asked for again.
const OFFERS: usize = 256;
/// An answer with less time to go is not worth it.
const LEAST: Duration = Duration::from_secs(2);
/// Clocks of programs may lag behind by a timer's tick (`CONFIG_HZ`, 100 at least).
const CLOCK_LAG: Duration = Duration::from_millis(10);

/// An answer to be given before the socket, to whoever sends the very same query: all of
/// it but its ID.
#[derive(Clone, Copy, Debug)]
pub struct HotAnswer<'a> {
    /// The address that is asked.
    pub server: SocketAddrV4,
    /// The query, with any ID.
    pub query: &'a [u8],
    /// The answer. ID and TTLs are put in place.
    pub answer: &'a [u8],
    /// TTL of every record, in seconds, `age` ago.
    pub ttl: u32,
    /// Where in `answer` TTLs are that count down.
    pub ttls: &'a [u16],
    /// Since when the TTL counts down.
    pub age: Duration,
    /// How long it may be given.
    pub left: Duration,
}

/// A place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place(pub u32);

/// Why an answer isn't in the table.
#[derive(Debug, thiserror::Error)]
pub enum NotInstalled {
    /// There is no room, or it is of a size or a form that the table doesn't take.
    #[error("no room")]
    Unfit,
    /// There is no table, and there won't be.
    #[error("{0}")]
    Unavailable(String),
}

/// What gives answers before the socket does.
pub trait AnswerTable: Send {
    /// Gives this answer from now on.
    ///
    /// # Errors
    /// See [`NotInstalled`].
    fn install(&mut self, answer: &HotAnswer<'_>) -> Result<Place, NotInstalled>;

    /// How often it was given so far.
    fn given(&self, place: Place) -> u64;

    /// Stops giving these, waits until nobody is being given one, and says how often
    /// each was given. Their places are free then.
    fn remove(&mut self, places: &[Place]) -> Vec<u64>;
}

/// An answer that might be given before the socket.
pub(crate) struct Offer {
    pub(crate) server: SocketAddrV4,
    pub(crate) query: Box<[u8]>,
    pub(crate) answer: Box<[u8]>,
    pub(crate) often: Often,
    pub(crate) asked: Asked,
    pub(crate) cache: Arc<Cache>,
    pub(crate) counters: Arc<Counters>,
    /// Of the service that answered.
    pub(crate) generation: u64,
}

/// See the module.
#[derive(Clone)]
pub struct HotAnswers {
    offers: SyncSender<Offer>,
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for HotAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotAnswers").finish_non_exhaustive()
    }
}

struct State {
    /// None once there won't be any.
    table: Option<Box<dyn AnswerTable>>,
    installed: HashMap<(SocketAddrV4, Box<[u8]>), Installed>,
    /// Of the service whose answers these are.
    generation: u64,
    output: Arc<Output>,
}

/// An answer in the table.
struct Installed {
    place: Place,
    until: Time,
    /// How much of what was given has been counted.
    counted: u64,
    /// Looks at it since it was asked for.
    idle: u32,
    often: Often,
    asked: Asked,
    answered: Answered,
    cache: Arc<Cache>,
    counters: Arc<Counters>,
}

impl HotAnswers {
    /// Starts the thread, which ends when nobody has this any more.
    ///
    /// # Errors
    /// The thread can't be had.
    pub fn start(
        table: Box<dyn AnswerTable>,
        clock: Arc<dyn Clock>,
        output: Arc<Output>,
    ) -> std::io::Result<Self> {
        let (hot, offered) = Self::new(table, clock, output);
        let state = Arc::clone(&hot.state);
        let clock = Arc::clone(&hot.clock);
        std::thread::Builder::new()
            .name("dns-hot".to_owned())
            .spawn(move || keep(&offered, &state, &*clock))?;
        Ok(hot)
    }

    fn new(
        table: Box<dyn AnswerTable>,
        clock: Arc<dyn Clock>,
        output: Arc<Output>,
    ) -> (Self, Receiver<Offer>) {
        let (offers, offered) = sync_channel(OFFERS);
        let state = State {
            table: Some(table),
            installed: HashMap::new(),
            generation: 0,
            output,
        };
        let hot = Self {
            offers,
            state: Arc::new(Mutex::new(state)),
            clock,
        };
        (hot, offered)
    }

    /// A number that no other service has.
    pub(crate) fn generation() -> u64 {
        static GENERATIONS: AtomicU64 = AtomicU64::new(1);
        GENERATIONS.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on answers are those of this service: none of another is given once this
    /// returns.
    pub(crate) fn serve(&self, generation: u64) {
        let mut state = lock(&self.state);
        state.generation = generation;
        state.retire(|_| true, self.clock.now());
    }

    /// Offers an answer. It is forgotten if there is too much to do.
    pub(crate) fn offer(&self, offer: Offer) {
        let _ = self.offers.try_send(offer);
    }

    /// Counts what was given until now.
    pub(crate) fn count(&self) {
        lock(&self.state).count(self.clock.now());
    }

    /// Gives no more answers, ever.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        state.retire(|_| true, self.clock.now());
        state.table = None;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // No invariant spans a panic that isn't the table's own.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread.
fn keep(offered: &Receiver<Offer>, state: &Mutex<State>, clock: &dyn Clock) {
    let mut looked = clock.now();
    loop {
        let offers: Vec<_> = match offered.recv_timeout(TICK) {
            Ok(first) => [first].into_iter().chain(offered.try_iter()).collect(),
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut state = lock(state);
        let now = clock.now();
        if now.saturating_sub(looked) >= TICK {
            looked = now;
            state.look(now);
        }
        state.take(offers, now);
    }
}

impl State {
    /// Counts, and removes what is of no use any more.
    fn look(&mut self, now: Time) {
        self.count(now);
        for installed in self.installed.values_mut() {
            installed.idle += 1;
        }
        self.retire(
            |it| it.until <= now || it.idle > IDLE || !it.cache.has(&it.often),
            now,
        );
    }

    /// Has the table give what is offered, if it still may.
    fn take(&mut self, offers: Vec<Offer>, now: Time) {
        let generation = self.generation;
        let mut offers: Vec<_> = offers
            .into_iter()
            .filter(|it| it.generation == generation && it.often.until >= now + LEAST)
            .map(|it| ((it.server, key(&it.query)), it))
            .collect();
        // Those that are there already are left alone, unless they are of an older answer.
        offers.retain(|(key, it)| {
            let there = self.installed.get(key);
            there.is_none_or(|there| there.often != it.often)
        });
        let replaced: Vec<_> = offers.iter().map(|(key, _)| key.clone()).collect();
        self.retire_keys(&replaced, now);
        for (key, offer) in offers {
            // Two may have offered the same.
            if self.installed.contains_key(&key) {
                continue;
            }
            if let Some(installed) = self.install(offer, now) {
                self.installed.insert(key, installed);
            }
        }
    }

    fn install(&mut self, offer: Offer, now: Time) -> Option<Installed> {
        let table = self.table.as_mut()?;
        let query = Query::read(&offer.query).ok()?;
        let read = Response::read(offer.answer.to_vec(), &query).ok()?;
        let until = offer.often.until.saturating_sub(CLOCK_LAG);
        let answer = HotAnswer {
            server: offer.server,
            query: &offer.query,
            answer: &offer.answer,
            ttl: offer.often.ttl,
            ttls: if offer.often.counts_down {
                read.ttl_offsets()
            } else {
                &[]
            },
            age: now.saturating_sub(offer.often.stored),
            left: until.saturating_sub(now),
        };
        match table.install(&answer) {
            Ok(place) => Some(Installed {
                place,
                until,
                counted: 0,
                idle: 0,
                often: offer.often,
                asked: offer.asked,
                answered: Answered {
                    rcode: Header::for_message_slice(&offer.answer).rcode(),
                    size: offer.answer.len(),
                    plugin: "cache",
                    took: Duration::ZERO,
                },
                cache: offer.cache,
                counters: offer.counters,
            }),
            Err(NotInstalled::Unfit) => None,
            Err(NotInstalled::Unavailable(why)) => {
                self.table = None;
                let text = "no answers before the socket";
                self.output.error(&format!("{text}: {why}"));
                None
            }
        }
    }

    fn count(&mut self, now: Time) {
        let Some(table) = &self.table else {
            return;
        };
        for installed in self.installed.values_mut() {
            let given = table.given(installed.place);
            installed.count(given, now);
        }
    }

    fn retire(&mut self, which: impl Fn(&Installed) -> bool, now: Time) {
        let which = self.installed.iter().filter(|(_, it)| which(it));
        let keys: Vec<_> = which.map(|(key, _)| key.clone()).collect();
        self.retire_keys(&keys, now);
    }

    fn retire_keys(&mut self, keys: &[(SocketAddrV4, Box<[u8]>)], now: Time) {
        let gone = keys.iter().filter_map(|key| self.installed.remove(key));
        let mut gone: Vec<_> = gone.collect();
        let places: Vec<_> = gone.iter().map(|it| it.place).collect();
        if let (Some(table), false) = (&mut self.table, places.is_empty()) {
            for (installed, given) in gone.iter_mut().zip(table.remove(&places)) {
                installed.count(given, now);
            }
        }
    }
}

impl Installed {
    /// It has been given that often since it was installed.
    fn count(&mut self, given: u64, now: Time) {
        let times = given.saturating_sub(self.counted);
        if times == 0 {
            return;
        }
        self.counted = given;
        self.idle = 0;
        self.cache.asked_elsewhere(&self.often, times, now);
        self.counters
            .hits_elsewhere(self.often.side, &self.asked, &self.answered, times);
    }
}

/// What queries with the same answer have in common: everything but their ID.
fn key(query: &[u8]) -> Box<[u8]> {
    debug_assert!(query.len() >= HEADER, "it was read as a query");
    query.get(2..).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
