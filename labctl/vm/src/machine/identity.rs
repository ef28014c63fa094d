//! Who a machine is, and the line it is told by.

use crate::store::hex;
use base64ct::{Base64, Encoding as _};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who a machine is: given to it before it takes its first connection.
///
/// Clock, entropy and machine-id are added when it is given.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Host name.
    pub hostname: String,
    /// MAC address of `eth0`, which has 10.0.2.15/24 and leads to 10.0.2.2.
    pub mac_eth0: String,
    /// MAC address of `eth1`, which is up and has no address.
    pub mac_eth1: String,
    /// The SSH host key (Ed25519), private, in OpenSSH's format.
    pub ssh_host_key: String,
    /// The public key that root may log in with: one line of `authorized_keys`.
    pub authorized_key: String,
}

impl std::fmt::Debug for Identity {
    /// Without the private key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = formatter.debug_struct("Identity");
        fields
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}

/// Bytes of entropy given with an identity: as many as the kernel's pool takes in.
const SEED: usize = 64;

impl Identity {
    /// The line that tells a machine who it is, at what time, with fresh entropy.
    pub(super) fn line(&self) -> io::Result<String> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut random = [0; SEED + 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        let (seed, machine_id) = random.split_at(SEED);
        let document = Base64::encode_string(self.document(&hex(machine_id)).as_bytes());
        let clock = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
        Ok(format!("identity {document} {clock} {}\n", hex(seed)))
    }

    /// `key value` lines, as `templates/image/init` reads and keeps them.
    fn document(&self, machine_id: &str) -> String {
        let key = Base64::encode_string(with_newline(&self.ssh_host_key).as_bytes());
        let authorized = Base64::encode_string(with_newline(&self.authorized_key).as_bytes());
        [
            ("hostname", self.hostname.as_str()),
            ("machine-id", machine_id),
            ("eth0", &self.mac_eth0),
            ("eth1", &self.mac_eth1),
            ("ssh-host-key", &key),
            ("authorized-key", &authorized),
        ]
        .iter()
        .fold(String::new(), |mut text, (key, value)| {
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "{key} {value}");
            text
        })
    }
}

fn with_newline(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            hostname: "k8s-w1".to_owned(),
            mac_eth0: "52:54:00:aa:bb:01".to_owned(),
            mac_eth1: "52:54:00:aa:bb:02".to_owned(),
            ssh_host_key: "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END".to_owned(),
            authorized_key: "ssh-ed25519 AAAA lab".to_owned(),
        }
    }

    #[test]
    fn an_identity_is_one_line_of_four_words_and_never_the_same() {
        let (first, second) = (identity().line().unwrap(), identity().line().unwrap());
        let words: Vec<_> = first.split_whitespace().collect();
        assert_eq!(
            (words.len(), words[0], first.matches('\n').count()),
            (4, "identity", 1)
        );
        assert_eq!(words[3].len(), 2 * SEED);
        let others: Vec<_> = second.split_whitespace().collect();
        assert_ne!(words[3], others[3], "entropy");
        let document = |word: &str| String::from_utf8(Base64::decode_vec(word).unwrap()).unwrap();
        assert!(document(words[1]).starts_with("hostname k8s-w1\nmachine-id "));
        assert_ne!(document(words[1]), document(others[1]), "machine-id");
    }

    #[test]
    fn a_private_key_is_not_printed() {
        assert!(!format!("{:?}", identity()).contains("secret"));
    }
}
