//! An answer out of the cache is made without allocation. In a binary of its own,
//! for it replaces the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use domain::base::iana::Class;
use domain::base::{Message, MessageBuilder, Name, Record, Rtype, Ttl};
use domain::rdata::A;
use lab_dns::clock::Monotonic;
use lab_dns::corefile::{Pillars, parse};
use lab_dns::service::{Answer, Client, Service, Surroundings};
use lab_dns::upstream::{Exchange, Exchanging, Taken, Transport};

struct Counting;

thread_local! {
    /// This thread's: the test harness has others.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is the system allocator's; counting touches no memory of its.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Answers every question with three addresses.
struct Upstream;

impl Exchange for Upstream {
    fn exchange<'a>(
        &'a self,
        _: SocketAddr,
        _: Transport,
        query: &'a [u8],
        _: Taken<'a>,
    ) -> Exchanging<'a> {
        Box::pin(async move {
            let query = Message::from_slice(query).map_err(io::Error::other)?;
            let question = query.sole_question().map_err(io::Error::other)?;
            let name: Name<Vec<u8>> = domain::base::name::ToName::to_name(question.qname());
            let mut answer = MessageBuilder::new_vec()
                .start_answer(query, domain::base::iana::Rcode::NOERROR)
                .map_err(io::Error::other)?;
            for last in 1..=3 {
                let address = A::from_octets(192, 0, 2, last);
                let record = Record::new(&name, Class::IN, Ttl::from_secs(300), address);
                answer.push(record).map_err(io::Error::other)?;
            }
            Ok(answer.finish())
        })
    }
}

fn query(name: &str, edns: bool) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec().question();
    let name: Name<Vec<u8>> = name.parse().unwrap();
    builder.push((name, Rtype::A)).unwrap();
    let mut builder = builder.additional();
    if edns {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(1232);
                Ok(())
            })
            .unwrap();
    }
    builder.finish()
}

#[test]
fn hits_are_answered_without_allocation() {
    let corefile = "cluster.local:53 .:53 {\n cache 30\n loadbalance\n bufsize 1232\n \
                    prometheus 127.0.0.1:9153\n loop\n forward . 192.0.2.53\n}";
    let config = parse(Path::new("Corefile"), corefile, &Pillars::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let around = Surroundings::new(
        Arc::new(Monotonic::default()),
        Arc::new(Upstream),
        runtime.handle().clone(),
    );
    let service = Service::new(config, around).unwrap();
    let client = Client {
        address: "10.0.0.1:4000".parse().unwrap(),
        transport: Transport::Udp,
        local: "169.254.20.10:53".parse().unwrap(),
    };
    for (first, second) in [
        (query("example.org.", false), query("EXAMPLE.org.", false)),
        (
            query("a.Cluster.local.", true),
            query("a.cluster.LOCAL.", true),
        ),
    ] {
        let before = ALLOCATIONS.get();
        let missed = runtime.block_on(service.resolve(&first, &client)).unwrap();
        assert_ne!(ALLOCATIONS.get(), before, "the allocator is ours");
        let mut out = Vec::with_capacity(1024);
        // The first hit on this thread sets its counters up.
        assert_eq!(service.answer(&second, &client, &mut out), Answer::Ready);
        assert_eq!(out.len(), missed.len());
        let before = ALLOCATIONS.get();
        for _ in 0..1000 {
            assert_eq!(service.answer(&second, &client, &mut out), Answer::Ready);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0);
        assert_eq!(
            Message::from_slice(&out).unwrap().header_counts().ancount(),
            3
        );
    }
}
