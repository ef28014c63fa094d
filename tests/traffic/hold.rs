//! Many connections open at once.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long an answer may take once a connection is open.
const ANSWER: Duration = Duration::from_secs(20);

pub(crate) struct Plan {
    pub(crate) to: Vec<SocketAddrV4>,
    pub(crate) connections: usize,
    pub(crate) opening: usize,
    pub(crate) timeout: Duration,
    pub(crate) wait: bool,
}

pub(crate) async fn hold(plan: Plan) -> io::Result<()> {
    let (streams, first_failure) = open(&plan).await;
    let opened = streams.len();
    if plan.wait {
        println!("open {opened}");
        tokio::io::stdin().read_u8().await?;
    }
    let mut exchanges = JoinSet::new();
    for (index, stream) in streams {
        exchanges.spawn(timeout(ANSWER, exchange(index, stream)));
    }
    let (mut right, mut wrong, mut silent) = (0, 0, 0);
    // Streams come back and stay open until every exchange is done.
    let mut open = Vec::with_capacity(opened);
    while let Some(done) = exchanges.join_next().await {
        match done.map_err(io::Error::other)? {
            Ok(Ok((stream, true))) => {
                right += 1;
                open.push(stream);
            }
            Ok(Ok((_, false))) => wrong += 1,
            Ok(Err(_)) | Err(_) => silent += 1,
        }
    }
    let failed = plan.connections - opened;
    let first = first_failure.map_or("null".to_owned(), |index| index.to_string());
    println!(
        r#"{{"opened":{opened},"failed":{failed},"first_failure":{first},"right":{right},"wrong":{wrong},"silent":{silent}}}"#
    );
    Ok(())
}

/// The connections that opened, and the index of the first that did not.
async fn open(plan: &Plan) -> (Vec<(usize, TcpStream)>, Option<usize>) {
    let permits = Arc::new(Semaphore::new(plan.opening));
    let mut connecting = JoinSet::new();
    for index in 0..plan.connections {
        let permit = Arc::clone(&permits)
            .acquire_owned()
            .await
            .expect("never closed");
        let (to, limit) = (plan.to[index % plan.to.len()], plan.timeout);
        connecting.spawn(async move {
            let connected = timeout(limit, TcpStream::connect(to)).await;
            drop(permit);
            (index, connected)
        });
    }
    let mut streams = Vec::with_capacity(plan.connections);
    let mut first_failure: Option<usize> = None;
    while let Some(done) = connecting.join_next().await {
        match done.expect("connecting does not panic") {
            (index, Ok(Ok(stream))) => streams.push((index, stream)),
            (index, _) => first_failure = Some(first_failure.map_or(index, |old| old.min(index))),
        }
    }
    (streams, first_failure)
}

/// Whether the answer carries this connection's own token.
async fn exchange(index: usize, stream: TcpStream) -> io::Result<(BufReader<TcpStream>, bool)> {
    let token = format!("{}-{index}", std::process::id());
    let mut stream = BufReader::with_capacity(128, stream);
    stream
        .get_mut()
        .write_all(format!("{token}\n").as_bytes())
        .await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let right = line
        .trim_end()
        .split_once(' ')
        .is_some_and(|(_, echoed)| echoed == token);
    Ok((stream, right))
}
