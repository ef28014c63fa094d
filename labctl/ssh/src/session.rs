//! A node over SSH.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::client::Msg;
use russh::{Channel, ChannelMsg, Disconnect};
use tokio::sync::OnceCell;

use crate::SshError;
use crate::destination::{Destination, Peer};
use crate::exec::{Command, Exec, Output};
use crate::link::{Link, Lost};
use crate::pump::{self, Stream};

/// Waits between attempts to reconnect, while each is refused at once: from, and up to.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long a further connection to a node that is connected may take.
const FURTHER: Duration = Duration::from_secs(30);

/// A node over SSH. Clones are the same node and share its connection.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    destination: Destination,
    peer: Peer,
    /// Usually one. OpenSSH allows ten channels on a connection (`MaxSessions`); when they are
    /// in use, another connection is made.
    links: Mutex<Vec<Arc<Link>>>,
    /// Makes those who need a further connection make one, not each their own.
    further: tokio::sync::Mutex<()>,
    root: OnceCell<()>,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.shared.peer.to_string();
        formatter.debug_tuple("Session").field(&peer).finish()
    }
}

impl Session {
    /// Connects, proves the host key, and logs in.
    ///
    /// # Errors
    /// [`SshError::Refused`], [`SshError::Unreachable`], [`SshError::HungUp`],
    /// [`SshError::NotSsh`], [`SshError::Handshake`], one of the host key errors, or
    /// [`SshError::LoginRefused`].
    pub async fn connect(destination: Destination, deadline: Instant) -> Result<Self, SshError> {
        let link = Link::dial(&destination, deadline).await?;
        Ok(Self::over(destination, link))
    }

    /// Connects as soon as the node lets, trying again after errors that may pass
    /// ([`SshError::is_transient`]).
    ///
    /// An attempt that the node does not answer lasts until it is answered; only between
    /// attempts that fail at once (nothing listens yet) is there a wait, 50 ms at first and
    /// doubling up to 1 s, since no event tells that a port is open.
    ///
    /// # Errors
    /// The last attempt's error, as of [`Session::connect`].
    pub async fn connect_when_up(
        destination: Destination,
        deadline: Instant,
    ) -> Result<Self, SshError> {
        let link = dial_when_up(&destination, deadline).await?;
        Ok(Self::over(destination, link))
    }

    fn over(destination: Destination, link: Link) -> Self {
        let peer = destination.peer();
        Self {
            shared: Arc::new(Shared {
                destination,
                peer,
                links: Mutex::new(vec![Arc::new(link)]),
                further: tokio::sync::Mutex::default(),
                root: OnceCell::new(),
            }),
        }
    }

    /// Waits for the connection to end, as it does when the node reboots, and connects anew as
    /// [`Session::connect_when_up`] does. All clones use the new connection.
    ///
    /// # Errors
    /// [`SshError::Unreachable`] when the connection has not ended by `deadline`, else as of
    /// [`Session::connect`].
    pub async fn reconnect(&self, deadline: Instant) -> Result<(), SshError> {
        let started = Instant::now();
        let lost = self.lost();
        if tokio::time::timeout_at(deadline.into(), lost)
            .await
            .is_err()
        {
            return Err(SshError::Unreachable {
                peer: self.shared.peer.clone(),
                waited: started.elapsed(),
                reason: "it has not gone down for the reboot".to_owned(),
            });
        }
        let link = dial_when_up(&self.shared.destination, deadline).await?;
        *self.links() = vec![Arc::new(link)];
        Ok(())
    }

    /// Waits until the node's connection ends, and says why.
    pub async fn lost(&self) -> String {
        let first = self.links().first().map(|link| link.lost.clone());
        match first {
            Some(lost) => lost.reason().await,
            None => "it was closed".to_owned(),
        }
    }

    /// Whether the node's connection has ended.
    pub fn is_lost(&self) -> bool {
        self.links().first().is_none_or(|link| link.lost.is_over())
    }

    /// Says goodbye to the server. Commands that still run lose their connection.
    pub async fn close(&self) {
        let links = std::mem::take(&mut *self.links());
        for link in links {
            // When it can't be sent, the connection is gone already.
            let sent = link.handle.disconnect(Disconnect::ByApplication, "", "");
            let _ = sent.await;
        }
    }

    /// The node's name in messages.
    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// Where it is.
    pub fn destination(&self) -> &Destination {
        &self.shared.destination
    }

    /// Starts a program; as root when the destination has `sudo`.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub async fn exec<S: AsRef<str>>(&self, argv: &[S]) -> Result<Exec, SshError> {
        self.start(Command::new(argv.iter().map(AsRef::as_ref)))
            .await
    }

    /// Runs a program without input to its end.
    ///
    /// # Errors
    /// As [`Session::start`], and [`SshError::Disconnected`] when it is cut off.
    pub async fn output<S: AsRef<str>>(&self, argv: &[S]) -> Result<Output, SshError> {
        self.exec(argv).await?.output().await
    }

    /// Starts a command.
    ///
    /// # Errors
    /// [`SshError::NoSudo`] when it should be root's and the login can't become root;
    /// [`SshError::RequestRefused`] or [`SshError::Disconnected`].
    pub async fn start(&self, command: Command) -> Result<Exec, SshError> {
        let sudo = !command.as_login && self.shared.destination.needs_sudo();
        if sudo {
            self.become_root().await?;
        }
        self.launch(&command, sudo).await
    }

    /// A TCP connection from the node to `host` and `port`.
    ///
    /// # Errors
    /// [`SshError::RequestRefused`] when the node can't connect there.
    pub async fn forward_tcp(&self, host: &str, port: u16) -> Result<Stream, SshError> {
        let what = format!("connect to {host} port {port}");
        let link = self.any_link(&what)?;
        let opened = link
            .handle
            .channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0);
        let opened = opened
            .await
            .map_err(|error| self.no_channel(&link, &what, error))?;
        Ok(Stream::new(opened, link.lost.clone()))
    }

    /// A connection to the unix socket `path` of the node, with the rights of the login
    /// (OpenSSH's `direct-streamlocal@openssh.com`).
    ///
    /// # Errors
    /// [`SshError::RequestRefused`] when the node can't connect there.
    pub async fn forward_unix(&self, path: &str) -> Result<Stream, SshError> {
        let what = format!("connect to the socket {path}");
        let link = self.any_link(&what)?;
        let opened = link.handle.channel_open_direct_streamlocal(path);
        let opened = opened
            .await
            .map_err(|error| self.no_channel(&link, &what, error))?;
        Ok(Stream::new(opened, link.lost.clone()))
    }

    async fn launch(&self, command: &Command, sudo: bool) -> Result<Exec, SshError> {
        let line = command.line(sudo);
        let during = format!("run `{}`", command.name());
        let (mut channel, lost) = self.session_channel(&during).await?;
        if let Some(pty) = &command.pty {
            let (columns, rows) = (pty.columns.into(), pty.rows.into());
            let asked = channel.request_pty(true, &pty.term, columns, rows, 0, 0, &[]);
            let asked = asked.await.is_ok();
            self.granted(&mut channel, &lost, "make a terminal", asked)
                .await?;
        }
        let asked = match line {
            Some(line) => channel.exec(true, line).await.is_ok(),
            None => channel.request_shell(true).await.is_ok(),
        };
        self.granted(&mut channel, &lost, &during, asked).await?;
        let parts = pump::spawn(channel, lost, command.tells_pid());
        Ok(Exec::new(self.clone(), parts, command, sudo))
    }

    /// Waits for the server's yes to a request that was sent.
    pub(crate) async fn granted(
        &self,
        channel: &mut Channel<Msg>,
        lost: &Lost,
        during: &str,
        sent: bool,
    ) -> Result<(), SshError> {
        if !sent {
            return Err(self.cut_off(lost, during));
        }
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(()),
                Some(ChannelMsg::Failure) => {
                    return Err(SshError::RequestRefused {
                        peer: self.shared.peer.clone(),
                        during: during.to_owned(),
                        reason: "its configuration does not allow it".to_owned(),
                    });
                }
                Some(ChannelMsg::Close) | None => break,
                Some(_) => {}
            }
        }
        Err(self.cut_off(lost, during))
    }

    /// Makes sure, once, that the login can become root.
    async fn become_root(&self) -> Result<(), SshError> {
        let asked = self.shared.root.get_or_try_init(|| async {
            // sudo's words in English, so that they can be looked up.
            let probe = Command::new(["env", "LC_ALL=C", "sudo", "-n", "--", "true"]);
            let output = self.launch(&probe, false).await?.output().await?;
            if output.exit.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            Err(SshError::NoSudo {
                peer: self.shared.peer.clone(),
                user: self.shared.destination.user.clone(),
                said: said
                    .trim()
                    .lines()
                    .last()
                    .unwrap_or("sudo failed")
                    .to_owned(),
            })
        });
        asked.await.copied()
    }

    /// A session channel on the newest connection that has room for one, else on a further one.
    pub(crate) async fn session_channel(
        &self,
        during: &str,
    ) -> Result<(Channel<Msg>, Lost), SshError> {
        let mut tried = 0;
        loop {
            let links = self.links().clone();
            if links.is_empty() {
                return Err(self.closed(during));
            }
            // After a reconnect there are fewer, and all of them new.
            for link in links.get(tried..).unwrap_or(&links).iter().rev() {
                match link.handle.channel_open_session().await {
                    Ok(channel) => return Ok((channel, link.lost.clone())),
                    Err(russh::Error::ChannelOpenFailure(_)) => {}
                    Err(_) => return Err(self.cut_off(&link.lost, during)),
                }
            }
            tried = links.len();
            self.add_link(tried).await?;
        }
    }

    /// One more connection, unless another caller has just made one beyond `known`.
    async fn add_link(&self, known: usize) -> Result<(), SshError> {
        let _one_at_a_time = self.shared.further.lock().await;
        if self.links().len() > known {
            return Ok(());
        }
        let deadline = Instant::now() + FURTHER;
        let link = Link::dial(&self.shared.destination, deadline).await?;
        self.links().push(Arc::new(link));
        Ok(())
    }

    fn any_link(&self, during: &str) -> Result<Arc<Link>, SshError> {
        let link = self.links().last().cloned();
        link.ok_or_else(|| self.closed(during))
    }

    fn links(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Link>>> {
        let links = self.shared.links.lock();
        links.unwrap_or_else(PoisonError::into_inner)
    }

    fn no_channel(&self, link: &Link, during: &str, error: russh::Error) -> SshError {
        match error {
            russh::Error::ChannelOpenFailure(reason) => SshError::RequestRefused {
                peer: self.shared.peer.clone(),
                during: during.to_owned(),
                reason: reason.description().to_owned(),
            },
            _ => self.cut_off(&link.lost, during),
        }
    }

    pub(crate) fn cut_off(&self, lost: &Lost, during: &str) -> SshError {
        SshError::Disconnected {
            peer: self.shared.peer.clone(),
            during: during.to_owned(),
            reason: lost.known_reason(),
        }
    }

    fn closed(&self, during: &str) -> SshError {
        SshError::Disconnected {
            peer: self.shared.peer.clone(),
            during: during.to_owned(),
            reason: "it was closed here".to_owned(),
        }
    }
}

async fn dial_when_up(destination: &Destination, deadline: Instant) -> Result<Link, SshError> {
    let started = Instant::now();
    let (mut wait, longest) = BACKOFF;
    loop {
        let attempt = Instant::now();
        let error = match Link::dial(destination, deadline).await {
            Ok(link) => return Ok(link),
            Err(error) => error,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if !error.is_transient() || left <= wait {
            return Err(error.after(started.elapsed()));
        }
        tokio::time::sleep(wait.saturating_sub(attempt.elapsed())).await;
        wait = (wait * 2).min(longest);
    }
}
