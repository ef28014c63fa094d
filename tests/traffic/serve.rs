//! The server: says to each line who sent it.

use std::io;
use std::net::SocketAddrV4;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub(crate) async fn serve(listen: &[SocketAddrV4]) -> io::Result<()> {
    let listeners = listen
        .iter()
        .map(|address| bind(*address))
        .collect::<io::Result<Vec<_>>>()?;
    println!("ready");
    for listener in listeners {
        tokio::spawn(accept(listener));
    }
    std::future::pending().await
}

fn bind(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address.into())?;
    socket.listen(4096)
}

async fn accept(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(answer(stream))),
            Err(error) => eprintln!("traffic: failed to accept: {error}"),
        }
    }
}

async fn answer(stream: TcpStream) -> io::Result<()> {
    let peer = stream.peer_addr()?;
    let mut stream = BufReader::with_capacity(128, stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        stream
            .get_mut()
            .write_all(format!("{peer} {line}").as_bytes())
            .await?;
        line.clear();
    }
    Ok(())
}
