//! Faults of filters that can be told with what to write instead.

use std::ops::Range;

use lab_model::diagnostic::nearest;

use super::error::FilterError;
use super::field::{PROTOCOLS, fields};
use super::lexer::{Token, TokenKind};

/// A token behind a complete filter.
pub(super) fn unexpected(text: &str, token: &Token<'_>) -> FilterError {
    let shown = &text[token.span.clone()];
    let error = FilterError::new(
        token.span.clone(),
        format!("`{shown}` was not expected here"),
    );
    match token.kind {
        TokenKind::Word("AND" | "OR" | "NOT" | "IN") => {
            error.help(format!("write `{}`", shown.to_lowercase()))
        }
        TokenKind::Word(_) | TokenKind::Open => error.help("join two tests with `and` or `or`"),
        TokenKind::Comparison(_) => error.help("write `a < b and b < c` instead of a chain"),
        TokenKind::Slice => error.help("slices such as `eth.src[0:3]` are not supported"),
        _ => error,
    }
}

/// A name that is no field.
pub(super) fn unknown_field(name: &str, span: Range<usize>) -> FilterError {
    let error = FilterError::new(
        span,
        format!("`{name}` is not a field that labctl's filters know"),
    );
    match name {
        "tcp.seq" | "tcp.ack" => {
            return error.help(format!(
                "`{name}` counts from the connection's first packet; `{name}_raw` is in this one"
            ));
        }
        "tcp.stream" | "udp.stream" => {
            return error.help("name the ports instead: a filter looks at one packet");
        }
        _ => {}
    }
    let names = fields()
        .iter()
        .map(|field| field.name)
        .chain(PROTOCOLS.iter().map(|(name, _)| *name));
    match nearest(name, names) {
        Some(known) => error.help(format!("did you mean `{known}`?")),
        None => error.help("docs/checks.md lists the fields"),
    }
}

/// Some fields of a protocol.
pub(super) fn examples(protocol: &str) -> String {
    let prefix = format!("{protocol}.");
    let names: Vec<String> = fields()
        .iter()
        .filter(|field| field.name.starts_with(&prefix))
        .take(3)
        .map(|field| format!("`{}`", field.name))
        .collect();
    if names.is_empty() {
        "it has none here".to_owned()
    } else {
        names.join(", ")
    }
}
