//! Connections per second.

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

pub(crate) async fn rate(to: SocketAddrV4, during: Duration, parallel: usize) -> io::Result<()> {
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..parallel {
        workers.spawn(async move {
            let mut done = 0_u64;
            while start.elapsed() < during {
                once(to).await?;
                done += 1;
            }
            Ok::<_, io::Error>(done)
        });
    }
    let mut total = 0;
    while let Some(done) = workers.join_next().await {
        total += done.map_err(io::Error::other)??;
    }
    println!("{:.0}", total as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

/// Closed with RST (linger 0): no port lingers in TIME_WAIT, so none runs out.
async fn once(to: SocketAddrV4) -> io::Result<()> {
    let stream: TcpStream = TcpSocket::new_v4()?.connect(to.into()).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(128, stream);
    stream.get_mut().write_all(b"x\n").await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    stream.get_ref().set_zero_linger()
}
