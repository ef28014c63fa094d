//! The command line of the DNS server.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

/// `dns`: cluster DNS, or the DNS cache of a node.
#[derive(Debug, Args)]
pub(crate) struct DnsArgs {
    /// The Corefile
    #[arg(long, value_name = "COREFILE")]
    pub(crate) conf: PathBuf,

    /// The cluster's records, JSON, read again when the file is replaced
    #[arg(long, value_name = "FILE")]
    pub(crate) kubernetes: Option<PathBuf>,

    /// Unix socket: take over from the process that offers its sockets there, then
    /// offer them to the next
    #[arg(long, value_name = "SOCKET")]
    pub(crate) handover: Option<PathBuf>,

    /// File descriptor that one byte is written to when all addresses are served
    #[arg(long, value_name = "FD")]
    pub(crate) ready_fd: Option<i32>,

    /// UDP threads for each address; one per core unless given
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,

    /// __PILLAR__CLUSTER__DNS__: the service in front of cluster DNS
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub(crate) upstream_service: Option<Vec<IpAddr>>,

    /// __PILLAR__UPSTREAM__SERVERS__: addresses, or a file like /etc/resolv.conf
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub(crate) upstream_servers: Vec<String>,

    /// __PILLAR__LOCAL__DNS__: the addresses that the cache listens on
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub(crate) local_ip: Vec<IpAddr>,

    /// Have the kernel answer what clients ask often through that interface
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) answer_in_kernel: Option<String>,

    #[command(flatten)]
    pub(crate) node_cache: NodeCacheArgs,
}

/// What node-cache does to its node beside answering.
#[derive(Debug, Args)]
pub(crate) struct NodeCacheArgs {
    /// Make an interface of that name with the local addresses
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) setup_interface: Option<String>,

    /// Have iptables keep what goes to the local addresses out of conntrack
    #[arg(long)]
    pub(crate) setup_iptables: bool,

    /// Leave interface and rules there in the end
    #[arg(long)]
    pub(crate) skip_teardown: bool,

    /// Port of health checks that the rules let through
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) health_port: u16,

    /// Seconds between looks at interface and rules
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sync_interval: u32,
}
