//! The path of a packet: any octets as a query, any as the upstream's reply to it. What
//! is answered is an answer to that query and fits its client, the second time, which
//! may be out of the cache, as the first.
//!
//! Input: flags, the length of the query (two octets), query, reply. Flag 1: the reply has the
//! query's question put before it. Flag 2: over TCP.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use lab_dns::clock::Monotonic;
use lab_dns::config::Config;
use lab_dns::corefile::{self, Pillars};
use lab_dns::message::Query;
use lab_dns::service::{Client, Service, Surroundings};
use lab_dns::upstream::{Exchange, Exchanging, Taken, Transport};
use libfuzzer_sys::fuzz_target;

const COREFILE: &str = ".:53 {
    bufsize 1232
    loadbalance
    template IN MX example.com {
        answer \"{{ .Name }} 60 IN MX 10 mail.{{ .Name }}\"
    }
    cache {
        success 1024
        denial 1024
        serve_stale
        prefetch 1
    }
    forward . 192.0.2.1
}
";
const ID: std::ops::Range<usize> = 0..2;
const HEADER: usize = 12;

/// An upstream with one reply to all.
struct Replies {
    reply: Vec<u8>,
    with_question: bool,
}

impl Exchange for Replies {
    fn exchange<'a>(
        &'a self,
        _: SocketAddr,
        _: Transport,
        query: &'a [u8],
        _: Taken<'a>,
    ) -> Exchanging<'a> {
        let mut reply = self.reply.clone();
        if self.with_question && reply.len() >= HEADER {
            if let Ok(query) = Query::read(query) {
                reply[2] |= 0x80;
                reply[4..6].copy_from_slice(&[0, 1]);
                reply.splice(HEADER..HEADER, query.question().iter().copied());
            }
        }
        // The trait's word: the ID is the query's.
        if let Some(id) = reply.get_mut(ID) {
            id.copy_from_slice(&query[ID]);
        }
        Box::pin(std::future::ready(Ok(reply)))
    }
}

fn config() -> Config {
    corefile::parse(Path::new("Corefile"), COREFILE, &Pillars::default())
        .expect("the Corefile above is right")
}

fuzz_target!(|input: &[u8]| {
    let [flags, high, low, rest @ ..] = input else {
        return;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (query, reply) = rest.split_at(length);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let around = Surroundings::new(
        Arc::new(Monotonic::default()),
        Arc::new(Replies {
            reply: reply.to_vec(),
            with_question: flags & 1 != 0,
        }),
        runtime.handle().clone(),
    );
    let service = Service::new(config(), around).expect("the Corefile above is right");
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let transport = if flags & 2 == 0 {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    let client = Client {
        address: SocketAddr::new(address, 40_000),
        transport,
        local: SocketAddr::new(address, 53),
    };
    let answers = [(); 2].map(|()| runtime.block_on(service.resolve(query, &client)));
    let silent = query.len() < HEADER || query[2] & 0x80 != 0;
    for answer in &answers {
        assert_eq!(
            answer.is_none(),
            silent,
            "queries are answered, and they alone"
        );
        if let Some(answer) = answer {
            check(query, answer, transport);
        }
    }
});

fn check(query: &[u8], answer: &[u8], transport: Transport) {
    assert!(answer.len() >= HEADER && answer[2] & 0x80 != 0);
    assert_eq!(answer[ID], query[ID]);
    let read = Query::read(query);
    let room = match (transport, &read) {
        (Transport::Tcp, _) => 65_535,
        (_, Ok(query)) => query.edns().map_or(512, |edns| usize::from(edns.udp_size)),
        (_, Err(_)) => 65_535,
    };
    assert!(answer.len() <= room, "{} of {room}", answer.len());
    if let Ok(query) = read {
        assert_eq!(
            answer.get(HEADER..HEADER + query.question().len()),
            Some(query.question())
        );
        let message = domain::base::Message::from_slice(answer).expect("a header");
        for section in message.iter() {
            section.expect("what is sent out can be read");
        }
        assert_eq!(message.opt().is_some(), query.edns().is_some());
    }
}
