//! The lab's names in a machine's `/etc/hosts`: a block of its own, between two
//! comments, in a file that is otherwise somebody else's. Pure.

use std::net::Ipv4Addr;

use crate::node_network::hosts_in;

/// The file.
pub(super) const PATH: &str = "/etc/hosts";

const BEGIN: &str = "# labctl begin";
const END: &str = "# labctl end";

/// The names in labctl's block.
pub(super) fn names_in(text: &str) -> Vec<(Ipv4Addr, String)> {
    split(text).map_or_else(Vec::new, |(_, block, _)| hosts_in(block))
}

/// The text with the block made anew; an empty one goes.
pub(super) fn with_names(text: &str, hosts: &[(Ipv4Addr, String)]) -> String {
    let (before, after) = split(text).map_or((text, ""), |(before, _, after)| (before, after));
    let mut changed = before.to_owned();
    if !hosts.is_empty() {
        if !changed.is_empty() && !changed.ends_with('\n') {
            changed.push('\n');
        }
        changed.push_str(BEGIN);
        changed.push('\n');
        for (address, name) in hosts {
            changed.push_str(&format!("{address} {name}\n"));
        }
        changed.push_str(END);
        changed.push('\n');
    }
    changed + after
}

/// The text before the block, in it, and after it. A block that somebody cut the
/// end off ends where its entries do.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let begin = line(text, BEGIN)?;
    let (before, rest) = text.split_at(begin);
    let rest = &rest[BEGIN.len()..];
    let rest = rest.strip_prefix('\n').unwrap_or(rest);
    match line(rest, END) {
        Some(end) => {
            let (block, after) = rest.split_at(end);
            let after = &after[END.len()..];
            Some((before, block, after.strip_prefix('\n').unwrap_or(after)))
        }
        None => {
            let entry = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
            let lines = rest.split_inclusive('\n').take_while(entry);
            let (block, after) = rest.split_at(lines.map(str::len).sum());
            Some((before, block, after))
        }
    }
}

/// Where the line `wanted` begins.
fn line(text: &str, wanted: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_end_matches('\n') == wanted {
            return Some(at);
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\n";

    fn hosts(numbers: &[u8]) -> Vec<(Ipv4Addr, String)> {
        let host = |number: &u8| (Ipv4Addr::new(192, 168, 10, *number), format!("n{number}"));
        numbers.iter().map(host).collect()
    }

    #[test]
    fn the_block_comes_changes_and_goes_and_the_rest_stays() {
        let first = with_names(OWN, &hosts(&[1, 2]));
        assert_eq!(
            first,
            format!("{OWN}# labctl begin\n192.168.10.1 n1\n192.168.10.2 n2\n# labctl end\n")
        );
        assert_eq!(names_in(&first), hosts(&[1, 2]));
        let edited = first.clone() + "10.0.0.1 mine\n";
        let second = with_names(&edited, &hosts(&[3]));
        assert_eq!(names_in(&second), hosts(&[3]));
        assert_eq!(with_names(&second, &[]), format!("{OWN}10.0.0.1 mine\n"));
    }

    #[test]
    fn a_file_without_a_last_line_break_keeps_its_last_line() {
        let text = with_names("127.0.0.1 localhost", &hosts(&[1]));
        assert!(
            text.starts_with("127.0.0.1 localhost\n# labctl begin\n"),
            "{text}"
        );
        assert_eq!(with_names(&text, &[]), "127.0.0.1 localhost\n");
        assert_eq!(with_names("", &[]), "");
    }

    #[test]
    fn names_outside_of_the_block_are_not_the_labs() {
        assert_eq!(names_in("10.0.0.1 mine\n"), []);
        assert_eq!(names_in("10.0.0.1 mine # labctl begin\n10.0.0.2 too\n"), []);
    }

    #[test]
    fn a_block_without_its_end_is_its_entries() {
        let cut = "127.0.0.1 localhost\n# labctl begin\n192.168.10.1 n1\n\n10.0.0.1 mine\n";
        assert_eq!(names_in(cut), hosts(&[1]));
        assert_eq!(
            with_names(cut, &[]),
            "127.0.0.1 localhost\n\n10.0.0.1 mine\n"
        );
    }
}
