//! Destinations as OpenSSH reads them (ssh_config(5)).

use std::fmt::Write as _;
use std::path::Path;

use crate::destination::Destination;

/// An `ssh_config` with which OpenSSH reaches nodes as labctl does, each under its node's name.
/// A jump host comes along by address; its own keys are OpenSSH's to know.
pub fn ssh_config_text(hosts: &[Destination]) -> String {
    let mut text = String::new();
    for host in hosts {
        // Writing to a string can't fail.
        let _ = write_host(&mut text, host);
    }
    text
}

fn write_host(text: &mut String, host: &Destination) -> std::fmt::Result {
    writeln!(text, "Host {}", host.node)?;
    writeln!(text, "  HostName {}", host.host)?;
    writeln!(text, "  Port {}", host.port)?;
    writeln!(text, "  User {}", host.user)?;
    for file in &host.identities {
        writeln!(text, "  IdentityFile {}", quoted(file))?;
    }
    if host.identities_only {
        writeln!(text, "  IdentitiesOnly yes")?;
    }
    if let Some(agent) = &host.agent {
        writeln!(text, "  IdentityAgent {}", quoted(agent))?;
    }
    if !host.known_hosts.is_empty() {
        let files: Vec<String> = host.known_hosts.iter().map(|file| quoted(file)).collect();
        writeln!(text, "  UserKnownHostsFile {}", files.join(" "))?;
    }
    if let Some(alias) = &host.host_key_alias {
        writeln!(text, "  HostKeyAlias {alias}")?;
    }
    if let Some(jump) = &host.jump {
        writeln!(
            text,
            "  ProxyJump {}@{}:{}",
            jump.user, jump.host, jump.port
        )?;
    }
    writeln!(text, "  StrictHostKeyChecking yes")?;
    writeln!(text, "  LogLevel ERROR")
}

/// A path as an argument in ssh_config: `%` begins a token, quotes and backslashes are escaped.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy().replace('%', "%%");
    if !path.contains([' ', '\t', '"', '\\', '\'', '#']) {
        return path;
    }
    format!("\"{}\"", path.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve_in;

    #[test]
    fn openssh_understands_paths_as_we_write_them() {
        let path = r#"/lab 100%/it's "x"\y/id"#;
        let host = Destination::new("w1", "lab", "192.0.2.10", 2222).with_identity(path);
        let text = ssh_config_text(&[host]);
        let read = resolve_in("w1", "w1", &text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(read.identities, [Path::new(path)]);
        assert!(read.identities_only);
    }
}
