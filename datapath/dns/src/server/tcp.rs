//! Connections: many queries each, answered in any order (RFC 7766).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::task::TaskTracker;

use super::Current;
use crate::service::{Answer, Client};
use crate::upstream::Transport;

/// How long a connection may be silent: miekg/dns's, and CoreDNS's, idle timeout.
const IDLE: Duration = Duration::from_secs(10);
/// How long a query may take to arrive, and an answer to be taken.
const SLOW: Duration = Duration::from_secs(5);
/// Connections at once, all clients together; more wait to be accepted.
const CONNECTIONS: usize = 4096;
/// Queries of one connection under way; more wait in the kernel.
const PIPELINED: usize = 128;

/// Accepts until `stop` is true; connections then end with what is under way.
pub(super) async fn accept(
    listener: std::net::TcpListener,
    current: Current,
    tasks: TaskTracker,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return Ok(());
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors, or a client that left: others may end meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (current, stop) = (current.clone(), stop.clone());
        tasks.spawn(async move {
            // Whatever ended it, it has ended.
            let _ = converse(stream, peer, current, stop).await;
            drop(permit);
        });
    }
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    current: Current,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let client = Client {
        address: peer,
        transport: Transport::Tcp,
        local: stream.local_addr()?,
    };
    let (reading, writing) = stream.into_split();
    let (answers, answered) = mpsc::channel(PIPELINED);
    let writer = tokio::spawn(write(writing, answered));
    let mut reading = BufReader::new(reading);
    let pipelined = Arc::new(Semaphore::new(PIPELINED));
    let mut query = Vec::new();
    loop {
        let begun = tokio::select! {
            begun = tokio::time::timeout(IDLE, reading.fill_buf()) => begun,
            _ = stop.wait_for(|stop| *stop) => break,
            () = answers.closed() => break,
        };
        if !matches!(begun, Ok(Ok(octets)) if !octets.is_empty()) {
            break;
        }
        let whole = tokio::time::timeout(SLOW, read(&mut reading, &mut query));
        if !matches!(whole.await, Ok(Ok(()))) {
            break;
        }
        let Ok(permit) = Arc::clone(&pipelined).acquire_owned().await else {
            break;
        };
        let service = current.get();
        let mut out = Vec::new();
        match service.answer(&query, &client, &mut out) {
            Answer::Ready => {
                if answers.send(out).await.is_err() {
                    break;
                }
            }
            Answer::Silent => {}
            Answer::Later => {
                let (query, answers) = (query.clone(), answers.clone());
                tokio::spawn(async move {
                    if let Some(answer) = service.finish(&query, &client).await {
                        // The client may have left.
                        let _ = answers.send(answer).await;
                    }
                    drop(permit);
                });
            }
        }
    }
    drop(answers);
    writer.await?
}

async fn read(stream: &mut BufReader<OwnedReadHalf>, query: &mut Vec<u8>) -> io::Result<()> {
    let length = stream.read_u16().await?;
    query.resize(usize::from(length), 0);
    stream.read_exact(query).await?;
    Ok(())
}

/// Writes answers, those that wait together in one go.
async fn write(mut stream: OwnedWriteHalf, mut answers: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut out = Vec::new();
    while let Some(answer) = answers.recv().await {
        out.clear();
        let mut next = Some(answer);
        while let Some(answer) = next {
            if let Ok(length) = u16::try_from(answer.len()) {
                out.extend(length.to_be_bytes());
                out.extend(answer);
            }
            next = (out.len() < 64 * 1024)
                .then(|| answers.try_recv().ok())
                .flatten();
        }
        tokio::time::timeout(SLOW, stream.write_all(&out)).await??;
    }
    stream.shutdown().await
}
