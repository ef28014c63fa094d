//! The workloads and services that labctl brings along: what runs in pods, on
//! routers and in the outside, each a process of this binary in a cgroup of its
//! own, each kept small and quick to start.

mod go_http;
mod idle;
mod listen;
mod nginx;
mod segment;
mod whoami;
mod world;

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to run. Started by labctl itself, with the lab's namespaces around it.
#[derive(Debug, Subcommand)]
pub(crate) enum App {
    /// Hold a node's namespaces open until told to stop
    Pause,
    /// Stand for nicolaka/netshoot: wait, for commands to be run beside it
    Netshoot,
    /// Stand for traefik/whoami: answer HTTP with who was asked, and by whom
    Whoami(Listen),
    /// Stand for nginx: serve its welcome page
    Nginx(Listen),
    /// Serve HTTP on a node; answers as whoami does, so that the client's address shows
    Http(Listen),
    /// Be the switch of the segment that virtual machines are on
    Segment(Segment),
    /// Be the outside: translate its links' addresses, and serve HTTP like `http`
    World(World),
}

/// Where a server listens and whom it tells so.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Listen {
    /// TCP port, on every address
    #[arg(long, default_value_t = 80)]
    port: u16,
    /// File descriptor that gets one byte, and is closed, once connections are accepted
    #[arg(long, value_name = "FD")]
    ready_fd: Option<RawFd>,
}

/// The segment of virtual machines.
#[derive(Debug, Args)]
pub(crate) struct Segment {
    /// Folder of its sockets
    folder: PathBuf,
    /// File that every frame is written to, as pcap
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
}

/// The outside.
#[derive(Debug, Args)]
pub(crate) struct World {
    /// The service as JSON: `{"world": {"links": [{"interface": …, "address": …}]}}`;
    /// read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    listen: Listen,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(app: App) -> anyhow::Result<()> {
    match app {
        App::Pause | App::Netshoot => idle::wait(),
        App::Whoami(listen) | App::Http(listen) => whoami::serve(listen),
        App::Nginx(listen) => nginx::serve(listen),
        App::World(world) => world::serve(&world),
        App::Segment(segment) => segment::serve(segment),
    }
}
