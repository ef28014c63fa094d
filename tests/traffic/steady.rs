//! Connections at a steady rate, and some that stay open all the while.

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a connection may take from its first packet to its answer. A SYN is sent again
/// after 1, 3 and 7 seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a connection that stays open speaks.
const BEAT: Duration = Duration::from_millis(100);

pub(crate) async fn steady(
    to: &[SocketAddrV4],
    per_second: u32,
    during: Duration,
) -> io::Result<()> {
    let end = Instant::now() + during;
    let mut kept = JoinSet::new();
    for address in to {
        kept.spawn(keep(*address, end));
    }
    let mut short = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / per_second);
    // One that comes late is made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for address in to.iter().cycle() {
        ticks.tick().await;
        if Instant::now() >= end {
            break;
        }
        let address = *address;
        short.spawn(async move { (address, once(address).await) });
    }
    let mut failures = Vec::new();
    let mut answered = 0_u64;
    while let Some(done) = short.join_next().await {
        match done.map_err(io::Error::other)? {
            (_, Ok(())) => answered += 1,
            (address, Err(error)) => failures.push(format!("{address}: {error}")),
        }
    }
    let mut beats = 0_u64;
    while let Some(done) = kept.join_next().await {
        match done.map_err(io::Error::other)? {
            Ok(count) => beats += count,
            Err(error) => failures.push(format!("kept open: {error}")),
        }
    }
    let counts = serde_json::json!({"answered": answered, "beats": beats, "failures": failures});
    println!("{counts}");
    Ok(())
}

/// One connection with one question.
async fn once(to: SocketAddrV4) -> io::Result<()> {
    let exchange = async {
        let mut stream = BufReader::with_capacity(128, TcpStream::connect(to).await?);
        ask(&mut stream, "once").await?;
        // Closed with RST: no port lingers in TIME_WAIT, so none runs out.
        stream.get_ref().set_zero_linger()
    };
    timeout(PATIENCE, exchange).await?
}

/// One connection with many questions; says how many were answered.
async fn keep(to: SocketAddrV4, end: Instant) -> io::Result<u64> {
    let mut stream = BufReader::with_capacity(128, TcpStream::connect(to).await?);
    let mut beats = 0;
    let mut ticks = interval(BEAT);
    while Instant::now() < end {
        ticks.tick().await;
        timeout(PATIENCE, ask(&mut stream, &beats.to_string())).await??;
        beats += 1;
    }
    Ok(beats)
}

/// The answer must carry the question.
async fn ask(stream: &mut BufReader<TcpStream>, token: &str) -> io::Result<()> {
    let question = format!("{token}\n");
    stream.get_mut().write_all(question.as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    match line.trim_end().split_once(' ') {
        Some((_, echoed)) if echoed == token => Ok(()),
        _ => Err(io::Error::other(format!(
            "asked {token}, answered {line:?}"
        ))),
    }
}
