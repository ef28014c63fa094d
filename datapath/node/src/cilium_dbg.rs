//! `cilium-dbg`, as far as the node agent can answer: the original's commands,
//! words and columns. What the original prints and labctl does not know is left
//! out rather than made up.

mod columns;
mod flows;
mod identities;
mod monitor;
mod services;
mod tables;

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::api::{Client, ClientError};
pub use monitor::Monitor;

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum CiliumDbgError {
    /// The command line is wrong; the text says how, and what would be right.
    #[error("{0}")]
    Usage(String),
    /// The agent does not answer.
    #[error(transparent)]
    Agent(#[from] ClientError),
    /// The agent answers that nothing was applied.
    #[error("read the node's state: nothing was applied to this node yet")]
    NothingApplied,
    /// The output cannot be written.
    #[error("write events: {0}")]
    Write(#[source] std::io::Error),
    /// There is no endpoint or identity of that number.
    #[error("find {what} {id} on this node; `cilium-dbg {what} list` has those that there are")]
    Unknown {
        /// `endpoint` or `identity`.
        what: &'static str,
        /// The number.
        id: u32,
    },
}

/// CLI for interacting with the local Cilium Agent
#[derive(Debug, Parser)]
#[command(name = "cilium-dbg", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Display status of daemon
    Status {
        /// Only print a one-line status message
        #[arg(long)]
        brief: bool,
        /// Equivalent to all of --all-addresses --all-controllers --all-nodes
        #[arg(long)]
        verbose: bool,
    },
    /// Manage services & loadbalancers
    Service {
        #[command(subcommand)]
        command: List,
    },
    /// Direct access to local BPF maps
    Bpf {
        #[command(subcommand)]
        map: Bpf,
    },
    /// Manage endpoints
    Endpoint {
        #[command(subcommand)]
        command: Endpoint,
    },
    /// Manage security identities
    Identity {
        #[command(subcommand)]
        command: Identity,
    },
    /// Display BPF program events
    Monitor(monitor::Arguments),
    /// Cilium configuration options
    Config {
        #[command(subcommand)]
        command: Config,
    },
}

#[derive(Debug, Subcommand)]
enum Bpf {
    /// Connection tracking tables
    Ct {
        #[command(subcommand)]
        command: Ct,
    },
    /// Manage the IPCache mappings for IP/CIDR <-> Identity
    Ipcache {
        #[command(subcommand)]
        command: List,
    },
    /// ip-masq-agent CIDRs
    Ipmasq {
        #[command(subcommand)]
        command: List,
    },
    /// Load-balancing configuration
    Lb {
        #[command(subcommand)]
        command: Lb,
    },
    /// BPF datapath traffic metrics
    Metrics {
        #[command(subcommand)]
        command: List,
    },
    /// NAT mapping tables
    Nat {
        #[command(subcommand)]
        command: List,
    },
}

#[derive(Debug, Subcommand)]
enum List {
    /// List all entries
    #[command(alias = "ls")]
    List,
}

#[derive(Debug, Subcommand)]
enum Lb {
    /// List load-balancing configuration
    #[command(alias = "ls")]
    List {
        /// List all source range entries
        #[arg(long)]
        source_ranges: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Ct {
    /// List connection tracking entries
    #[command(alias = "ls")]
    List {
        /// All endpoints share one table
        #[arg(value_parser = ["global"], default_value = "global")]
        scope: String,
    },
}

#[derive(Debug, Subcommand)]
enum Endpoint {
    /// List all endpoints
    #[command(alias = "ls")]
    List,
    /// Display endpoint information
    Get {
        /// Endpoint id
        id: u16,
    },
}

#[derive(Debug, Subcommand)]
enum Identity {
    /// List identities
    #[command(alias = "ls")]
    List,
    /// Retrieve information about an identity
    Get {
        /// Its number
        id: u32,
    },
}

#[derive(Debug, Subcommand)]
enum Config {
    /// View current configuration
    View,
}

/// What a command answers.
pub enum Answer {
    /// What to print, with its line breaks.
    Text(String),
    /// What to print as it comes.
    Monitor(Monitor),
}

/// Runs the command `args` (without the program's name, which is `called`) on
/// the connection that `connect` makes, and returns what to print. Help is output as well.
///
/// # Errors
/// [`CiliumDbgError::Usage`] for a wrong command line, else what the agent said.
pub fn run(
    called: &str,
    args: impl IntoIterator<Item = OsString>,
    connect: impl FnOnce() -> Result<Client, ClientError>,
) -> Result<Answer, CiliumDbgError> {
    let command = Arguments::command().bin_name(called.to_owned());
    let argv = std::iter::once(OsString::from(called)).chain(args);
    let matches = match command.try_get_matches_from(argv) {
        Ok(matches) => matches,
        // Help, which is asked for, comes as an error too.
        Err(error) if !error.use_stderr() => return Ok(Answer::Text(error.render().to_string())),
        Err(error) => return Err(usage(&error)),
    };
    let arguments = Arguments::from_arg_matches(&matches).map_err(|error| usage(&error))?;
    let mut client = connect()?;
    let text = match arguments.command {
        Command::Monitor(arguments) => {
            return Ok(Answer::Monitor(Monitor::new(arguments, client)));
        }
        Command::Status { brief: true, .. } => {
            client.status()?;
            Ok("OK\n".to_owned())
        }
        Command::Status { verbose, .. } => {
            let status = client.status()?;
            let mut text = tables::status(&status);
            if let (true, Some(state)) = (verbose, &status.applied) {
                text.push_str(&services::details(state, &status.devices));
            }
            Ok(text)
        }
        Command::Service {
            command: List::List,
        } => Ok(services::list(&client.services()?)),
        Command::Endpoint {
            command: Endpoint::List,
        } => {
            let status = client.status()?;
            let state = status
                .applied
                .as_ref()
                .ok_or(CiliumDbgError::NothingApplied)?;
            Ok(tables::endpoints(state, &status.pods))
        }
        Command::Endpoint {
            command: Endpoint::Get { id },
        } => {
            let status = client.status()?;
            let state = status.applied.ok_or(CiliumDbgError::NothingApplied)?;
            let found = identities::endpoint(&state, &status.pods, id);
            found.ok_or(CiliumDbgError::Unknown {
                what: "endpoint",
                id: id.into(),
            })
        }
        Command::Identity { command } => {
            let status = client.status()?;
            let state = status.applied.ok_or(CiliumDbgError::NothingApplied)?;
            let id = match command {
                Identity::List => None,
                Identity::Get { id } => Some(id),
            };
            identities::identities(&state, id).ok_or(CiliumDbgError::Unknown {
                what: "identity",
                id: id.unwrap_or_default(),
            })
        }
        Command::Config {
            command: Config::View,
        } => {
            let status = client.status()?;
            let state = status
                .applied
                .as_ref()
                .ok_or(CiliumDbgError::NothingApplied)?;
            Ok(tables::configuration(state))
        }
        Command::Bpf { map } => bpf(map, &mut client),
    };
    text.map(Answer::Text)
}

fn usage(error: &clap::Error) -> CiliumDbgError {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    CiliumDbgError::Usage(text.trim_end().to_owned())
}

fn bpf(map: Bpf, client: &mut Client) -> Result<String, CiliumDbgError> {
    match map {
        Bpf::Ct {
            command: Ct::List { .. },
        } => Ok(flows::conntrack(&client.conntrack()?)),
        Bpf::Ipcache {
            command: List::List,
        } => Ok(identities::ipcache(&client.ipcache()?)),
        Bpf::Ipmasq {
            command: List::List,
        } => Ok(tables::ip_masq(&client.ip_masq()?)),
        Bpf::Lb {
            command: Lb::List { source_ranges },
        } => {
            let records = client.services()?;
            Ok(if source_ranges {
                services::source_ranges(&records)
            } else {
                services::maps(&records)
            })
        }
        Bpf::Metrics {
            command: List::List,
        } => Ok(tables::metrics(&client.metrics()?)),
        Bpf::Nat {
            command: List::List,
        } => {
            let (now, entries) = client.nat()?;
            Ok(flows::nat(now, &entries))
        }
    }
}

#[cfg(test)]
mod tests;
