//! What each kernel made of the programs, and the table of it.

use std::fs;

use anyhow::{Context, Result};

use crate::command::root;
use crate::table::Table;

/// Where the table is, and between which lines.
const DOCUMENT: &str = "docs/performance.md";
const BEGIN: &str = "<!-- kernels: written by `cargo xtask test --vm … --write` -->";
const END: &str = "<!-- end of kernels -->";

/// A program on a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    name: String,
    verified: u32,
    modes: Vec<String>,
}

impl Program {
    /// A line of the example `attach_modes`.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self {
            name: words.next()?.to_owned(),
            verified: words.next()?.parse().ok()?,
            modes: words.map(str::to_owned).collect(),
        })
    }

    /// All lines of the example.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Self>> {
        text.lines()
            .map(|line| Self::parse(line).with_context(|| format!("{line:?} is no program")))
            .collect()
    }
}

/// Kernel × program × attach mode × verified instructions.
pub(super) fn table(kernels: &[(String, Vec<Program>)]) -> Table {
    let mut table = Table::new(&["kernel", "program", "attached by", "instructions verified"]);
    for (kernel, programs) in kernels {
        for program in programs {
            table.row(vec![
                kernel.clone(),
                format!("`{}`", program.name),
                program.modes.join(", "),
                program.verified.to_string(),
            ]);
        }
    }
    table
}

/// Puts the table into the document.
pub(super) fn write(table: &str) -> Result<()> {
    let file = root().join(DOCUMENT);
    let text = fs::read_to_string(&file).with_context(|| format!("failed to read {DOCUMENT}"))?;
    let text = replaced(&text, table).with_context(|| {
        format!("{DOCUMENT} has no place for the table, which is between {BEGIN:?} and {END:?}")
    })?;
    fs::write(&file, text).with_context(|| format!("failed to write {DOCUMENT}"))
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_become_rows() {
        let programs = Program::parse_all("cil_to_netdev 27491 tcx clsact\n").expect("one");
        let table = table(&[("6.12.9".to_owned(), programs)]).render();
        assert!(
            table.ends_with("| 6.12.9 | `cil_to_netdev` | tcx, clsact | 27491                 |"),
            "{table}"
        );
        assert!(Program::parse_all("cil_to_netdev\n").is_err());
    }

    #[test]
    fn the_table_is_replaced_and_the_rest_stays() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = replaced(&text, "new").expect("a place");
        assert_eq!(new, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(replaced(&new, "new").as_ref(), Some(&new));
        assert_eq!(replaced("a\n", "new"), None);
    }
}
