//! SSH to the machines of a lab.
//!
//! One [`Session`] is one node: a connection (made with [`Session::connect`] to a
//! [`Destination`]) on which commands, files and forwarded sockets are channels. Host keys are
//! known before the first connect ([`known_hosts`]); an unknown one is never accepted.
//!
//! The crate is asynchronous (tokio); [`blocking`] serves callers that are threads.

pub mod blocking;
pub mod config;
mod destination;
mod error;
mod exec;
mod exit;
mod files;
mod greeting;
mod host_pattern;
pub mod keys;
pub mod known_hosts;
mod link;
mod login;
mod pump;
pub mod quote;
mod session;
mod sftp;
mod ssh_config;
pub mod terminal;

pub use destination::{Destination, Peer};
pub use error::SshError;
pub use exec::{Command, Exec, ExecStdin, Output, Pty};
pub use exit::{Exit, Signal};
pub use files::Source;
pub use pump::{Incoming, Stream};
pub use session::Session;
pub use sftp::Progress;
