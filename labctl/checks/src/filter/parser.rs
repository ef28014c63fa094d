//! Tokens → expression, with the precedence of Wireshark 4: `not`, then `and`, then `or`.

use std::iter::Peekable;
use std::ops::{Range, RangeInclusive};
use std::vec::IntoIter;

use lab_model::diagnostic::nearest;

use super::error::FilterError;
use super::field::{Field, Kind, PROTOCOLS, fields};
use super::lexer::{Comparison, Relation, Token, TokenKind, tokens};
use super::value::{self, Literal};
use crate::packet::Protocol;

/// Deepest nesting of parentheses and negations: far above what anyone writes, far below what
/// exhausts a stack.
const MAX_DEPTH: u32 = 100;

/// A filter as a tree.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    /// The empty filter.
    True,
    Protocol(Protocol),
    Present(Operand),
    Compare {
        operand: Operand,
        comparison: Comparison,
        right: Right,
        span: Range<usize>,
    },
    In {
        operand: Operand,
        all: bool,
        set: Vec<Member>,
        span: Range<usize>,
    },
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

/// The left side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub(super) field: &'static Field,
    /// `#N`: the Nth header of the field's protocol only.
    pub(super) layer: Option<u64>,
    /// `& N`.
    pub(super) mask: Option<u64>,
}

/// The right side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) enum Right {
    Literal(Literal),
    Field(Operand),
}

/// An element of a set.
#[derive(Clone, Debug)]
pub(super) enum Member {
    Value(Literal),
    Range(RangeInclusive<u64>),
}

/// What may stand where a value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    Literal,
    /// Also `{{ … }}`, which is taken for a value of the right kind.
    Template,
}

/// Compiles `text`.
pub(super) fn parse(text: &str, values: Values) -> Result<Expr, FilterError> {
    let tokens = tokens(text, values == Values::Template)?;
    let mut parser = Parser {
        tokens: tokens.into_iter().peekable(),
        depth: 0,
        end: text.len(),
    };
    if parser.peek() == TokenKind::End {
        return Ok(Expr::True);
    }
    let expr = parser.or()?;
    let token = parser.take();
    match token.kind {
        TokenKind::End => Ok(expr),
        _ => Err(unexpected(text, &token)),
    }
}

fn unexpected(text: &str, token: &Token<'_>) -> FilterError {
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

struct Parser<'a> {
    tokens: Peekable<IntoIter<Token<'a>>>,
    depth: u32,
    end: usize,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> TokenKind<'a> {
        self.tokens
            .peek()
            .map_or(TokenKind::End, |token| token.kind)
    }

    fn take(&mut self) -> Token<'a> {
        let end = self.end..self.end;
        self.tokens.next().unwrap_or(Token {
            kind: TokenKind::End,
            span: end,
        })
    }

    fn take_if(&mut self, kind: TokenKind<'_>) -> bool {
        self.tokens.next_if(|token| token.kind == kind).is_some()
    }

    fn or(&mut self) -> Result<Expr, FilterError> {
        let first = self.and()?;
        let mut all = vec![first];
        while self.take_if(TokenKind::Or) {
            all.push(self.and()?);
        }
        Ok(one_or(all, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr, FilterError> {
        let first = self.not()?;
        let mut all = vec![first];
        while self.take_if(TokenKind::And) {
            all.push(self.not()?);
        }
        Ok(one_or(all, Expr::And))
    }

    fn not(&mut self) -> Result<Expr, FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let span = self.take().span;
            return Err(FilterError::new(
                span,
                format!("the filter is nested over {MAX_DEPTH} deep"),
            ));
        }
        let expr = if self.take_if(TokenKind::Not) {
            Expr::Not(Box::new(self.not()?))
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn test(&mut self) -> Result<Expr, FilterError> {
        let token = self.take();
        match token.kind {
            TokenKind::Open => {
                let expr = self.or()?;
                let close = self.take();
                if close.kind != TokenKind::Close {
                    return Err(FilterError::new(close.span, "a `)` is missing here"));
                }
                Ok(expr)
            }
            TokenKind::Any | TokenKind::All => {
                let next = self.take();
                self.field_test(&next, Some(token.kind == TokenKind::All))
            }
            _ => self.field_test(&token, None),
        }
    }

    /// A test that begins with a field; `quantifier` is that of `any` or `all` before it.
    fn field_test(
        &mut self,
        token: &Token<'a>,
        quantifier: Option<bool>,
    ) -> Result<Expr, FilterError> {
        let name = match token.kind {
            TokenKind::Word(name) => name,
            TokenKind::Template => {
                return Err(FilterError::new(
                    token.span.clone(),
                    "a template can stand for a value only",
                ));
            }
            TokenKind::End => {
                return Err(FilterError::new(
                    token.span.clone(),
                    "the filter ends where a field must stand",
                ));
            }
            _ => {
                return Err(FilterError::new(
                    token.span.clone(),
                    "a field must stand here",
                ));
            }
        };
        if quantifier.is_none()
            && let Some((_, protocol)) = PROTOCOLS.iter().find(|(known, _)| *known == name)
        {
            return self.protocol(*protocol, name);
        }
        let operand = self.operand(name, token.span.clone())?;
        let negated = self.not_in();
        let next = self.peek();
        let expr = match next {
            TokenKind::Comparison(comparison) => {
                self.take();
                let all = quantifier.unwrap_or(comparison.all);
                let (right, end) = self.right(operand, comparison.relation)?;
                let comparison = Comparison { all, ..comparison };
                Expr::Compare {
                    operand,
                    comparison,
                    right,
                    span: token.span.start..end,
                }
            }
            TokenKind::In => {
                self.take();
                let (set, end) = self.set(operand)?;
                Expr::In {
                    operand,
                    all: quantifier.unwrap_or(false),
                    set,
                    span: token.span.start..end,
                }
            }
            TokenKind::Text(word) => {
                let span = self.take().span;
                return Err(FilterError::new(
                    span,
                    format!("`{word}` is for text, and `{name}` is not text"),
                ));
            }
            TokenKind::Slice => {
                let span = self.take().span;
                return Err(FilterError::new(span, "slices are not supported"));
            }
            _ if quantifier.is_some() => {
                let span = self.take().span;
                return Err(FilterError::new(
                    span,
                    "a comparison must follow `any` and `all`",
                ));
            }
            _ => Expr::Present(operand),
        };
        Ok(if negated {
            Expr::Not(Box::new(expr))
        } else {
            expr
        })
    }

    /// `not` before `in`: consumed only when `in` follows.
    fn not_in(&mut self) -> bool {
        let mut ahead = self.tokens.clone();
        let negated = ahead
            .next()
            .is_some_and(|token| token.kind == TokenKind::Not)
            && ahead
                .next()
                .is_some_and(|token| token.kind == TokenKind::In);
        negated && self.take_if(TokenKind::Not)
    }

    fn protocol(&mut self, protocol: Protocol, name: &str) -> Result<Expr, FilterError> {
        match self.peek() {
            TokenKind::Comparison(_) | TokenKind::In | TokenKind::Text(_) | TokenKind::Slice => {
                let span = self.take().span;
                Err(FilterError::new(
                    span,
                    format!("`{name}` is a protocol and has no value of its own"),
                )
                .help(format!("compare one of its fields: {}", examples(name))))
            }
            _ => Ok(Expr::Protocol(protocol)),
        }
    }

    fn operand(&mut self, name: &str, span: Range<usize>) -> Result<Operand, FilterError> {
        let field = Field::named(name).ok_or_else(|| unknown_field(name, span))?;
        let mut operand = Operand {
            field,
            layer: None,
            mask: None,
        };
        if self.take_if(TokenKind::Layer) {
            let (layer, span) = self.number("the number of a header must follow `#`")?;
            if layer == 0 {
                return Err(FilterError::new(span, "headers are counted from 1"));
            }
            operand.layer = Some(layer);
        }
        if self.take_if(TokenKind::Mask) {
            let (mask, span) = self.number("a number must follow `&`")?;
            if !matches!(field.kind, Kind::Number(_)) {
                return Err(FilterError::new(
                    span,
                    format!("`{name}` is not a number, and has no bits to mask"),
                ));
            }
            operand.mask = Some(mask);
        }
        Ok(operand)
    }

    fn number(&mut self, otherwise: &str) -> Result<(u64, Range<usize>), FilterError> {
        let token = self.take();
        match token.kind {
            TokenKind::Word(word) => Ok((value::number(word, token.span.clone())?, token.span)),
            TokenKind::Template => Ok((1, token.span)),
            _ => Err(FilterError::new(token.span, otherwise)),
        }
    }

    fn right(&mut self, left: Operand, relation: Relation) -> Result<(Right, usize), FilterError> {
        let token = self.take();
        if let TokenKind::Word(word) = token.kind
            && let Some(field) = Field::named(word)
        {
            let compatible = match (left.field.kind, field.kind) {
                (Kind::Number(_), Kind::Number(_)) => true,
                (left, right) => left == right,
            };
            if !compatible {
                return Err(FilterError::new(
                    token.span,
                    format!(
                        "`{word}` and `{}` hold different kinds of values",
                        left.field.name
                    ),
                ));
            }
            let end = token.span.end;
            return Ok((Right::Field(self.operand(word, token.span)?), end));
        }
        let end = token.span.end;
        let literal = literal(&token, left.field)?;
        if left.field.kind == Kind::Flag && !matches!(relation, Relation::Eq | Relation::Ne) {
            return Err(
                FilterError::new(token.span, format!("`{}` is a flag", left.field.name))
                    .help("compare it with `==` or `!=`"),
            );
        }
        Ok((Right::Literal(literal), end))
    }

    fn set(&mut self, operand: Operand) -> Result<(Vec<Member>, usize), FilterError> {
        let open = self.take();
        if open.kind != TokenKind::OpenBrace {
            return Err(FilterError::new(open.span, "a set must follow `in`")
                .help("write `in {80, 443, 8000..8080}`"));
        }
        let mut set = Vec::new();
        loop {
            set.push(self.member(operand)?);
            let token = self.take();
            match token.kind {
                TokenKind::Comma => {}
                TokenKind::CloseBrace => return Ok((set, token.span.end)),
                _ => {
                    return Err(FilterError::new(
                        token.span,
                        "a `,` or the `}` of the set is missing here",
                    ));
                }
            }
        }
    }

    fn member(&mut self, operand: Operand) -> Result<Member, FilterError> {
        let token = self.take();
        let first = literal(&token, operand.field)?;
        if !self.take_if(TokenKind::Range) {
            return Ok(Member::Value(first));
        }
        let token = self.take();
        let last = literal(&token, operand.field)?;
        if first.mask != u64::MAX && operand.field.kind != Kind::Ipv4 || first.mask != last.mask {
            return Err(FilterError::new(
                token.span,
                "a range goes from one value to another",
            ));
        }
        Ok(Member::Range(first.value..=last.value))
    }
}

/// Reads the value that `token` is.
fn literal(token: &Token<'_>, field: &Field) -> Result<Literal, FilterError> {
    let span = token.span.clone();
    match token.kind {
        TokenKind::Word(word) => value::parse(word, field, span),
        TokenKind::Template => Ok(Literal::exact(0)),
        TokenKind::Quoted => Err(FilterError::new(
            span,
            format!("`{}` does not hold text", field.name),
        )
        .help("write the value without quotes")),
        TokenKind::End => Err(FilterError::new(
            span,
            format!("a value for `{}` is missing here", field.name),
        )),
        _ => Err(FilterError::new(
            span,
            format!("a value for `{}` must stand here", field.name),
        )),
    }
}

fn one_or(mut all: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    if all.len() > 1 {
        join(all)
    } else {
        all.pop().unwrap_or(Expr::True)
    }
}

fn unknown_field(name: &str, span: Range<usize>) -> FilterError {
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

fn examples(protocol: &str) -> String {
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
