use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, Record, Ttl};
use domain::rdata::{A, Soa};

use super::*;
use crate::message::{Limits, fit};
use crate::upstream::Transport;

type Text = Name<Vec<u8>>;

fn name(text: &str) -> Text {
    text.parse().unwrap()
}

fn settings() -> CacheSettings {
    CacheSettings {
        zones: Vec::new(),
        success: CacheBounds {
            capacity: 9984,
            max_ttl: 3600,
            min_ttl: 5,
        },
        denial: CacheBounds {
            capacity: 9984,
            max_ttl: 1800,
            min_ttl: 5,
        },
        prefetch: None,
        serve_stale: None,
        servfail: Duration::from_secs(5),
        disable_success: Vec::new(),
        disable_denial: Vec::new(),
        keepttl: false,
    }
}

fn question(text: &str) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(7);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((name(text), Rtype::A)).unwrap();
    builder.finish()
}

fn response(text: &str, ttls: &[u32]) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_qr(true);
    let mut builder = builder.question();
    builder.push((name(text), Rtype::A)).unwrap();
    let mut builder = builder.answer();
    for &ttl in ttls {
        let record = Record::new(
            name(text),
            domain::base::iana::Class::IN,
            Ttl::from_secs(ttl),
            A::from_octets(10, 0, 0, 1),
        );
        builder.push(record).unwrap();
    }
    builder.finish()
}

fn denial(text: &str, rcode: Rcode, soa_ttl: Option<u32>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_qr(true);
    builder.header_mut().set_rcode(rcode);
    let mut builder = builder.question();
    builder.push((name(text), Rtype::A)).unwrap();
    let mut builder = builder.authority();
    if let Some(ttl) = soa_ttl {
        let hour = Ttl::from_secs(3600);
        let soa = Soa::new(
            name("ns."),
            name("mail."),
            1.into(),
            hour,
            hour,
            hour,
            Ttl::from_secs(1),
        );
        builder.push((name("."), ttl, soa)).unwrap();
    }
    builder.finish()
}

fn put(cache: &Cache, query: &[u8], answer: Vec<u8>, now: u64) -> Stored {
    let query = Query::read(query).unwrap();
    let mut response = Response::read(answer, &query).unwrap();
    cache.put(&query, &mut response, Duration::from_secs(now), false)
}

/// TTLs of all records of the hit at `now`.
fn ttls(cache: &Cache, query: &[u8], now: u64) -> Option<Vec<u32>> {
    let query = Query::read(query).unwrap();
    let mut out = Vec::new();
    cache.get(&query, Duration::from_secs(now), &mut out)?;
    fit(
        &query,
        Limits::new(query.edns(), Transport::Udp, None),
        &mut out,
    );
    let message = Message::from_octets(out).unwrap();
    let (_, answer, authority, _) = message.sections().unwrap();
    let all = answer.chain(authority);
    Some(all.map(|record| record.unwrap().ttl().as_secs()).collect())
}

#[test]
fn case_1_and_2_the_lowest_ttl_is_that_of_all_and_grows_older() {
    let cache = Cache::new(settings()).unwrap();
    let query = question("miek.nl.");
    put(&cache, &query, response("miek.nl.", &[300, 60]), 100);
    assert_eq!(ttls(&cache, &query, 100), Some(vec![60, 60]));
    assert_eq!(ttls(&cache, &query, 159), Some(vec![1, 1]));
    assert_eq!(ttls(&cache, &query, 160), None);
}

#[test]
fn case_5_other_spelling_is_the_same_name_and_is_echoed() {
    let cache = Cache::new(settings()).unwrap();
    put(
        &cache,
        &question("miek.nl."),
        response("miek.nl.", &[300]),
        0,
    );
    let query = question("mIEK.nL.");
    let query = Query::read(&query).unwrap();
    let mut out = Vec::new();
    let hit = cache.get(&query, Duration::ZERO, &mut out).unwrap();
    assert_eq!(
        hit,
        Hit {
            side: Side::Success,
            stale: false,
            prefetch: false,
            often: None,
        }
    );
    fit(&query, Limits::new(None, Transport::Udp, None), &mut out);
    assert_eq!(&out[12..21], b"\x04mIEK\x02nL\0");
    assert_eq!(&out[..4], [0, 7, 0x85, 0], "ID, QR, AA and RD");
}

#[test]
fn cases_6_to_10_denials() {
    let cache = Cache::new(settings()).unwrap();
    let query = question("no.nl.");
    let kept = |answer| put(&cache, &query, answer, 0) != Stored::No;
    assert!(!kept(denial("no.nl.", Rcode::NXDOMAIN, None)), "7: no SOA");
    assert!(!kept(denial("no.nl.", Rcode::REFUSED, None)));
    assert!(kept(denial("no.nl.", Rcode::SERVFAIL, None)), "10");
    assert_eq!(ttls(&cache, &query, 4), Some(vec![]));
    assert_eq!(ttls(&cache, &query, 5), None);
    assert!(kept(denial("no.nl.", Rcode::NOERROR, Some(20))), "8");
    assert_eq!(
        ttls(&cache, &query, 1),
        Some(vec![19]),
        "not the SOA's minimum, 1"
    );
    assert!(kept(denial("no.nl.", Rcode::NXDOMAIN, Some(4000))), "6");
    assert_eq!(
        ttls(&cache, &query, 0),
        Some(vec![1800]),
        "the largest there is"
    );
    put(&cache, &query, response("no.nl.", &[1]), 0);
    assert_eq!(
        ttls(&cache, &query, 0),
        Some(vec![5]),
        "an answer replaces a denial"
    );
}

#[test]
fn servfail_0_keeps_no_failure() {
    let cache = Cache::new(CacheSettings {
        servfail: Duration::ZERO,
        ..settings()
    })
    .unwrap();
    let query = question("no.nl.");
    let stored = put(&cache, &query, denial("no.nl.", Rcode::SERVFAIL, None), 0);
    assert_eq!(stored, Stored::No);
}

#[test]
fn capacity_is_never_exceeded_and_the_newest_is_there() {
    let bounds = CacheBounds {
        capacity: 1024,
        max_ttl: 3600,
        min_ttl: 5,
    };
    let cache = Cache::new(CacheSettings {
        success: bounds,
        ..settings()
    })
    .unwrap();
    let mut evictions = 0;
    for index in 0..5000 {
        let text = format!("name{index}.nl.");
        let stored = put(&cache, &question(&text), response(&text, &[300]), 0);
        evictions += usize::from(matches!(stored, Stored::Kept { evicted: true, .. }));
        assert!(ttls(&cache, &question(&text), 0).is_some());
    }
    let (success, denial) = cache.entries();
    assert!(success <= 1024 && success > 900, "{success}");
    assert_eq!((denial, evictions), (0, 5000 - success));
}

#[test]
fn stale_answers_have_ttl_0_for_as_long_as_configured() {
    let stale = crate::config::ServeStale {
        duration: Duration::from_secs(3600),
        verify: false,
    };
    let cache = Cache::new(CacheSettings {
        serve_stale: Some(stale),
        ..settings()
    })
    .unwrap();
    let query = question("miek.nl.");
    put(&cache, &query, response("miek.nl.", &[60]), 0);
    assert_eq!(ttls(&cache, &query, 61), Some(vec![0]));
    assert_eq!(ttls(&cache, &query, 60 + 3599), Some(vec![0]));
    assert_eq!(ttls(&cache, &query, 60 + 3600), None);
}

#[test]
fn prefetch_is_due_for_popular_names_near_their_end() {
    let prefetch = crate::config::Prefetch {
        amount: 3,
        duration: Duration::from_secs(60),
        percentage: 10,
    };
    let cache = Cache::new(CacheSettings {
        prefetch: Some(prefetch),
        ..settings()
    })
    .unwrap();
    let octets = question("miek.nl.");
    let query = Query::read(&octets).unwrap();
    put(&cache, &octets, response("miek.nl.", &[100]), 0);
    let due = |now| {
        cache
            .get(&query, Duration::from_secs(now), &mut Vec::new())
            .unwrap()
            .prefetch
    };
    assert_eq!([due(40), due(50), due(89)], [false; 3], "11 s are left");
    assert!(due(90));
    let mut again = Response::read(response("miek.nl.", &[100]), &query).unwrap();
    cache.put(&query, &mut again, Duration::from_secs(91), true);
    assert_eq!(
        [due(140), due(182)],
        [false, true],
        "it is as popular as before"
    );
}

#[test]
fn keepttl_does_not_age() {
    let cache = Cache::new(CacheSettings {
        keepttl: true,
        ..settings()
    })
    .unwrap();
    let query = question("miek.nl.");
    put(&cache, &query, response("miek.nl.", &[60]), 0);
    assert_eq!(ttls(&cache, &query, 59), Some(vec![60]));
    assert_eq!(ttls(&cache, &query, 60), None);
}
