//! Words of a Corefile, by the rules of Caddy's lexer, which CoreDNS reads its files with:
//! a word ends at white space, `#` starts a comment wherever it stands outside of
//! quotes, a quoted word may hold anything, and `\"` in it is a quote.

use std::path::Path;
use std::sync::Arc;

use super::error::{Fault, Place};
use super::pillars::Pillars;

/// A word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) place: Place,
    /// Whether it is the first of its line.
    pub(super) starts_line: bool,
    /// Whether a `{`, `}` or `import` is no more than a word: it was quoted, or put
    /// in the place of a variable.
    pub(super) literal: bool,
    /// Whether it stands for [`Pillars::upstream_servers`].
    pub(super) upstream: bool,
    /// Whether it holds a placeholder that could not be filled, which was told.
    pub(super) unfilled: bool,
}

impl Token {
    /// Whether it is `word`, and means what that means in a Corefile.
    pub(super) fn is(&self, word: &str) -> bool {
        !self.literal && self.text == word
    }
}

/// Value of an environment variable.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Splits `text` into words, variables and placeholders filled. What cannot be filled is
/// among the words as it stands, and in `faults`, as is a quote that doesn't end.
pub(super) fn tokens(
    file: &Arc<Path>,
    text: &str,
    pillars: &Pillars,
    environment: Environment<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<Token> {
    let mut words: Vec<Token> = Vec::new();
    let mut line_starts = false;
    for raw in Lexer::new(file, text) {
        let token = match raw {
            Ok(token) => fill_variables(token, environment),
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        line_starts |= token.starts_line;
        let (mut filled, unfilled) = pillars.fill(token);
        faults.extend(unfilled);
        // A line whose first word comes to nothing begins with its second.
        if let Some(first) = filled.first_mut() {
            first.starts_line = std::mem::take(&mut line_starts);
        }
        words.extend(filled);
    }
    words
}

struct Lexer<'a> {
    file: &'a Arc<Path>,
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: u32,
    starts_line: bool,
}

impl<'a> Lexer<'a> {
    fn new(file: &'a Arc<Path>, text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self {
            file,
            rest: text.chars().peekable(),
            line: 1,
            starts_line: true,
        }
    }

    fn skip_to_word(&mut self) {
        let mut comment = false;
        while let Some(&next) = self.rest.peek() {
            match next {
                '\n' => {
                    self.line += 1;
                    self.starts_line = true;
                    comment = false;
                }
                '#' => comment = true,
                _ if comment || next.is_whitespace() => {}
                _ => break,
            }
            self.rest.next();
        }
    }

    fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        while let Some(next) = self.rest.next() {
            match next {
                '"' => return Some(text),
                '\\' if self.rest.peek() == Some(&'"') => {
                    self.rest.next();
                    text.push('"');
                }
                _ => {
                    self.line += u32::from(next == '\n');
                    text.push(next);
                }
            }
        }
        None
    }

    fn plain(&mut self) -> String {
        let mut text = String::new();
        let ends = |next: char| next.is_whitespace() || next == '#';
        while let Some(next) = self.rest.next_if(|&next| !ends(next)) {
            text.push(next);
        }
        text
    }
}

impl Iterator for Lexer<'_> {
    type Item = Result<Token, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_to_word();
        let literal = *self.rest.peek()? == '"';
        let place = Place {
            file: Arc::clone(self.file),
            line: self.line,
        };
        let starts_line = std::mem::replace(&mut self.starts_line, false);
        let text = if literal {
            self.rest.next();
            match self.quoted() {
                Some(text) => text,
                None => return Some(Err(Fault::new(&place, "the quote doesn't end"))),
            }
        } else {
            self.plain()
        };
        Some(Ok(Token {
            text,
            place,
            starts_line,
            literal,
            upstream: false,
            unfilled: false,
        }))
    }
}

/// `{$NAME}` and `{%NAME%}`; those that aren't set come to nothing.
fn fill_variables(mut token: Token, environment: Environment<'_>) -> Token {
    for (start, end) in [("{%", "%}"), ("{$", "}")] {
        let mut filled = String::new();
        let mut rest = token.text.as_str();
        while let Some((before, after)) = rest.split_once(start) {
            let Some((name, after)) = after.split_once(end) else {
                break;
            };
            if name.is_empty() {
                break;
            }
            filled.push_str(before);
            filled.push_str(&environment(name).unwrap_or_default());
            token.literal = true;
            rest = after;
        }
        filled.push_str(rest);
        token.text = filled;
    }
    token
}
