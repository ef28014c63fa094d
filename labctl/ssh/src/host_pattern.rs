//! The host field of a known-hosts line: names, patterns, or one hashed name.

use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::known_hosts::HostPatterns;
use sha1::Sha1;

/// Whether a line's host field names the host (OpenSSH's `match_hostname`).
pub(crate) fn matches(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let Ok(mac) = Hmac::<Sha1>::new_from_slice(salt) else {
                return false;
            };
            mac.chain_update(name).verify_slice(hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let negated = |pattern: &str| {
                let pattern = pattern.strip_prefix('!');
                pattern.is_some_and(|pattern| glob(&pattern.to_ascii_lowercase(), name))
            };
            let positive = |pattern: &str| {
                !pattern.starts_with('!') && glob(&pattern.to_ascii_lowercase(), name)
            };
            patterns.iter().any(|pattern| positive(pattern))
                && !patterns.iter().any(|pattern| negated(pattern))
        }
    }
}

/// OpenSSH's patterns: `*` any characters, `?` any one.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where the last star was, and how much of the text it has swallowed.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((star_at, swallowed)) = star else {
                    return false;
                };
                star = Some((star_at, swallowed + 1));
                at = star_at + 1;
                seen = swallowed + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("192.0.2.?", "192.0.2.7", true),
            ("192.0.2.?", "192.0.2.77", false),
            ("*.lab.test", "a.b.lab.test", true),
            ("**b", "ab", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
