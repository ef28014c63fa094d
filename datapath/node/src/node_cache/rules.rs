//! The rules of node-cache, and what makes a table of rules have them. Pure.
//!
//! The twelve for each address, their comments and their order are the original's
//! (kubernetes/dns, `cmd/node-cache/app/cache_app.go`): each is put in front of its chain,
//! one after the other, so that a chain shows them the other way round.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

const SKIP: &str = "NodeLocal DNS Cache: skip conntrack";
const ALLOW: &str = "NodeLocal DNS Cache: allow DNS traffic";
/// What the comments of all rules begin with: such rules are ours.
const MARK: &str = "--comment \"NodeLocal DNS Cache: ";
const TABLES: [&str; 2] = ["raw", "filter"];

/// A rule, and the table and chain that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    table: &'static str,
    chain: &'static str,
    /// As `iptables-save` has it, behind the chain.
    text: String,
}

/// The rules for these addresses, in the order in which they are put in front.
pub(super) fn rules(addresses: &[Ipv4Addr], health_port: u16) -> Vec<Rule> {
    let skip =
        |chain, address, side, protocol, port| rule("raw", chain, address, side, (protocol, port));
    let allow =
        |chain, address, side, protocol| rule("filter", chain, address, side, (protocol, 53));
    let twelve = |address: &Ipv4Addr| {
        [
            skip("PREROUTING", *address, Side::Destination, "tcp", 53),
            skip("PREROUTING", *address, Side::Destination, "udp", 53),
            allow("INPUT", *address, Side::Destination, "tcp"),
            allow("INPUT", *address, Side::Destination, "udp"),
            skip("OUTPUT", *address, Side::Source, "tcp", 53),
            skip("OUTPUT", *address, Side::Source, "udp", 53),
            allow("OUTPUT", *address, Side::Source, "tcp"),
            allow("OUTPUT", *address, Side::Source, "udp"),
            skip("OUTPUT", *address, Side::Destination, "tcp", 53),
            skip("OUTPUT", *address, Side::Destination, "udp", 53),
            skip("OUTPUT", *address, Side::Destination, "tcp", health_port),
            skip("OUTPUT", *address, Side::Source, "tcp", health_port),
        ]
    };
    addresses.iter().flat_map(twelve).collect()
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

fn rule(
    table: &'static str,
    chain: &'static str,
    address: Ipv4Addr,
    side: Side,
    (protocol, port): (&str, u16),
) -> Rule {
    let (flag, port_flag) = match side {
        Side::Source => ("-s", "--sport"),
        Side::Destination => ("-d", "--dport"),
    };
    let (comment, target) = match table {
        "raw" => (SKIP, "NOTRACK"),
        _ => (ALLOW, "ACCEPT"),
    };
    let text = format!(
        "{flag} {address}/32 -p {protocol} -m {protocol} {port_flag} {port} -m comment \
         --comment \"{comment}\" -j {target}"
    );
    Rule { table, chain, text }
}

/// Input for `iptables-restore --noflush` after which a node whose rules are `saved` has
/// those that are wanted, once each; none when it has. Rules of ours that are not wanted
/// go, and any that differ are all made anew, since their order counts.
pub(super) fn changes(saved: &str, wanted: &[Rule]) -> Option<String> {
    let mut input = String::new();
    for table in TABLES {
        let present = ours(saved, table);
        let rules = wanted.iter().filter(|rule| rule.table == table);
        if in_order(&present) == in_order(&in_front(rules.clone())) {
            continue;
        }
        let _ = writeln!(input, "*{table}");
        for (chain, text) in present {
            let _ = writeln!(input, "-D {chain} {text}");
        }
        for Rule { chain, text, .. } in rules {
            let _ = writeln!(input, "-I {chain} 1 {text}");
        }
        input.push_str("COMMIT\n");
    }
    (!input.is_empty()).then_some(input)
}

/// Chains with their rules, from the top.
type Chains = Vec<(String, String)>;

/// Our rules of a table, as `iptables-save` printed them.
fn ours(saved: &str, table: &str) -> Chains {
    let start = format!("*{table}");
    let lines = saved.lines().skip_while(|line| *line != start);
    let lines = lines.take_while(|line| *line != "COMMIT");
    let rules = lines.filter(|line| line.contains(MARK));
    let rules = rules.filter_map(|line| line.strip_prefix("-A ")?.split_once(' '));
    rules
        .map(|(chain, text)| {
            // Newer versions print the target that NOTRACK has become.
            let text = text.replace("-j CT --notrack", "-j NOTRACK");
            (chain.to_owned(), text)
        })
        .collect()
}

fn in_front<'a>(rules: impl DoubleEndedIterator<Item = &'a Rule>) -> Chains {
    let rules = rules.rev();
    rules
        .map(|rule| (rule.chain.to_owned(), rule.text.clone()))
        .collect()
}

/// By chain: the order of rules of different chains means nothing.
fn in_order(rules: &Chains) -> Chains {
    let mut rules = rules.clone();
    rules.sort_by(|a, b| a.0.cmp(&b.0));
    rules
}
