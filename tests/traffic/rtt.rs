//! The time from a question to its answer.

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub(crate) async fn rtt(to: SocketAddrV4, during: Duration) -> io::Result<()> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(128, stream);
    let mut times = Vec::new();
    let end = Instant::now() + during;
    let mut line = String::new();
    while Instant::now() < end {
        let began = Instant::now();
        stream.get_mut().write_all(b"x\n").await?;
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{:.1}", median.as_secs_f64() * 1e6);
    Ok(())
}
