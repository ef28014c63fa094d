//! Standard output: text, tables as kubectl lays them out, JSON and YAML.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::exit::{Exit, Failure};

/// How a listing is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// Writes text to standard output.
///
/// A reader that went away (`labctl status | head -1`) is not an error: what it
/// didn't read, it didn't want.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritten(&error)),
        _ => Ok(()),
    }
}

/// Writes a line to standard output.
pub(crate) fn print_line(line: impl std::fmt::Display) -> Result<(), Failure> {
    print(&format!("{line}\n"))
}

/// Writes `document` as asked; `table` is only called for tables.
pub(crate) fn print_as(
    format: Format,
    document: &impl Serialize,
    table: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => print(&table()),
        Format::Json => {
            print_line(serde_json::to_string_pretty(document).map_err(|error| unwritten(&error))?)
        }
        Format::Yaml => print(&serde_yaml::to_string(document).map_err(|error| unwritten(&error))?),
    }
}

fn unwritten(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        Exit::LabFailed,
        format_args!("failed to write standard output: {error}"),
    )
}

/// Whether colour belongs on standard error: a terminal, and no `NO_COLOR`
/// (<https://no-color.org>: set and not empty).
pub(crate) fn color_on_stderr() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Columns as kubectl prints them: three spaces between, none at a line's end.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with that head.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(ToString::to_string).collect()],
        }
    }

    /// Adds a row; an empty cell is shown as kubectl shows it, `<none>`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| {
            if cell.is_empty() {
                "<none>".to_owned()
            } else {
                cell
            }
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// The whole table, a line per row.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..columns).filter_map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let padded: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}", width = *width))
                .collect();
            text.push_str(padded.join("   ").trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_kubectl() {
        let mut table = Table::new(&["NAME", "READY", "NODE"]);
        table.row([
            "curl-pod".to_owned(),
            "1/1".to_owned(),
            "k8s-ctr".to_owned(),
        ]);
        table.row(["webpod".to_owned(), String::new(), "k8s-w1".to_owned()]);
        assert_eq!(
            table.render(),
            "NAME       READY    NODE\n\
             curl-pod   1/1      k8s-ctr\n\
             webpod     <none>   k8s-w1\n"
        );
    }
}
