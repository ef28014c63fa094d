//! Sockets of upstreams that misbehave.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::{Exchange as _, Sockets, Transport};

const PATIENCE: Duration = Duration::from_secs(5);

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn read(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u16().await.unwrap();
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.unwrap();
    message
}

async fn write(stream: &mut TcpStream, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap();
    let framed = [&length.to_be_bytes(), message].concat();
    stream.write_all(&framed).await.unwrap();
}

async fn ask(sockets: &Sockets, to: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let asked = sockets.exchange(to, Transport::Tcp, query, &|_| ());
    tokio::time::timeout(PATIENCE, asked).await.unwrap()
}

#[tokio::test]
async fn queries_share_a_connection_and_are_answered_in_any_order() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let first = read(&mut stream).await;
        write(&mut stream, &first).await;
        let (second, third) = (read(&mut stream).await, read(&mut stream).await);
        write(&mut stream, &third).await;
        write(&mut stream, &second).await;
        listener
    });
    let sockets = Sockets::default();
    assert_eq!(
        ask(&sockets, address, b"\0\x01one").await.unwrap(),
        b"\0\x01one"
    );
    let (two, three) = tokio::join!(
        ask(&sockets, address, b"\0\x02two"),
        ask(&sockets, address, b"\0\x03three"),
    );
    assert_eq!(
        (two.unwrap(), three.unwrap()),
        (b"\0\x02two".to_vec(), b"\0\x03three".to_vec())
    );
    drop(server.await.unwrap());
}

#[tokio::test]
async fn node_cache_745_a_connection_that_died_fails_no_query() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let query = read(&mut stream).await;
            write(&mut stream, &query).await;
            // It takes one more query, and ends without answering it.
            let _ = stream.read_u16().await;
        }
    });
    let sockets = Sockets::default();
    assert!(ask(&sockets, address, b"\0\x01one").await.is_ok());
    assert_eq!(
        ask(&sockets, address, b"\0\x02two").await.unwrap(),
        b"\0\x02two"
    );
    drop(sockets);
    server.abort();
}

#[tokio::test]
async fn a_new_connection_that_is_closed_is_an_error() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read(&mut stream).await;
    });
    let error = ask(&Sockets::default(), address, b"\0\x01one")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    server.await.unwrap();
}

#[tokio::test]
async fn datagrams_with_another_id_are_not_the_answer_and_ports_differ() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let mut ports = Vec::new();
        for _ in 0..2 {
            let mut query = [0; 64];
            let (length, peer) = server.recv_from(&mut query).await.unwrap();
            server.send_to(b"\xff\xffforged", peer).await.unwrap();
            server.send_to(&query[..length], peer).await.unwrap();
            ports.push(peer.port());
        }
        ports
    });
    let sockets = Sockets::default();
    for _ in 0..2 {
        let asked = sockets.exchange(address, Transport::Udp, b"\0\x01one", &|_| ());
        let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap();
        assert_eq!(answer.unwrap(), b"\0\x01one");
    }
    let ports = answering.await.unwrap();
    assert_ne!(ports[0], ports[1]);
}

#[tokio::test]
async fn connections_that_are_taken_are_told_from_new_ones() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        for _ in 0..2 {
            let query = read(&mut stream).await;
            write(&mut stream, &query).await;
        }
    });
    let sockets = Sockets::default();
    let told = Mutex::new(Vec::new());
    let taken = |reused| told.lock().unwrap().push(reused);
    let ask = async |transport, query: &[u8]| {
        let asked = sockets.exchange(address, transport, query, &taken);
        tokio::time::timeout(PATIENCE, asked).await.unwrap().is_ok()
    };
    assert!(ask(Transport::Tcp, b"\0\x01one").await);
    assert!(ask(Transport::Tcp, b"\0\x02two").await);
    server.await.unwrap();
    // The server is gone: whether or not the end of the connection is known by now, the last
    // that is tried is a new one, which is refused.
    assert!(!ask(Transport::Tcp, b"\0\x03three").await);
    let told = told.into_inner().unwrap();
    assert_eq!(told[..2], [false, true]);
    assert_eq!(told.last(), Some(&false));
}
