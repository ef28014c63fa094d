//! A client process: socket programs know sockets by their cgroup, which a thread of
//! the tests cannot leave. So this program is its own client, as another process.

use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::agent::tests::node::TestNode;

/// What a client is to do: call, address, times.
const ORDER: &str = "LAB_NODE_TEST_CLIENT";
/// Before each line of its answer.
const MARK: &str = "client: ";
const PATIENCE: Duration = Duration::from_secs(5);

/// The outcome of one call by a process of the node, or of a pod.
#[track_caller]
pub(super) fn run(node: &TestNode, pod: Option<&str>, call: &str, to: SocketAddrV4) -> String {
    let mut answers = run_times(node, pod, call, to, 1);
    answers.pop().expect("one answer")
}

/// The outcomes of as many calls by one process.
#[track_caller]
pub(super) fn run_times(
    node: &TestNode,
    pod: Option<&str>,
    call: &str,
    to: SocketAddrV4,
    times: usize,
) -> Vec<String> {
    let own = std::env::current_exe().expect("a test has an executable");
    let name = format!(
        "{}::the_client",
        module_path!().split_once("::").expect("in a crate").1
    );
    let arguments = [
        "--exact",
        &name,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ];
    let order = format!("{call} {to} {times}");
    let output = node.run_program(pod, &own, &arguments, (ORDER, &order));
    let marked = output.lines().filter_map(|line| line.split_once(MARK));
    let answers: Vec<_> = marked.map(|(_, answer)| answer.to_owned()).collect();
    assert_eq!(answers.len(), times, "{output}");
    answers
}

/// Not a test: what [`run`] starts.
#[test]
#[ignore = "the tests of services start it"]
fn the_client() {
    let order = std::env::var(ORDER).expect("the tests of services start it");
    let words: Vec<_> = order.split(' ').collect();
    let [call, to, times] = words[..] else {
        panic!("{order:?} is no order");
    };
    let to = to.parse().expect("an address");
    for _ in 0..times.parse().expect("a number") {
        match perform(call, to) {
            Ok(answer) => println!("{MARK}{answer}"),
            Err(error) => match error.raw_os_error() {
                Some(number) => println!("{MARK}error {number}"),
                None => println!("{MARK}{error}"),
            },
        }
    }
}

fn perform(call: &str, to: SocketAddrV4) -> io::Result<String> {
    let mapped = SocketAddr::from((to.ip().to_ipv6_mapped(), to.port()));
    match call {
        "tcp" => tcp(to.into()),
        "tcp-mapped" => tcp(mapped),
        "udp" => udp(&UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?, to.into()),
        "udp-mapped" => udp(&UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?, mapped),
        "udp-twice" => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            udp(&socket, to.into())?;
            udp(&socket, to.into())
        }
        "udp-connected" => udp_connected(to, 1),
        "udp-connected-twice" => udp_connected(to, 2),
        "bind" => Ok(TcpListener::bind(to)?.local_addr()?.to_string()),
        _ => panic!("{call:?} is no call"),
    }
}

fn tcp(to: SocketAddr) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let peer = stream.peer_addr()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(format!("{peer} {}", line.trim_end()))
}

fn udp(socket: &UdpSocket, to: SocketAddr) -> io::Result<String> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 64];
    socket.send_to(b"who", to)?;
    let (length, from) = socket.recv_from(&mut buffer)?;
    Ok(format!(
        "{from} {}",
        String::from_utf8_lossy(&buffer[..length])
    ))
}

fn udp_connected(to: SocketAddrV4, times: usize) -> io::Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    let peer = socket.peer_addr()?;
    let mut buffer = [0; 64];
    let mut length = 0;
    for _ in 0..times {
        socket.send(b"who")?;
        length = socket.recv(&mut buffer)?;
    }
    Ok(format!(
        "{peer} {}",
        String::from_utf8_lossy(&buffer[..length])
    ))
}
