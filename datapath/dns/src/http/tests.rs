//! Pages as clients get them.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::corefile::{Pillars, parse};
use crate::kubernetes::Records;

fn config(text: &str) -> Config {
    parse("Corefile".as_ref(), text, &Pillars::default()).unwrap()
}

async fn get(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    format!("{} {body}", head.split_whitespace().nth(1).unwrap())
}

#[tokio::test]
async fn pages_of_plugins_that_share_an_address() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let here = format!("127.0.0.1:{port}");
    let text = format!(
        ". {{\n health {here}\n ready {here}\n prometheus {here}\n kubernetes cluster.local\n}}\n"
    );
    let (store, registry) = (Store::default(), Registry::new("labctl-0.1.0"));
    let pages = Arc::new(Pages::new(&config(&text), store.clone(), registry));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = serve(listener, here.parse().unwrap(), Arc::clone(&pages), async {
        drop(stopped.await);
    });
    let served = tokio::spawn(served);

    assert_eq!(get(port, "GET /health").await, "200 OK");
    assert_eq!(get(port, "GET /ready").await, "503 kubernetes");
    store.replace(Records::default());
    assert_eq!(get(port, "GET /ready").await, "200 OK");
    assert_eq!(get(port, "GET /").await, "404 404 page not found\n");
    assert!(get(port, "POST /health").await.starts_with("405 "));
    let metrics = get(port, "GET /metrics").await;
    assert!(
        metrics.starts_with("200 # HELP coredns_build_info "),
        "{metrics}"
    );
    assert!(
        metrics.contains("\ncoredns_health_request_duration_seconds_count 1\n"),
        "{metrics}"
    );
    pages.set_lameduck();
    assert_eq!(get(port, "GET /health").await, "503 Shutting down");
    assert_eq!(get(port, "GET /ready").await, "200 OK");
    // What the Corefile doesn't ask for any more isn't there.
    pages.replace(&config(&format!(". {{\n prometheus {here}\n}}\n")));
    assert_eq!(get(port, "GET /health").await, "404 404 page not found\n");

    stop.send(()).unwrap();
    served.await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn idle_connections_take_no_more_than_their_places() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let here = format!("127.0.0.1:{port}");
    let text = format!(". {{\n health {here}\n}}\n");
    let pages = Pages::new(&config(&text), Store::default(), Registry::new("test"));
    let pages = Arc::new(pages);
    let never = std::future::pending();
    tokio::spawn(serve(
        listener,
        here.parse().unwrap(),
        Arc::clone(&pages),
        never,
    ));
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        ask(&mut stream).await;
        idle.push(stream);
    }
    let mut waiting = std::pin::pin!(get(port, "GET /health"));
    // While those that have their places are served, it isn't.
    let others = async {
        for stream in &mut idle {
            ask(stream).await;
        }
    };
    tokio::select! {
        biased;
        answer = &mut waiting => panic!("{answer}"),
        () = others => {}
    }
    idle.pop();
    assert_eq!(waiting.await, "200 OK");
}

/// Asks on a connection that stays open.
async fn ask(stream: &mut TcpStream) {
    let request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nOK") {
        answer.push(stream.read_u8().await.unwrap());
    }
}
