//! An upstream on 127.0.0.2:53 that answers by the first label of a name.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::wire::{HEADER, Header};

pub(crate) const ADDRESS: &str = "127.0.0.2:53";
/// Records in the answer to `big.…`: with 16 octets each, near 64 KiB.
pub(crate) const BIG: u16 = 4000;

/// Starts it, on threads that end with the test's process.
pub(crate) fn start() {
    let udp = UdpSocket::bind(ADDRESS).expect("the upstream's UDP socket");
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = udp.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length], 4096) {
                // Whoever asked may be gone.
                let _ = udp.send_to(&answer, client);
            }
        }
    });
    let tcp = TcpListener::bind(ADDRESS).expect("the upstream's TCP socket");
    std::thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            std::thread::spawn(move || converse(stream));
        }
    });
}

fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        if let Some(answer) = answer(&query, 65_535) {
            let length = u16::try_from(answer.len()).expect("answers fit");
            let answer = [&length.to_be_bytes()[..], &answer].concat();
            stream.write_all(&answer)?;
        }
    }
}

/// What it answers: one address, unless the first label says otherwise.
fn answer(query: &[u8], room: usize) -> Option<Vec<u8>> {
    const RECORD: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 198, 51, 100, 1];
    let header = Header::of(query);
    let question = question(query)?;
    let label = &question[1..1 + usize::from(question[0])];
    let mut answer = query[..HEADER].to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80;
    answer[4..HEADER].fill(0);
    answer[5] = 1;
    answer.extend_from_slice(question);
    debug_assert!(!header.response);
    match label {
        b"silent" => return None,
        b"slow" => {
            std::thread::sleep(Duration::from_millis(300));
            push(&mut answer, &RECORD, 1);
        }
        b"big" if room >= 65_535 => {
            for number in 0..BIG {
                let mut record = RECORD;
                record[14..].copy_from_slice(&number.to_be_bytes());
                push(&mut answer, &record, 1);
            }
        }
        b"big" => answer[2] |= 2,
        // A name that points at itself, in a record that the header announces.
        b"loop" => push(&mut answer, &[0xc0, 0xff, 0, 1, 0, 1], 1),
        b"selfloop" => {
            let at = u16::try_from(answer.len()).expect("short") | 0xc000;
            let owner = at.to_be_bytes();
            let record = [&owner[..], &RECORD[2..]].concat();
            push(&mut answer, &record, 1);
        }
        b"short" => {
            push(&mut answer, &RECORD, 1);
            answer.truncate(answer.len() - 3);
        }
        b"lying" => push(&mut answer, &RECORD, 9),
        b"garbage" => answer.truncate(7),
        b"no" => {
            answer[3] |= 3;
            denial(&mut answer, question);
        }
        _ => push(&mut answer, &RECORD, 1),
    }
    Some(answer)
}

fn push(answer: &mut Vec<u8>, record: &[u8], counted: u16) {
    let count = u16::from_be_bytes([answer[6], answer[7]]) + counted;
    answer[6..8].copy_from_slice(&count.to_be_bytes());
    answer.extend_from_slice(record);
}

/// NXDOMAIN's SOA, of the root.
fn denial(answer: &mut Vec<u8>, _question: &[u8]) {
    answer[9] = 1;
    let soa = [0, 0, 6, 0, 1, 0, 0, 14, 16, 0, 22, 0, 0];
    answer.extend_from_slice(&soa);
    for word in [1_u32, 7200, 1800, 86_400, 3600] {
        answer.extend_from_slice(&word.to_be_bytes());
    }
}

/// The octets of the question; none if it is not whole.
fn question(query: &[u8]) -> Option<&[u8]> {
    let mut end = HEADER;
    loop {
        let length = usize::from(*query.get(end)?);
        end += 1 + length;
        if length == 0 {
            break;
        }
    }
    query
        .get(HEADER..end + 4)
        .filter(|question| question[0] < 64)
}
