//! Words and operators of the filter language, each with its place.

use std::ops::Range;

use super::error::FilterError;

/// A token and the bytes it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind<'a>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind<'a> {
    /// A name, number or address.
    Word(&'a str),
    /// A word of which at least a part is `{{ … }}`.
    Template,
    /// A string or a character in quotes.
    Quoted,
    Comparison(Comparison),
    /// `contains`, `matches` or `~`.
    Text(&'a str),
    In,
    And,
    Or,
    Not,
    Any,
    All,
    Open,
    Close,
    OpenBrace,
    CloseBrace,
    Comma,
    Range,
    /// `&`
    Mask,
    /// `#`
    Layer,
    /// `[`, which begins a slice.
    Slice,
    End,
}

/// A comparison, and over which of the values it must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) relation: Relation,
    /// `===` and `!=` ask for every value, the others for any (Wireshark 4).
    pub(super) all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

const fn comparison(relation: Relation, all: bool) -> TokenKind<'static> {
    TokenKind::Comparison(Comparison { relation, all })
}

/// Longest first, so that `===` is not `==` and `=`.
const SYMBOLS: &[(&str, TokenKind<'static>)] = &[
    ("===", comparison(Relation::Eq, true)),
    ("!==", comparison(Relation::Ne, false)),
    ("==", comparison(Relation::Eq, false)),
    ("!=", comparison(Relation::Ne, true)),
    ("<=", comparison(Relation::Le, false)),
    (">=", comparison(Relation::Ge, false)),
    ("&&", TokenKind::And),
    ("||", TokenKind::Or),
    ("..", TokenKind::Range),
    ("<", comparison(Relation::Lt, false)),
    (">", comparison(Relation::Gt, false)),
    ("!", TokenKind::Not),
    ("~", TokenKind::Text("~")),
    ("(", TokenKind::Open),
    (")", TokenKind::Close),
    ("{", TokenKind::OpenBrace),
    ("}", TokenKind::CloseBrace),
    (",", TokenKind::Comma),
    ("&", TokenKind::Mask),
    ("#", TokenKind::Layer),
    ("[", TokenKind::Slice),
];

fn keyword(word: &str) -> Option<TokenKind<'_>> {
    Some(match word {
        "eq" | "any_eq" => comparison(Relation::Eq, false),
        "ne" | "all_ne" => comparison(Relation::Ne, true),
        "all_eq" => comparison(Relation::Eq, true),
        "any_ne" => comparison(Relation::Ne, false),
        "lt" => comparison(Relation::Lt, false),
        "le" => comparison(Relation::Le, false),
        "gt" => comparison(Relation::Gt, false),
        "ge" => comparison(Relation::Ge, false),
        "and" => TokenKind::And,
        "or" => TokenKind::Or,
        "not" => TokenKind::Not,
        "in" => TokenKind::In,
        "any" => TokenKind::Any,
        "all" => TokenKind::All,
        "contains" | "matches" => TokenKind::Text(word),
        "bitwise_and" => TokenKind::Mask,
        _ => return None,
    })
}

/// Splits `text`; with `templates`, `{{ … }}` is part of a word.
pub(super) fn tokens(text: &str, templates: bool) -> Result<Vec<Token<'_>>, FilterError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let token = token_at(text, at, templates)?;
        at = token.span.end;
        tokens.push(token);
    }
    tokens.push(Token {
        kind: TokenKind::End,
        span: text.len()..text.len(),
    });
    Ok(tokens)
}

fn token_at(text: &str, at: usize, templates: bool) -> Result<Token<'_>, FilterError> {
    let rest = &text[at..];
    if let Some(quote @ ('"' | '\'')) = rest.chars().next() {
        let end = rest[1..].find(quote).map_or(text.len(), |end| at + end + 2);
        return Ok(Token {
            kind: TokenKind::Quoted,
            span: at..end,
        });
    }
    let (length, template) = word_length(rest, at, templates)?;
    if length > 0 {
        let word = &rest[..length];
        let kind = if template {
            TokenKind::Template
        } else {
            keyword(word).unwrap_or(TokenKind::Word(word))
        };
        return Ok(Token {
            kind,
            span: at..at + length,
        });
    }
    match SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
        Some((symbol, kind)) => Ok(Token {
            kind: *kind,
            span: at..at + symbol.len(),
        }),
        None => {
            let unknown = rest.chars().next().unwrap_or(' ');
            let error = FilterError::new(
                at..at + unknown.len_utf8(),
                format!("`{unknown}` means nothing here"),
            );
            Err(match unknown {
                '=' => error.help("write `==` to compare"),
                '|' => error.help("write `||` or `or`"),
                '^' | '%' | '*' | '/' | '+' => error.help("arithmetic is not supported"),
                _ => error,
            })
        }
    }
}

/// Bytes of the word that `rest` begins with, and whether a template is part of it.
fn word_length(rest: &str, at: usize, templates: bool) -> Result<(usize, bool), FilterError> {
    let bytes = rest.as_bytes();
    let mut length = 0;
    let mut template = false;
    while let Some(byte) = bytes.get(length) {
        if templates && rest[length..].starts_with("{{") {
            let Some(end) = rest[length..].find("}}") else {
                return Err(FilterError::new(
                    at + length..at + length + 2,
                    "`{{` without `}}`",
                ));
            };
            length += end + 2;
            template = true;
            continue;
        }
        let is_word = match byte {
            b'.' => bytes.get(length + 1) != Some(&b'.'),
            b'/' => length > 0,
            _ => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-'),
        };
        if !is_word {
            break;
        }
        length += 1;
    }
    Ok((length, template))
}
