//! Destinations from what the user has already told OpenSSH, and what OpenSSH is told of ours.
//!
//! `~/.ssh/config` is read by OpenSSH itself: `ssh -G` prints what its files come to for one
//! host, with every `Include`, `Match` and default as `ssh` would have it, and connects nowhere.
//! A parser of our own, or one of those on crates.io (which give `Match` blocks to the wrong
//! hosts), would disagree with `ssh` some day; and about whom to trust.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use crate::ssh_config::ssh_config_text;

use crate::SshError;
use crate::destination::{Destination, SSH_PORT};

/// A chain of jump hosts longer than this is a loop.
const MOST_JUMPS: usize = 8;

/// The destination `text`, as in a lab file: `[user@]host[:port]`, an address of IPv6 with a
/// port in brackets, or a name that `~/.ssh/config` knows. `node` is its name in messages.
///
/// # Errors
/// [`SshError::Config`] when the text or the user's configuration can't be used.
pub fn resolve(node: &str, text: &str) -> Result<Destination, SshError> {
    Resolver {
        node,
        file: None,
        jumps: 0,
    }
    .resolve(text)
}

/// The host called `host` in `config`, the text of an `ssh_config` such as `vagrant ssh-config`
/// prints; `~/.ssh/config` is not looked at. `node` is its name in messages.
///
/// # Errors
/// [`SshError::Config`] when the text can't be used.
pub fn resolve_in(node: &str, host: &str, config: &str) -> Result<Destination, SshError> {
    let unwritable = |source: io::Error| SshError::Local {
        action: "write an ssh_config for OpenSSH to read",
        source,
    };
    let mut file = tempfile::NamedTempFile::new().map_err(unwritable)?;
    file.write_all(config.as_bytes()).map_err(unwritable)?;
    Resolver {
        node,
        file: Some(file.path()),
        jumps: 0,
    }
    .resolve(host)
}

struct Resolver<'a> {
    node: &'a str,
    /// Instead of the user's and the system's files.
    file: Option<&'a Path>,
    jumps: usize,
}

impl Resolver<'_> {
    fn resolve(&self, text: &str) -> Result<Destination, SshError> {
        let named = Named::parse(text).map_err(|reason| unusable(text, reason))?;
        let printed = self.ssh_g(text, &named)?;
        let settings = Settings::parse(&printed);
        let mut destination = settings
            .destination(self.node, &named)
            .map_err(|reason| unusable(text, reason))?;
        if let Some(jumps) = settings.first("proxyjump") {
            destination.jump = self.through(text, jumps)?;
        }
        Ok(destination)
    }

    /// The hosts of a `ProxyJump`, the first the nearest; the last is gone through by the node.
    fn through(&self, text: &str, jumps: &str) -> Result<Option<Box<Destination>>, SshError> {
        let mut nearer: Option<Box<Destination>> = None;
        for jump in jumps.split(',') {
            if self.jumps >= MOST_JUMPS {
                return Err(unusable(
                    text,
                    "its ProxyJump leads back to itself".to_owned(),
                ));
            }
            let resolver = Resolver {
                node: jump,
                file: self.file,
                jumps: self.jumps + 1,
            };
            let jump = jump.strip_prefix("ssh://").unwrap_or(jump);
            let mut host = resolver.resolve(jump)?;
            if nearer.is_some() {
                host.jump = nearer;
            }
            nearer = Some(Box::new(host));
        }
        Ok(nearer)
    }

    fn ssh_g(&self, text: &str, named: &Named) -> Result<String, SshError> {
        let mut command = Command::new("ssh");
        command.arg("-G");
        if let Some(file) = self.file {
            command.arg("-F").arg(file);
        }
        if let Some(user) = &named.user {
            command.args(["-l", user]);
        }
        if let Some(port) = named.port {
            command.args(["-p", &port.to_string()]);
        }
        let output = command.args(["--", &named.host]).output();
        let output = output.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => unusable(
                text,
                "OpenSSH's ssh, which reads ~/.ssh/config, is missing; install openssh-client"
                    .to_owned(),
            ),
            _ => unusable(text, format!("run ssh: {error}")),
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(unusable(text, said.trim().replace('\n', "; ")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A destination as written.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

impl Named {
    fn parse(text: &str) -> Result<Self, String> {
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or("`[` without `]`")?;
                (host, after.strip_prefix(':'))
            }
            // More than one colon is an address of IPv6 alone.
            None if rest.matches(':').count() == 1 => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
            None => (rest, None),
        };
        let port = port.map(|port| match port.parse() {
            Ok(0) | Err(_) => Err(format!("{port:?} is no port")),
            Ok(port) => Ok(port),
        });
        if host.is_empty() || user.as_ref().is_some_and(String::is_empty) {
            return Err("expected `user@host` or `user@host:port`".to_owned());
        }
        Ok(Self {
            user,
            host: host.to_owned(),
            port: port.transpose()?,
        })
    }
}

/// What `ssh -G` prints: a keyword in lower case and its value on each line.
struct Settings<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Settings<'a> {
    fn parse(printed: &'a str) -> Self {
        Self(
            printed
                .lines()
                .filter_map(|line| line.split_once(' '))
                .collect(),
        )
    }

    fn all(&self, keyword: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| *key == keyword)
            .map(|(_, value)| *value)
    }

    /// The value of a keyword; `none` is no value.
    fn first(&self, keyword: &str) -> Option<&'a str> {
        self.all(keyword).find(|value| *value != "none")
    }

    fn destination(&self, node: &str, named: &Named) -> Result<Destination, String> {
        if self.first("proxycommand").is_some() {
            return Err("its ProxyCommand is not supported; use ProxyJump".to_owned());
        }
        let host = self.first("hostname").unwrap_or(&named.host);
        let user = self.first("user").ok_or("ssh -G names no user")?;
        let port = self.first("port").and_then(|port| port.parse().ok());
        let port = port.unwrap_or(SSH_PORT);
        let tokens = Tokens {
            host,
            user,
            port,
            original: &named.host,
        };
        let mut identities = Vec::new();
        for file in self.all("identityfile").filter(|file| *file != "none") {
            let path = tokens.expand(file)?;
            // OpenSSH lists the names it looks for by default; those not there say nothing.
            if path.exists() || !file.starts_with("~/.ssh/id_") {
                identities.push(path);
            }
        }
        let files = ["userknownhostsfile", "globalknownhostsfile"];
        let files = files.into_iter().filter_map(|keyword| self.first(keyword));
        let files = files.flat_map(str::split_whitespace);
        let known_hosts: Result<_, String> = files.map(|file| tokens.expand(file)).collect();
        let timeout = self
            .first("connecttimeout")
            .and_then(|time| time.parse().ok());
        Ok(Destination {
            identities,
            identities_only: self.first("identitiesonly") == Some("yes"),
            agent: self.agent(&tokens)?,
            known_hosts: known_hosts?,
            host_key_alias: self.first("hostkeyalias").map(str::to_owned),
            connect_timeout: timeout.map(Duration::from_secs),
            ..Destination::new(node, user, host, port)
        })
    }

    fn agent(&self, tokens: &Tokens<'_>) -> Result<Option<PathBuf>, String> {
        let from = |variable: &str| env::var_os(variable).filter(|path| !path.is_empty());
        match self.all("identityagent").next() {
            None | Some("SSH_AUTH_SOCK") => Ok(from("SSH_AUTH_SOCK").map(PathBuf::from)),
            Some("none") => Ok(None),
            Some(path) => match path.strip_prefix('$') {
                Some(variable) => Ok(from(variable.trim_matches(['{', '}'])).map(PathBuf::from)),
                None => tokens.expand(path).map(Some),
            },
        }
    }
}

/// What `%h` and its like stand for (ssh_config(5), "TOKENS").
struct Tokens<'a> {
    host: &'a str,
    user: &'a str,
    port: u16,
    original: &'a str,
}

impl Tokens<'_> {
    fn expand(&self, path: &str) -> Result<PathBuf, String> {
        let home = || env::home_dir().ok_or("there is no home folder");
        let mut expanded = String::new();
        let mut characters = path.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                expanded.push(character);
                continue;
            }
            match characters.next() {
                Some('%') => expanded.push('%'),
                Some('h') => expanded.push_str(self.host),
                Some('n') => expanded.push_str(self.original),
                Some('r') => expanded.push_str(self.user),
                Some('p') => expanded.push_str(&self.port.to_string()),
                Some('d') => expanded.push_str(&home()?.to_string_lossy()),
                Some('u') => expanded.push_str(&env::var("USER").unwrap_or_default()),
                other => {
                    let token = other.map(String::from).unwrap_or_default();
                    return Err(format!("%{token} in {path} is not supported"));
                }
            }
        }
        match expanded.strip_prefix("~/") {
            Some(rest) => Ok(home()?.join(rest)),
            None => Ok(PathBuf::from(expanded)),
        }
    }
}

fn unusable(destination: &str, reason: impl Into<String>) -> SshError {
    SshError::Config {
        destination: destination.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(user: Option<&str>, host: &str, port: Option<u16>) -> Named {
        Named {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn destinations_as_written() {
        for (text, expected) in [
            ("192.0.2.10", named(None, "192.0.2.10", None)),
            (
                "lab@192.0.2.10:2222",
                named(Some("lab"), "192.0.2.10", Some(2222)),
            ),
            ("lab@2001:db8::1", named(Some("lab"), "2001:db8::1", None)),
            (
                "lab@[2001:db8::1]:22",
                named(Some("lab"), "2001:db8::1", Some(22)),
            ),
            ("a@b@host", named(Some("a@b"), "host", None)),
        ] {
            assert_eq!(Named::parse(text).expect(text), expected);
        }
        for text in ["", "@host", "lab@", "host:0", "host:ssh", "[::1"] {
            Named::parse(text).expect_err(text);
        }
    }

    #[test]
    fn openssh_reads_a_configuration_for_us() {
        let config = "\
Host k8s-w1
  HostName 192.0.2.10
  User vagrant
  Port 2222
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  IdentityFile \"/lab keys/%h/private_key\"
  IdentitiesOnly yes
  ConnectTimeout 7
Match originalhost k8s-w1 user root
  HostKeyAlias no-one
Host inner
  HostName 198.51.100.1
  ProxyJump outer@192.0.2.1:2200,k8s-w1
  IdentityAgent none
";
        let host = resolve_in("w1", "k8s-w1", config).unwrap_or_else(|error| panic!("{error}"));
        let expected = Destination {
            connect_timeout: Some(Duration::from_secs(7)),
            known_hosts: host.known_hosts.clone(),
            agent: host.agent.clone(),
            ..Destination::new("w1", "vagrant", "192.0.2.10", 2222)
                .with_identity("/lab keys/192.0.2.10/private_key")
        };
        assert_eq!(host, expected);
        assert_eq!(host.known_hosts[0], Path::new("/dev/null"));
        let inner = resolve_in("inner", "root@inner", config).expect("readable");
        assert_eq!(inner.agent, None);
        let last = inner.jump.expect("a jump host");
        assert_eq!((last.host.as_str(), last.port), ("192.0.2.10", 2222));
        let first = last.jump.expect("another jump host");
        assert_eq!(
            (first.user.as_str(), first.host.as_str(), first.port),
            ("outer", "192.0.2.1", 2200)
        );
    }

    #[test]
    fn what_is_not_supported_is_told_instead_of_passed_over() {
        let command = "Host *\n  ProxyCommand nc %h %p\n";
        let error = resolve_in("w1", "w1", command).expect_err("no ProxyCommand");
        assert!(error.to_string().contains("use ProxyJump"), "{error}");
        let round = "Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n";
        let error = resolve_in("a", "a", round).expect_err("a loop");
        assert!(
            error.to_string().contains("leads back to itself"),
            "{error}"
        );
        let wrong = resolve_in("a", "a", "Nonsense yes\n").expect_err("no such option");
        assert!(wrong.to_string().contains("nonsense"), "{wrong}");
    }
}
