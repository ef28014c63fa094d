//! Which names labs, nodes and interfaces can have.

/// Why a name cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters.
    #[error("is empty")]
    Empty,
    /// It has more bytes than there is room for.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// A character that the kind of name cannot have.
    #[error("has {0:?} in it; only {1} may be used")]
    Character(char, &'static str),
    /// A label's first and last characters are letters or digits.
    #[error("begins or ends with `-`")]
    Edge,
    /// Something else has that name.
    #[error("is taken: {0}")]
    Taken(&'static str),
}

/// Characters of a DNS label, as Kubernetes has them (RFC 1123, lower case).
const LABEL_CHARACTERS: &str = "a-z, 0-9 and `-`";

/// Interfaces that every node has, or that the kernel or Cilium name.
const TAKEN_INTERFACES: [(&str, &str); 5] = [
    ("lo", "the loopback interface"),
    ("eth0", "the interface to the outside"),
    ("eth1", "the interface on the lab's network"),
    // The kernel refuses both: their folders in /proc/sys/net/ipv4/conf are taken.
    ("all", "the kernel keeps it for itself"),
    ("default", "the kernel keeps it for itself"),
];

/// A lab's name is part of paths and cgroups, and leaves room in them.
pub(super) fn lab(name: &str) -> Result<(), NameError> {
    label(name, 32)
}

/// A node's name is its host name: one DNS label.
pub(super) fn node(name: &str) -> Result<(), NameError> {
    label(name, 63)?;
    match name {
        "localhost" => Err(NameError::Taken("it is every node's own name for itself")),
        "fabric" => Err(NameError::Taken(
            "it is the network namespace of the lab's bridge",
        )),
        _ => Ok(()),
    }
}

/// A dummy interface's name, as the kernel allows it (`dev_valid_name`).
pub(super) fn interface(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    // IFNAMSIZ, without the terminating zero.
    if name.len() > 15 {
        return Err(NameError::TooLong(15));
    }
    let illegal = |c: &char| !c.is_ascii_graphic() || matches!(c, '/' | ':');
    if let Some(illegal) = name.chars().find(illegal) {
        let legal = "printable ASCII without `/`, `:` and spaces";
        return Err(NameError::Character(illegal, legal));
    }
    if let Some((_, owner)) = TAKEN_INTERFACES.iter().find(|(taken, _)| *taken == name) {
        return Err(NameError::Taken(owner));
    }
    match name {
        "." | ".." => Err(NameError::Taken("it is a folder")),
        _ if name.starts_with("lxc") => Err(NameError::Taken("pods' interfaces begin with lxc")),
        _ if name.starts_with("cilium_") => Err(NameError::Taken(
            "the datapath's own interfaces begin with cilium_",
        )),
        _ => Ok(()),
    }
}

/// A search domain: labels of letters of either case, digits, `-` and `_`, in a name
/// that fits into a query.
pub(super) fn domain(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > 253 {
        return Err(NameError::TooLong(253));
    }
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        if label.is_empty() {
            return Err(NameError::Empty);
        }
        if label.len() > 63 {
            return Err(NameError::TooLong(63));
        }
        let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if let Some(illegal) = label.chars().find(|c| !legal(c)) {
            let legal = "A-Z, a-z, 0-9, `-`, `_` and dots between labels";
            return Err(NameError::Character(illegal, legal));
        }
    }
    Ok(())
}

/// The label that an illegal name is nearest to; perhaps illegal itself.
pub(super) fn legal(name: &str) -> String {
    let lower = name.to_lowercase();
    let replaced = lower.replace(
        |c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit(),
        "-",
    );
    replaced.trim_matches('-').to_owned()
}

fn label(name: &str, longest: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > longest {
        return Err(NameError::TooLong(longest));
    }
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(illegal) = name.chars().find(|c| !legal(*c)) {
        return Err(NameError::Character(illegal, LABEL_CHARACTERS));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(NameError::Edge);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_dns_labels() {
        for name in ["study", "k8s-ctr", "0", &"a".repeat(32)] {
            assert_eq!(lab(name), Ok(()), "{name}");
        }
        assert_eq!(lab(""), Err(NameError::Empty));
        assert_eq!(lab(&"a".repeat(33)), Err(NameError::TooLong(32)));
        assert_eq!(node(&"a".repeat(63)), Ok(()));
        assert_eq!(node(&"a".repeat(64)), Err(NameError::TooLong(63)));
        for name in ["Study", "a_b", "a.b", "a/b", "..", "é", "a b", "a\0b"] {
            assert!(matches!(lab(name), Err(NameError::Character(..))), "{name}");
        }
        assert_eq!(lab("-a"), Err(NameError::Edge));
        assert_eq!(lab("a-"), Err(NameError::Edge));
    }

    #[test]
    fn search_domains_are_names() {
        for name in ["Davolink", "example.org", "a_b.example.", &"a".repeat(63)] {
            assert_eq!(domain(name), Ok(()), "{name}");
        }
        for name in [
            "",
            ".",
            "a..b",
            "a b",
            "é",
            &"a".repeat(64),
            &"a.".repeat(127),
        ] {
            assert!(domain(name).is_err(), "{name}");
        }
    }

    #[test]
    fn interfaces_are_what_the_kernel_allows() {
        for name in ["loop1", "dummy_0", "a.b", "fifteen-bytes-x"] {
            assert_eq!(interface(name), Ok(()), "{name}");
        }
        assert_eq!(interface("sixteen-bytes-xx"), Err(NameError::TooLong(15)));
        for name in ["a/b", "a b", "a:b", "a\tb", "é", "a\0"] {
            assert!(
                matches!(interface(name), Err(NameError::Character(..))),
                "{name}"
            );
        }
        for name in [
            "lo",
            "eth0",
            "eth1",
            "all",
            "default",
            "lxc1",
            "cilium_host",
            ".",
            "..",
        ] {
            assert!(
                matches!(interface(name), Err(NameError::Taken(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn suggestions_are_labels() {
        assert_eq!(legal("K8s_W1."), "k8s-w1");
    }
}
