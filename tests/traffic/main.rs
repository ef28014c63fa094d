//! Traffic that tests and benchmarks send through a lab: many connections held
//! open at once, and connections per second. Each connection carries a token of
//! its own, so an answer that belongs to another is noticed.
//!
//! It runs inside a pod or node (`labctl exec`), so it is a program of its own.

mod datagrams;
mod dns;
mod flows;
mod hold;
mod rate;
mod rtt;
mod serve;
mod steady;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "traffic")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer each line with `PEER LINE` until the client closes; print `ready` first.
    Serve {
        /// Addresses to listen on.
        #[arg(required = true)]
        listen: Vec<SocketAddrV4>,
    },
    /// Open connections, exchange tokens on all of them while all are open, print counts as JSON.
    Hold {
        /// Where to; the connections are spread over them.
        #[arg(required = true)]
        to: Vec<SocketAddrV4>,
        /// How many.
        #[arg(long)]
        connections: usize,
        /// Connections being opened at the same time.
        #[arg(long, default_value_t = 64)]
        opening: usize,
        /// How long one connection may take to open, in milliseconds.
        #[arg(long, default_value_t = 10_000)]
        timeout_ms: u64,
        /// After opening, print `open` and wait for a line on stdin before the exchange.
        #[arg(long)]
        wait: bool,
    },
    /// Answer each datagram with itself; print `ready` first.
    Answer {
        /// Address to receive on.
        listen: SocketAddrV4,
    },
    /// Send a datagram, wait for the answer, and print whose it is.
    Ask {
        /// Where to.
        to: SocketAddrV4,
    },
    /// Exchange one token after the other on one connection; print the median of the times that
    /// takes, in microseconds.
    Rtt {
        /// Where to.
        to: SocketAddrV4,
        /// For how long.
        #[arg(long, default_value_t = 2)]
        seconds: u64,
    },
    /// Send one datagram each on so many flows, which differ in their destination ports and, past
    /// 60 000, in their source ports.
    Flows {
        /// Where to; nobody need answer.
        to: Ipv4Addr,
        /// How many.
        #[arg(long)]
        count: u32,
    },
    /// Open connections at a steady rate, each for one question, beside one to each address that
    /// stays open; print what was answered and what failed as JSON.
    Steady {
        /// Where to, in turn.
        #[arg(required = true)]
        to: Vec<SocketAddrV4>,
        /// New connections in a second.
        #[arg(long)]
        per_second: u32,
        /// For how long.
        #[arg(long)]
        seconds: u64,
    },
    /// Connect, exchange one token, close, again and again; print connections per second.
    Rate {
        /// Where to.
        to: SocketAddrV4,
        /// For how long.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        /// Connections at the same time.
        #[arg(long, default_value_t = 1)]
        parallel: usize,
    },
    /// Ask a DNS server for one name after the other at a steady rate, whatever the answers do;
    /// print counts and times as JSON.
    Dns {
        /// The server.
        to: SocketAddrV4,
        /// Lines of `NAME TYPE`.
        #[arg(long)]
        names: PathBuf,
        /// Queries in a second.
        #[arg(long)]
        per_second: u32,
        /// For how long.
        #[arg(long)]
        seconds: u64,
    },
    /// Answer every DNS query with the same address: what a server cannot be faster than; print
    /// `ready` first.
    DnsFloor {
        /// Address to receive on.
        listen: SocketAddrV4,
    },
}

fn main() -> std::io::Result<()> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match Arguments::parse().command {
        Command::Serve { listen } => runtime.block_on(serve::serve(&listen)),
        Command::Answer { listen } => datagrams::answer(listen),
        Command::Ask { to } => datagrams::ask(to),
        Command::Hold {
            to,
            connections,
            opening,
            timeout_ms,
            wait,
        } => {
            let plan = hold::Plan {
                to,
                connections,
                opening,
                timeout: Duration::from_millis(timeout_ms),
                wait,
            };
            runtime.block_on(hold::hold(plan))
        }
        Command::Rtt { to, seconds } => {
            runtime.block_on(rtt::rtt(to, Duration::from_secs(seconds)))
        }
        Command::Flows { to, count } => flows::flows(to, count),
        Command::Steady {
            to,
            per_second,
            seconds,
        } => runtime.block_on(steady::steady(
            &to,
            per_second,
            Duration::from_secs(seconds),
        )),
        Command::Rate {
            to,
            seconds,
            parallel,
        } => runtime.block_on(rate::rate(to, Duration::from_secs(seconds), parallel)),
        Command::Dns {
            to,
            names,
            per_second,
            seconds,
        } => dns::ask(to, &names, per_second, Duration::from_secs(seconds)),
        Command::DnsFloor { listen } => dns::floor(listen),
    }
}

/// Every connection is a file descriptor: the usual soft limit of 1024 is far too
/// low, and the hard limit may not be ours to raise.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        eprintln!("traffic: failed to raise RLIMIT_NOFILE: {error}");
    }
}
