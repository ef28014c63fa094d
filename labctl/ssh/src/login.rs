//! Logging in with keys: those of an agent, and those in files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use russh::MethodSet;
use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::net::UnixStream;

use crate::SshError;
use crate::destination::Destination;
use crate::link::{Lost, RSA_HASH, Verifier};

/// Offers keys in OpenSSH's order, the agent's before files, until one is accepted.
pub(crate) async fn log_in(
    handle: &mut Handle<Verifier>,
    destination: &Destination,
    lost: &Lost,
) -> Result<(), SshError> {
    let mut login = Login {
        handle,
        destination,
        lost,
        offered: Vec::new(),
        accepts: None,
    };
    if login.with_agent().await? || login.with_files().await? {
        return Ok(());
    }
    Err(login.refused())
}

struct Login<'a> {
    handle: &'a mut Handle<Verifier>,
    destination: &'a Destination,
    lost: &'a Lost,
    /// What was offered, or why not, as messages have it.
    offered: Vec<String>,
    accepts: Option<MethodSet>,
}

impl Login<'_> {
    async fn with_agent(&mut self) -> Result<bool, SshError> {
        let Some(socket) = &self.destination.agent else {
            return Ok(false);
        };
        let mut agent = match AgentClient::connect_uds(socket).await {
            Ok(agent) => agent,
            Err(error) => {
                let socket = socket.display();
                self.offered.push(format!("no agent at {socket}: {error}"));
                return Ok(false);
            }
        };
        let held = match agent.request_identities().await {
            Ok(held) => held,
            Err(error) => {
                self.offered
                    .push(format!("nothing from the agent: {error}"));
                return Ok(false);
            }
        };
        for key in self.wanted_of(held) {
            if self.with_agent_key(&mut agent, key).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The agent's keys to offer: those of the identity files first, and only those when the
    /// destination says so.
    fn wanted_of(&self, held: Vec<AgentIdentity>) -> Vec<PublicKey> {
        let files = &self.destination.identities;
        let named: Vec<PublicKey> = files.iter().filter_map(|file| public_half(file)).collect();
        let is_named = |key: &PublicKey| named.iter().any(|name| name.key_data() == key.key_data());
        let held = held.into_iter().filter_map(|identity| match identity {
            AgentIdentity::PublicKey { key, .. } => Some(key),
            AgentIdentity::Certificate { .. } => None,
        });
        let (mut wanted, others): (Vec<_>, Vec<_>) = held.partition(is_named);
        if !self.destination.identities_only {
            wanted.extend(others);
        }
        wanted
    }

    async fn with_agent_key(
        &mut self,
        agent: &mut AgentClient<UnixStream>,
        key: PublicKey,
    ) -> Result<bool, SshError> {
        let hash = self.rsa_hash(&key.algorithm()).await?;
        let print = key.fingerprint(HashAlg::Sha256);
        let user = self.destination.user.as_str();
        let offer = self
            .handle
            .authenticate_publickey_with(user, key, hash, agent);
        match offer.await {
            Ok(answer) => {
                self.offered.push(format!("{print} from the agent"));
                Ok(self.accepted(answer))
            }
            // The agent's key stays unused, another may do.
            Err(error) => {
                self.offered.push(format!(
                    "{print}, which the agent does not sign with: {error}"
                ));
                Ok(false)
            }
        }
    }

    async fn with_files(&mut self) -> Result<bool, SshError> {
        for file in &self.destination.identities {
            let key = match private_key(file) {
                Ok(key) => Arc::new(key),
                Err(reason) => {
                    self.offered
                        .push(format!("not {}: {reason}", file.display()));
                    continue;
                }
            };
            let hash = self.rsa_hash(&key.algorithm()).await?;
            let print = key.fingerprint(HashAlg::Sha256);
            self.offered.push(format!("{} ({print})", file.display()));
            let user = self.destination.user.as_str();
            let key = PrivateKeyWithHashAlg::new(key, hash);
            let offer = self.handle.authenticate_publickey(user, key).await;
            let answer = offer.map_err(|error| self.cut_off(&error))?;
            if self.accepted(answer) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// RSA keys sign with SHA-2: what the server names (RFC 8308), else SHA-512.
    async fn rsa_hash(&self, algorithm: &Algorithm) -> Result<Option<HashAlg>, SshError> {
        if !matches!(algorithm, Algorithm::Rsa { .. }) {
            return Ok(None);
        }
        let named = self.handle.best_supported_rsa_hash().await;
        let named = named.map_err(|error| self.cut_off(&error))?;
        Ok(named.flatten().or(RSA_HASH))
    }

    fn accepted(&mut self, answer: AuthResult) -> bool {
        match answer {
            AuthResult::Success => true,
            AuthResult::Failure {
                remaining_methods,
                partial_success,
            } => {
                if partial_success {
                    self.offered
                        .push("which was right, but not enough".to_owned());
                }
                self.accepts.get_or_insert(remaining_methods);
                false
            }
        }
    }

    fn cut_off(&self, error: &russh::Error) -> SshError {
        SshError::Disconnected {
            peer: self.destination.peer(),
            during: format!("log in as {}", self.destination.user),
            reason: if self.lost.is_over() {
                self.lost.known_reason()
            } else {
                error.to_string()
            },
        }
    }

    fn refused(self) -> SshError {
        let methods: Vec<&str> = match &self.accepts {
            Some(methods) => methods.iter().map(Into::into).collect(),
            None => Vec::new(),
        };
        let mut accepts = if methods.is_empty() {
            "nothing it names".to_owned()
        } else {
            methods.join(", ")
        };
        if self.lost.is_over() {
            accepts = format!("{accepts}; {}", self.lost.known_reason());
        }
        SshError::LoginRefused {
            peer: self.destination.peer(),
            user: self.destination.user.clone(),
            offered: self.offered,
            accepts,
        }
    }
}

fn private_key(file: &Path) -> Result<PrivateKey, String> {
    let metadata = fs::metadata(file).map_err(|error| error.to_string())?;
    // OpenSSH refuses such keys too: they are not only the owner's any more.
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "others may read it (mode {mode:04o}); `chmod 600` it"
        ));
    }
    match russh::keys::load_secret_key(file, None) {
        Ok(key) => Ok(key),
        Err(russh::keys::Error::KeyIsEncrypted) => {
            Err("it has a passphrase; add it to the agent with `ssh-add`".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The public half of a key file, which also an encrypted one shows.
fn public_half(file: &Path) -> Option<PublicKey> {
    let mut public = file.as_os_str().to_owned();
    public.push(".pub");
    if let Ok(key) = russh::keys::load_public_key(&public) {
        return Some(key);
    }
    let key = PrivateKey::read_openssh_file(file).ok()?;
    Some(key.public_key().clone())
}
