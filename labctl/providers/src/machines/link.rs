//! The connection to one machine, and labctl on it.
//!
//! One SSH connection; `labctl node machine` answers on a channel of it for as long as
//! this is open, and every command that is run there is a channel more.

use std::io::{BufReader, Read as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use lab_node::machine::HOME;
use lab_node::machine::api::{Client, ClientError, Failure, Owner};
use lab_ssh::blocking::{Connection, RemoteProcess};
use lab_ssh::{Destination, Source, SshError};
use tokio::runtime::Handle;

use super::executable::Executable;
use crate::error::ProviderError;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(30);

/// A conversation with `labctl node machine`.
type Conversation = Client<BufReader<UnixStream>, UnixStream>;

/// The connection to one machine.
pub(super) struct Link {
    connection: Connection,
    helper: Option<Helper>,
}

/// `labctl node machine`, running.
struct Helper {
    client: Conversation,
    process: RemoteProcess,
    stderr: Option<UnixStream>,
}

/// Path of labctl on machines.
pub(super) fn remote_labctl() -> String {
    format!("{HOME}/bin/labctl")
}

impl Link {
    /// Connects.
    pub(super) fn open(runtime: &Handle, to: &Destination) -> Result<Self, ProviderError> {
        let deadline = Instant::now() + CONNECT;
        let connection = Connection::connect(runtime, to.clone(), deadline)?;
        Ok(Self {
            connection,
            helper: None,
        })
    }

    /// The connection itself, for commands and files.
    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether the connection is gone, in words.
    pub(super) fn lost(&self) -> Option<SshError> {
        let session = self.connection.session();
        session.is_lost().then(|| SshError::Disconnected {
            peer: session.peer().clone(),
            during: "look at the connection".to_owned(),
            reason: "it is gone".to_owned(),
        })
    }

    /// Asks labctl on the machine. The outer error is the connection's.
    pub(super) fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Conversation) -> Result<T, ClientError>,
    ) -> Result<Result<T, ClientError>, ProviderError> {
        let helper = match &mut self.helper {
            Some(helper) => helper,
            None => self.helper.insert(Helper::start(&self.connection)?),
        };
        match question(&mut helper.client) {
            Err(ClientError::Talk(_) | ClientError::Closed) => {
                let ended = self.helper.take();
                ended.map_or(Ok(Err(ClientError::Closed)), Helper::last_words)
            }
            answered => Ok(answered),
        }
    }

    /// Sees to it that the machine has this labctl, unless it is another lab's.
    pub(super) fn install(
        &mut self,
        owner: &Owner,
        executable: &Executable,
    ) -> Result<(), ProviderError> {
        // Else there is none, or one that speaks otherwise.
        if let Ok(hello) = self.ask(Conversation::hello)? {
            if let Some(other) = hello.owner.filter(|other| !is_same(other, owner)) {
                return Err(ProviderError::Taken {
                    node: owner.node.clone(),
                    lab: other.lab,
                    owner: other.owner,
                });
            }
            if hello.digest == executable.digest {
                return Ok(());
            }
        }
        self.install_only(executable)
    }

    /// Puts this labctl onto the machine. The digest is written when all else is
    /// there: without it, the next install begins again.
    pub(super) fn install_only(&mut self, executable: &Executable) -> Result<(), ProviderError> {
        self.helper = None;
        let folder = format!("{HOME}/bin");
        self.run(&["install", "-d", "-m", "0700", HOME, &folder])?;
        let path = remote_labctl();
        let digest = format!("{}\n", executable.digest);
        let whole = Source::Bytes(&executable.bytes);
        self.connection.upload(whole, &path, 0o755, None)?;
        let digest = Source::Bytes(digest.as_bytes());
        self.connection
            .upload(digest, &format!("{path}.sha256"), 0o600, None)?;
        Ok(())
    }

    /// Has a machine that becomes a template do ahead what any node needs first. Nothing of
    /// the conversation is left in it.
    pub(super) fn prepare(&mut self) -> Result<(), ProviderError> {
        let prepared = self.ask(Conversation::prepare)?;
        if let Some(helper) = self.helper.take() {
            helper.end()?;
        }
        prepared.map_err(|source| ProviderError::Node {
            node: "template".to_owned(),
            source,
        })
    }

    /// Removes labctl and all that is its from the machine.
    pub(super) fn release(&mut self, owner: &Owner) -> Result<(), ProviderError> {
        match self.ask(Conversation::hello)? {
            Ok(hello) => {
                // Another lab took it after this one had lost it: not ours to clean.
                if hello.owner.is_some_and(|other| !is_same(&other, owner)) {
                    return Ok(());
                }
            }
            Err(error) if is_not_installed(&error) => return Ok(()),
            Err(_) => {}
        }
        let released = self.ask(|client| client.release(Some(owner.clone())))?;
        self.helper = None;
        released.map_err(|source| ProviderError::Node {
            node: owner.node.clone(),
            source,
        })
    }

    fn run(&self, argv: &[&str]) -> Result<(), ProviderError> {
        self.connection.output(argv)?.success()?;
        Ok(())
    }
}

impl Helper {
    fn start(connection: &Connection) -> Result<Self, SshError> {
        let labctl = remote_labctl();
        let mut process = connection.process(&[labctl.as_str(), "node", "machine"])?;
        let streams = (
            process.stdin.take(),
            process.stdout.take(),
            process.stderr.take(),
        );
        let (Some(stdin), Some(stdout), stderr) = streams else {
            return Err(SshError::Local {
                action: "talk to a remote command",
                source: std::io::ErrorKind::BrokenPipe.into(),
            });
        };
        Ok(Self {
            client: Client::new(BufReader::new(stdout), stdin),
            process,
            stderr,
        })
    }

    /// Ends the conversation, and waits for it to have ended over there.
    fn end(mut self) -> Result<lab_ssh::Exit, SshError> {
        // Its input ends with this, and it with its input.
        drop(self.client);
        self.process.wait()
    }

    /// Why it ended: the connection, or the program itself.
    fn last_words<T>(mut self) -> Result<Result<T, ClientError>, ProviderError> {
        let mut stderr = self.stderr.take();
        let exit = self.end()?;
        let mut said = String::new();
        let _ = stderr
            .as_mut()
            .map(|stderr| stderr.read_to_string(&mut said));
        let message = match exit.code() {
            NOT_FOUND | NOT_EXECUTABLE => NOT_INSTALLED.to_owned(),
            code => format!(
                "talk to labctl on the machine: it ended with exit code {code}: {}",
                said.trim()
            ),
        };
        let position = None;
        Ok(Err(ClientError::Failed(Failure { position, message })))
    }
}

/// As shells have it (POSIX 2.8.2).
const NOT_FOUND: i32 = 127;
/// Likewise.
const NOT_EXECUTABLE: i32 = 126;

const NOT_INSTALLED: &str = "find labctl on the machine: it is not installed";

fn is_not_installed(error: &ClientError) -> bool {
    matches!(error, ClientError::Failed(failure) if failure.message == NOT_INSTALLED)
}

/// Whether both are the same node of the same lab of the same user.
fn is_same(one: &Owner, other: &Owner) -> bool {
    (&one.lab, &one.node, &one.owner) == (&other.lab, &other.node, &other.owner)
}
