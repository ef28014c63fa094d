//! DNS queries at a steady rate, whatever the answers do; and the least that a server
//! could do with them.

use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// After this, an answer is lost: the resolver of glibc asks again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Octets before the question.
const HEADER: usize = 12;
const RD: u8 = 1;
const QR: u8 = 0x80;

/// What became of the query that last had an ID.
#[derive(Clone, Copy)]
enum Query {
    None,
    Sent(Instant),
    Answered(Instant, Instant),
}

/// Asks for one name after the other, and prints as JSON how many were sent and answered
/// without error, which were lost (milliseconds since the start), the longest time between two
/// answers, and the times that answers took, in microseconds.
pub(crate) fn ask(
    to: SocketAddrV4,
    names: &Path,
    per_second: u32,
    during: Duration,
) -> io::Result<()> {
    let queries = queries(names)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let slots = Mutex::new(vec![Query::None; usize::from(u16::MAX) + 1]);
    let sending = AtomicBool::new(true);
    let start = Instant::now();
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&socket, &slots, &sending));
        let mut due = start;
        let mut id = 0_u16;
        for query in queries.iter().cycle() {
            if start.elapsed() >= during {
                break;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due += Duration::from_secs(1) / per_second;
            id = id.wrapping_add(1);
            let mut query = query.clone();
            query[..2].copy_from_slice(&id.to_be_bytes());
            let before = std::mem::replace(
                &mut lock(&slots)[usize::from(id)],
                Query::Sent(Instant::now()),
            );
            tally.add(before, start);
            // Not connected: each goes to whoever answers for the service now.
            let _ = socket.send_to(&query, to);
        }
        // What is under way has its time too.
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end
            && lock(&slots)
                .iter()
                .any(|query| matches!(query, Query::Sent(_)))
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        sending.store(false, Ordering::Relaxed);
        tally.failed = receiver.join().unwrap_or(u64::MAX);
    });
    for query in lock(&slots).iter() {
        tally.add(*query, start);
    }
    println!("{}", tally.json());
    Ok(())
}

fn lock(slots: &Mutex<Vec<Query>>) -> std::sync::MutexGuard<'_, Vec<Query>> {
    slots
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Takes answers until the end; says how many were none: SERVFAIL, REFUSED and such.
fn receive(socket: &UdpSocket, slots: &Mutex<Vec<Query>>, sending: &AtomicBool) -> u64 {
    let mut buffer = [0; 4096];
    let mut failed = 0;
    while sending.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else {
            continue;
        };
        if length < HEADER || buffer[2] & QR == 0 {
            continue;
        }
        let now = Instant::now();
        let slot = &mut lock(slots)[usize::from(u16::from_be_bytes([buffer[0], buffer[1]]))];
        if let Query::Sent(at) = *slot {
            *slot = Query::Answered(at, now);
            // NXDOMAIN is as good as any.
            failed += u64::from(!matches!(buffer[3] & 0xf, 0 | 3));
        }
    }
    failed
}

#[derive(Default)]
struct Tally {
    sent: u64,
    failed: u64,
    lost: Vec<u128>,
    took: Vec<Duration>,
    answered_at: Vec<Instant>,
}

impl Tally {
    fn add(&mut self, query: Query, start: Instant) {
        match query {
            Query::None => {}
            Query::Sent(at) => {
                self.sent += 1;
                self.lost.push(at.duration_since(start).as_millis());
            }
            Query::Answered(at, answered) => {
                self.sent += 1;
                self.took.push(answered.duration_since(at));
                self.answered_at.push(answered);
            }
        }
    }

    fn json(mut self) -> serde_json::Value {
        self.took.sort();
        self.answered_at.sort();
        let gap = self.answered_at.windows(2).map(|two| two[1] - two[0]).max();
        let percentile = |percent: usize| {
            let at = self.took.len().saturating_sub(1) * percent / 100;
            self.took.get(at).map(|took| took.as_secs_f64() * 1e6)
        };
        serde_json::json!({
            "sent": self.sent,
            "answered": self.took.len(),
            "failed": self.failed,
            "lost_ms": self.lost,
            "longest_gap_ms": gap.map(|gap| gap.as_millis()),
            "p50_us": percentile(50),
            "p99_us": percentile(99),
        })
    }
}

/// Queries for `NAME TYPE` lines, as dnsperf has them; types A and AAAA. IDs are 0.
fn queries(names: &Path) -> io::Result<Vec<Vec<u8>>> {
    let text = std::fs::read_to_string(names)?;
    let queries: Vec<Vec<u8>> = text.lines().filter_map(query).collect();
    if queries.is_empty() {
        return Err(io::Error::other("no line is NAME A or NAME AAAA"));
    }
    Ok(queries)
}

fn query(line: &str) -> Option<Vec<u8>> {
    let (name, rtype) = line.trim().split_once(' ')?;
    let rtype: u16 = match rtype {
        "A" => 1,
        "AAAA" => 28,
        _ => return None,
    };
    let mut query = vec![0, 0, RD, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        query.push(
            u8::try_from(label.len())
                .ok()
                .filter(|length| *length < 64)?,
        );
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&rtype.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    Some(query)
}

/// Answers every query with one address, without looking at it: batches of system calls,
/// and nothing else.
pub(crate) fn floor(listen: SocketAddrV4) -> io::Result<()> {
    const BATCH: usize = 64;
    const RECORD: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 198, 18, 0, 0];
    let socket = UdpSocket::bind(listen)?;
    println!("ready");
    io::stdout().flush()?;
    let mut buffers = vec![[0_u8; 512 + RECORD.len()]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    loop {
        let mut received = Vec::with_capacity(BATCH);
        {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers
                .iter_mut()
                .map(|buffer| [IoSliceMut::new(&mut buffer[..512])])
                .collect();
            let messages = recvmmsg(
                socket.as_raw_fd(),
                &mut headers,
                slices.iter_mut(),
                MsgFlags::MSG_WAITFORONE,
                None,
            )?;
            received.extend(messages.map(|message| (message.bytes, message.address)));
        }
        let mut addresses = Vec::with_capacity(received.len());
        let mut slices = Vec::with_capacity(received.len());
        for ((length, address), buffer) in received.iter().zip(&mut buffers) {
            if *length < HEADER {
                continue;
            }
            buffer[2] |= QR;
            buffer[7] = 1;
            buffer[*length..*length + RECORD.len()].copy_from_slice(&RECORD);
            addresses.push(*address);
            slices.push([IoSlice::new(&buffer[..*length + RECORD.len()])]);
        }
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(slices.len().max(1), None);
        sendmmsg(
            socket.as_raw_fd(),
            &mut headers,
            &slices,
            &addresses,
            [],
            MsgFlags::empty(),
        )?;
    }
}
