//! Cases 13 to 15 for any order of clients: what DO, CD and AD of a query make of
//! the answer, and which queries share an entry.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lab_dns::clock::Monotonic;
use lab_dns::corefile::{self, Pillars};
use lab_dns::service::{Client, Service, Surroundings};
use lab_dns::upstream::{Exchange, Exchanging, Taken, Transport};
use proptest::prelude::*;

use crate::message::{self, Edns, Message, Reading};

const COREFILE: &str = ".:53 {\n    cache\n    forward . 192.0.2.1\n}\n";
const NAMES: [&str; 3] = ["a.example. IN A", "A.eXample. IN A", "b.example. IN A"];

/// A client's query.
#[derive(Clone, Copy, Debug)]
struct Asked {
    name: usize,
    edns: bool,
    dnssec_ok: bool,
    cd: bool,
    ad: bool,
}

impl Asked {
    /// DO, which takes EDNS.
    const fn wants_dnssec(self) -> bool {
        self.edns && self.dnssec_ok
    }

    /// The two spellings are one name.
    const fn key(self) -> (bool, bool, bool) {
        (self.name == 2, self.wants_dnssec(), self.cd)
    }

    fn compose(self) -> Vec<u8> {
        let mut query = Message::new();
        query.question = Some(message::question(NAMES[self.name]).expect("a question"));
        query.flags.insert("RD");
        query.flags.extend(self.cd.then_some("CD"));
        query.flags.extend(self.ad.then_some("AD"));
        query.edns = self.edns.then(|| Edns {
            size: 1232,
            dnssec_ok: self.dnssec_ok,
            ..Edns::default()
        });
        query.compose(7, None)
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    (0..NAMES.len(), any::<[bool; 4]>()).prop_map(|(name, [edns, dnssec_ok, cd, ad])| Asked {
        name,
        edns,
        dnssec_ok,
        cd,
        ad,
    })
}

/// Counts, sets AD, and answers with an address that says what it was asked.
#[derive(Default)]
struct Validating(AtomicUsize);

impl Exchange for Validating {
    fn exchange<'a>(
        &'a self,
        _: SocketAddr,
        _: Transport,
        query: &'a [u8],
        _: Taken<'a>,
    ) -> Exchanging<'a> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let query = Reading::of(query).expect("a query that can be read");
        let dnssec_ok = query.edns.is_some_and(|edns| edns.dnssec_ok);
        let cd = query.flags.contains("CD");
        let mut reply = Message::new();
        reply.flags.extend(["QR", "RD", "RA", "AD"]);
        let question = query.question.expect("a question");
        let record = format!("{}. 300 IN A {}", question.qname(), address(dnssec_ok, cd));
        reply.sections[0].push(crate::rpl::record(&record).expect("a record"));
        Box::pin(std::future::ready(Ok(
            reply.compose(query.id, Some(&question))
        )))
    }
}

fn address(dnssec_ok: bool, cd: bool) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, u8::from(dnssec_ok), u8::from(cd))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn do_and_cd_are_of_the_key_and_ad_is_for_those_who_ask(
        queries in proptest::collection::vec(asked(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let upstream = Arc::new(Validating::default());
        let around = Surroundings::new(
            Arc::new(Monotonic::default()),
            Arc::clone(&upstream) as Arc<dyn Exchange>,
            runtime.handle().clone(),
        );
        let config = corefile::parse(Path::new("Corefile"), COREFILE, &Pillars::default());
        let service = Service::new(config.expect("a Corefile"), around).expect("a service");
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let client = Client {
            address: SocketAddr::new(localhost, 40_000),
            transport: Transport::Udp,
            local: SocketAddr::new(localhost, 53),
        };
        let mut seen = BTreeSet::new();
        for asked in queries {
            let answer = runtime.block_on(service.resolve(&asked.compose(), &client));
            let answer = Reading::of(&answer.expect("an answer")).expect("that can be read");
            let hit = !seen.insert(asked.key());
            prop_assert_eq!(upstream.0.load(Ordering::Relaxed), seen.len());
            prop_assert_eq!(answer.flags.contains("AA"), hit);
            prop_assert_eq!(answer.flags.contains("AD"), asked.ad || asked.wants_dnssec());
            prop_assert_eq!(answer.flags.contains("CD"), asked.cd);
            prop_assert_eq!(answer.edns.is_some(), asked.edns);
            let asked_for = message::question(NAMES[asked.name]).expect("a question");
            prop_assert_eq!(
                message::spelt(answer.question.as_ref()),
                message::spelt(Some(&asked_for))
            );
            let expected = address(asked.wants_dnssec(), asked.cd).to_string();
            prop_assert!(answer.sections[0][0].text.ends_with(&expected));
        }
    }
}
