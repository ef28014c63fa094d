//! Rules by table and chain, and what `iptables-restore` must be told to get there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The tables that have rules of ours, in the order in which they are restored.
const TABLES: [Table; 2] = [Table::Filter, Table::Nat];

/// Chains of ours whose names are fixed.
const CHAINS: [&str; 9] = [
    "CILIUM_POST_nat",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FORWARD",
    "KUBE-MARK-MASQ",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-PROXY-FIREWALL",
    "KUBE-SERVICES",
    "KUBE-PROXY-CANARY",
];

/// Beginnings of the names of the others, which end in a hash.
const PREFIXES: [&str; 5] = [
    "KUBE-SVC-",
    "KUBE-SVL-",
    "KUBE-EXT-",
    "KUBE-FW-",
    "KUBE-SEP-",
];

/// Whether a chain of that name is ours.
fn is_ours(chain: &str) -> bool {
    CHAINS.contains(&chain) || PREFIXES.iter().any(|prefix| chain.starts_with(prefix))
}

/// A table of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Filter,
    Nat,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }

    fn named(name: &str) -> Option<Self> {
        TABLES.into_iter().find(|table| table.name() == name)
    }
}

/// Chains with their rules, and the jumps to them from the built-in chains. A rule
/// is what follows `-A CHAIN`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruleset {
    chains: BTreeMap<(Table, String), Vec<String>>,
    jumps: Vec<(Table, &'static str, String)>,
}

impl Ruleset {
    /// Makes the chain, unless it is there.
    pub(super) fn chain(&mut self, table: Table, chain: &str) -> &mut Vec<String> {
        self.chains.entry((table, chain.to_owned())).or_default()
    }

    /// Adds a rule to the end of a chain.
    pub(super) fn rule(&mut self, table: Table, chain: &str, rule: impl Into<String>) {
        self.chain(table, chain).push(rule.into());
    }

    /// Adds a jump from a built-in chain, behind those added before and in front of
    /// everybody else's rules.
    pub(super) fn jump(&mut self, table: Table, from: &'static str, rule: impl Into<String>) {
        self.jumps.push((table, from, rule.into()));
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.jumps.is_empty()
    }

    /// Chains of ours that rules and jumps lead to, and that are not there.
    #[cfg(test)]
    pub(super) fn dangling(&self) -> Vec<String> {
        let jumps = self.jumps.iter().map(|(table, _, rule)| (*table, rule));
        let rules = self
            .chains
            .iter()
            .flat_map(|((table, _), rules)| rules.iter().map(|rule| (*table, rule)));
        let targets = jumps
            .chain(rules)
            .map(|(table, rule)| (table, target(rule).to_owned()));
        let missing = targets.filter(|key| is_ours(&key.1) && !self.chains.contains_key(key));
        missing.map(|(_, chain)| chain).collect()
    }

    /// The rules of a chain.
    #[cfg(test)]
    pub(super) fn of(&self, table: Table, chain: &str) -> &[String] {
        let key = (table, chain.to_owned());
        self.chains.get(&key).map_or(&[], Vec::as_slice)
    }

    fn in_table(&self, table: Table) -> impl Iterator<Item = (&str, &[String])> {
        let here = self.chains.iter().filter(move |((it, _), _)| *it == table);
        here.map(|((_, chain), rules)| (chain.as_str(), rules.as_slice()))
    }
}

/// What of ours is there, in the words of `iptables-save`, which writes a rule
/// otherwise than it was given, and differently in different versions: to be
/// compared with itself only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    chains: BTreeMap<(Table, String), Vec<String>>,
    jumps: Vec<(Table, String, String)>,
}

impl Saved {
    /// Reads what `iptables-save` prints.
    pub(crate) fn parse(text: &str) -> Self {
        let mut saved = Self::default();
        let mut table = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = Table::named(name);
            }
            if let Some(table) = table {
                saved.line(table, line);
            }
        }
        saved
    }

    fn line(&mut self, table: Table, line: &str) {
        if let Some(rest) = line.strip_prefix(':') {
            let chain = rest.split(' ').next().unwrap_or_default();
            if is_ours(chain) {
                self.chains.entry((table, chain.to_owned())).or_default();
            }
        } else if let Some((chain, rule)) =
            line.strip_prefix("-A ").and_then(|it| it.split_once(' '))
        {
            if is_ours(chain) {
                let key = (table, chain.to_owned());
                self.chains.entry(key).or_default().push(rule.to_owned());
            } else if is_ours(target(rule)) {
                self.jumps.push((table, chain.to_owned(), rule.to_owned()));
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.jumps.is_empty()
    }

    /// What of `self`, which was there once, is otherwise in `now`.
    pub(crate) fn differences(&self, now: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for ((table, chain), rules) in &self.chains {
            match now.chains.get(&(*table, chain.clone())) {
                None => differences.push(format!(
                    "iptables: chain {chain} of table {} is gone",
                    table.name()
                )),
                Some(found) if found != rules => differences.push(format!(
                    "iptables: chain {chain} of table {} has other rules",
                    table.name()
                )),
                Some(_) => {}
            }
        }
        for (table, chain) in now.chains.keys() {
            if !self.chains.contains_key(&(*table, chain.clone())) {
                differences.push(format!(
                    "iptables: chain {chain} of table {} is left over",
                    table.name()
                ));
            }
        }
        if self.jumps != now.jumps {
            differences.push("iptables: the jumps to the chains are others".to_owned());
        }
        differences
    }
}

/// Where a rule leads.
fn target(rule: &str) -> &str {
    let after = rule.rsplit_once("-j ").map(|(_, target)| target);
    after
        .and_then(|target| target.split(' ').next())
        .unwrap_or_default()
}

/// What `iptables-restore --noflush` must read to make `wanted` of what is there.
/// Chains are named before rules lead to them; naming one empties it. A chain that
/// nothing leads to any more goes last.
pub(crate) fn restore_input(wanted: &Ruleset, there: &Saved) -> String {
    let mut input = String::new();
    for table in TABLES {
        let stale: Vec<&str> = there
            .chains
            .keys()
            .filter(|key| key.0 == table && !wanted.chains.contains_key(*key))
            .map(|(_, chain)| chain.as_str())
            .collect();
        let mut lines = Vec::new();
        let chains = wanted.in_table(table).map(|(chain, _)| chain);
        lines.extend(
            chains
                .chain(stale.iter().copied())
                .map(|chain| format!(":{chain} - [0:0]")),
        );
        let jumps = there.jumps.iter().filter(|(it, ..)| *it == table);
        lines.extend(jumps.map(|(_, from, rule)| format!("-D {from} {rule}")));
        // Each goes to the front: the first comes last.
        let jumps = wanted.jumps.iter().rev().filter(|(it, ..)| *it == table);
        lines.extend(jumps.map(|(_, from, rule)| format!("-I {from} {rule}")));
        for (chain, rules) in wanted.in_table(table) {
            lines.extend(rules.iter().map(|rule| format!("-A {chain} {rule}")));
        }
        lines.extend(stale.iter().map(|chain| format!("-X {chain}")));
        if !lines.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(input, "*{}\n{}\nCOMMIT", table.name(), lines.join("\n"));
        }
    }
    input
}
