//! One SSH connection: reached, its host key proved, logged in.

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use russh::client::{self, DisconnectReason, Handle};
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use crate::SshError;
use crate::destination::{Destination, Peer};
use crate::greeting::{Greeted, Greeting};
use crate::known_hosts::{HostKey, KnownHosts, Verdict};
use crate::login;

/// A connection is dead when nothing came for three of these.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Keepalives that may stay unanswered; at the tick after these the connection is given up.
const UNANSWERED: usize = 2;

/// What a busy OpenSSH says instead of its greeting (9.2 and 9.8, `sshd.c`).
const BUSY: [&str; 2] = ["Exceeded MaxStartups", "Not allowed at this time"];

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// A connection that is logged in.
pub(crate) struct Link {
    pub(crate) handle: Handle<Verifier>,
    pub(crate) lost: Lost,
}

/// Whether, and why, a connection ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lost {
    reason: Arc<OnceLock<String>>,
    over: CancellationToken,
}

impl Lost {
    fn because(&self, reason: String) {
        // The first reason is the cause, what follows is its consequence.
        let _ = self.reason.set(reason);
        self.over.cancel();
    }

    /// Waits for the end, and says why.
    pub(crate) async fn reason(&self) -> String {
        self.over.cancelled().await;
        self.known_reason()
    }

    pub(crate) fn known_reason(&self) -> String {
        let reason = self.reason.get().cloned();
        reason.unwrap_or_else(|| "the connection was closed".to_owned())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }
}

/// Why setting up a connection failed: one of our checks, or the protocol.
#[derive(Debug)]
pub(crate) enum Fault {
    Ours(Box<SshError>),
    Protocol(russh::Error),
}

impl From<russh::Error> for Fault {
    fn from(error: russh::Error) -> Self {
        Self::Protocol(error)
    }
}

/// Checks the server's key, and notes why the connection ends.
pub(crate) struct Verifier {
    destination: Destination,
    known: KnownHosts,
    lost: Lost,
}

impl Verifier {
    fn check(&self, key: &PublicKey) -> Result<(), SshError> {
        let peer = self.destination.peer();
        let offered = HostKey::from(key);
        match self.known.verdict(&self.destination.host_key_name(), key) {
            Verdict::Known => Ok(()),
            Verdict::Unknown => Err(SshError::HostKeyUnknown {
                peer,
                offered,
                files: self.destination.known_hosts.clone(),
            }),
            Verdict::Changed(expected) => Err(SshError::HostKeyChanged {
                peer,
                offered,
                expected,
            }),
            Verdict::Revoked(by) => Err(SshError::HostKeyRevoked { peer, offered, by }),
        }
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        // However the connection's task ends, those who wait for its end hear of it.
        self.lost.because("the connection was closed".to_owned());
    }
}

impl client::Handler for Verifier {
    type Error = Fault;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Fault> {
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => match self.check(key) {
                Ok(()) => Ok(true),
                Err(error) => Err(Fault::Ours(Box::new(error))),
            },
            // None was asked for: authorities are not trusted here.
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Fault>) -> Result<(), Fault> {
        self.lost.because(match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                format!("the server ended it: {}", info.message)
            }
            DisconnectReason::Error(Fault::Ours(error)) => error.to_string(),
            DisconnectReason::Error(Fault::Protocol(error)) => lost_because(&error),
        });
        Ok(())
    }
}

fn lost_because(error: &russh::Error) -> String {
    match error {
        russh::Error::KeepaliveTimeout => format!(
            "it did not answer for {} s",
            (KEEPALIVE * (UNANSWERED as u32 + 1)).as_secs()
        ),
        russh::Error::Disconnect | russh::Error::HUP => "the server closed it".to_owned(),
        russh::Error::IO(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed it".to_owned()
        }
        error => error.to_string(),
    }
}

impl Link {
    /// Connects, proves the host key and logs in, until `deadline`.
    pub(crate) async fn dial(
        destination: &Destination,
        deadline: Instant,
    ) -> Result<Self, SshError> {
        let limit = destination
            .connect_timeout
            .map(|limit| Instant::now() + limit);
        let deadline = limit.map_or(deadline, |limit| limit.min(deadline));
        let attempt = Attempt {
            destination,
            peer: destination.peer(),
            started: Instant::now(),
            deadline: deadline.into(),
        };
        let stream = attempt.reach(deadline).await?;
        let (mut handle, lost) = attempt.handshake(stream).await?;
        let logged_in = login::log_in(&mut handle, destination, &lost);
        match timeout_at(attempt.deadline, logged_in).await {
            Ok(logged_in) => logged_in.map(|()| Self { handle, lost }),
            Err(_) => Err(attempt.unreachable("no answer to the login")),
        }
    }
}

struct Attempt<'a> {
    destination: &'a Destination,
    peer: Peer,
    started: Instant,
    deadline: tokio::time::Instant,
}

impl Attempt<'_> {
    fn unreachable(&self, reason: impl ToString) -> SshError {
        SshError::Unreachable {
            peer: self.peer.clone(),
            waited: self.started.elapsed(),
            reason: reason.to_string(),
        }
    }

    async fn reach(&self, deadline: Instant) -> Result<Box<dyn Io>, SshError> {
        let Some(jump) = &self.destination.jump else {
            let stream = timeout_at(self.deadline, self.tcp()).await;
            let stream = stream.map_err(|_| self.unreachable("no answer"))??;
            return Ok(Box::new(stream));
        };
        let link = Box::pin(Link::dial(jump, deadline)).await?;
        let (host, port) = (self.destination.host.as_str(), self.destination.port);
        let opened = link
            .handle
            .channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0);
        match timeout_at(self.deadline, opened).await {
            // The stream keeps the connection to the jump host open.
            Ok(Ok(channel)) => Ok(Box::new(channel.into_stream())),
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => {
                // OpenSSH 9.2 says "connect failed" for whatever went wrong there.
                let said = reason.description();
                Err(self.unreachable(format!("{} answered: {said}", jump.peer())))
            }
            Ok(Err(error)) => Err(SshError::Disconnected {
                peer: jump.peer(),
                during: format!("reach {}", self.peer),
                reason: error.to_string(),
            }),
            Err(_) => Err(self.unreachable(format!("no answer through {}", jump.peer()))),
        }
    }

    async fn tcp(&self) -> Result<TcpStream, SshError> {
        let Destination { host, port, .. } = self.destination;
        let addresses = lookup_host((host.as_str(), *port)).await;
        let mut last = self.unreachable("the name has no address");
        for address in addresses.map_err(|error| self.unreachable(error))? {
            match TcpStream::connect(address).await {
                Ok(stream) => return self.tuned(stream),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    last = SshError::Refused {
                        peer: self.peer.clone(),
                    };
                }
                Err(error) => last = self.unreachable(error),
            }
        }
        Err(last)
    }

    fn tuned(&self, stream: TcpStream) -> Result<TcpStream, SshError> {
        // Requests are small and waited for. And while the send queue is full russh looks at no
        // timer, so the kernel has to notice a peer that no longer acknowledges (tcp(7)).
        let milliseconds = KEEPALIVE.as_millis() as u32 * (UNANSWERED as u32 + 1);
        stream
            .set_nodelay(true)
            .and_then(|()| Ok(setsockopt(&stream, TcpUserTimeout, &milliseconds)?))
            .map_err(|error| self.unreachable(error))?;
        Ok(stream)
    }

    async fn handshake(&self, stream: Box<dyn Io>) -> Result<(Handle<Verifier>, Lost), SshError> {
        let known = KnownHosts::read(&self.destination.known_hosts)?;
        let preferred = known.algorithms(&self.destination.host_key_name());
        let lost = Lost::default();
        let verifier = Verifier {
            destination: self.destination.clone(),
            known,
            lost: lost.clone(),
        };
        let greeting = Greeting::default();
        let stream = Greeted {
            stream,
            greeting: greeting.clone(),
        };
        let config = Arc::new(config(&preferred));
        let connected = client::connect_stream(config, stream, verifier);
        match timeout_at(self.deadline, connected).await {
            Ok(Ok(handle)) => Ok((handle, lost)),
            Ok(Err(Fault::Ours(error))) => Err(*error),
            Ok(Err(Fault::Protocol(error))) => Err(self.no_handshake(&greeting, &error)),
            Err(_) => Err(match greeting.first_line() {
                None => self.unreachable("it took the connection but sent no SSH greeting"),
                Some(said) if !greeting.is_ssh() => self.not_ssh(said),
                Some(_) => self.unreachable("no answer in the key exchange"),
            }),
        }
    }

    fn not_ssh(&self, said: String) -> SshError {
        SshError::NotSsh {
            peer: self.peer.clone(),
            said,
        }
    }

    fn no_handshake(&self, greeting: &Greeting, error: &russh::Error) -> SshError {
        let peer = self.peer.clone();
        match greeting.first_line() {
            None => SshError::HungUp { peer },
            Some(said) if BUSY.iter().any(|busy| said.starts_with(busy)) => {
                SshError::HungUp { peer }
            }
            Some(said) if !greeting.is_ssh() => self.not_ssh(said),
            Some(_) => match error {
                russh::Error::Disconnect | russh::Error::HUP | russh::Error::IO(_) => {
                    SshError::Disconnected {
                        peer,
                        during: "set up SSH".to_owned(),
                        reason: lost_because(error),
                    }
                }
                error => SshError::Handshake {
                    peer,
                    reason: error.to_string(),
                },
            },
        }
    }
}

/// russh's configuration, with the types of host keys on file first, so that a server with
/// several keys shows the one that is known (as OpenSSH's `order_hostkeyalgs` does).
fn config(known: &[Algorithm]) -> client::Config {
    let mut keys: Vec<Algorithm> = Vec::new();
    let ours = russh::Preferred::DEFAULT.key;
    let is_known = |algorithm: &&Algorithm| {
        known.iter().any(|known| match (known, algorithm) {
            (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
            (known, algorithm) => known == *algorithm,
        })
    };
    // ssh-rsa signs with SHA-1; OpenSSH has it off since 8.8.
    let safe = |algorithm: &&Algorithm| !matches!(algorithm, Algorithm::Rsa { hash: None });
    keys.extend(ours.iter().filter(safe).filter(is_known).cloned());
    keys.extend(
        ours.iter()
            .filter(safe)
            .filter(|key| !is_known(key))
            .cloned(),
    );
    client::Config {
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: UNANSWERED,
        preferred: russh::Preferred {
            key: Cow::Owned(keys),
            ..russh::Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

/// The strongest signature for an RSA key when the server doesn't say what it takes.
pub(crate) const RSA_HASH: Option<HashAlg> = Some(HashAlg::Sha512);
