//! Tokens → expression, with the precedence of Wireshark 4: `not`, then `and`, then `or`.

use std::ops::Range;

use super::advice::{examples, unexpected, unknown_field};
use super::error::FilterError;
use super::expr::{Expr, Member, Operand, Right};
use super::field::{Field, Kind, PROTOCOLS};
use super::lexer::{Comparison, Relation, Token, TokenKind, tokens};
use super::value::{self, Literal};
use crate::packet::Protocol;

/// Deepest nesting of parentheses and negations: far above what anyone writes, far below what
/// exhausts a stack.
const MAX_DEPTH: u32 = 100;

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
        tokens,
        at: 0,
        depth: 0,
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

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> TokenKind<'a> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> TokenKind<'a> {
        self.tokens
            .get(self.at + ahead)
            .map_or(TokenKind::End, |token| token.kind)
    }

    /// The next token; [`TokenKind::End`], which the lexer puts last, again and again.
    fn take(&mut self) -> Token<'a> {
        let token = self.tokens[self.at.min(self.tokens.len() - 1)].clone();
        self.at += 1;
        token
    }

    fn take_if(&mut self, kind: TokenKind<'_>) -> bool {
        let there = self.peek() == kind;
        self.at += usize::from(there);
        there
    }

    /// A fault at the next token.
    fn fault_here<T>(&mut self, message: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError::new(self.take().span, message))
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
            return self.fault_here(format!("the filter is nested over {MAX_DEPTH} deep"));
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
        let name = field_name(token)?;
        if quantifier.is_none()
            && let Some((_, protocol)) = PROTOCOLS.iter().find(|(known, _)| *known == name)
        {
            return self.protocol(*protocol, name);
        }
        let start = token.span.start;
        let operand = self.operand(name, token.span.clone())?;
        match self.peek() {
            TokenKind::Comparison(comparison) => {
                self.take();
                let comparison = Comparison {
                    all: quantifier.unwrap_or(comparison.all),
                    ..comparison
                };
                let (right, end) = self.right(operand, comparison.relation)?;
                Ok(Expr::Compare {
                    operand,
                    comparison,
                    right,
                    span: start..end,
                })
            }
            TokenKind::In => self.membership(operand, quantifier, start),
            TokenKind::Not if self.peek_at(1) == TokenKind::In => {
                self.take();
                Ok(Expr::Not(Box::new(
                    self.membership(operand, quantifier, start)?,
                )))
            }
            TokenKind::Text(word) => {
                self.fault_here(format!("`{word}` is for text, and `{name}` is not text"))
            }
            TokenKind::Slice => self.fault_here("slices are not supported"),
            _ if quantifier.is_some() => {
                self.fault_here("a comparison must follow `any` and `all`")
            }
            _ => Ok(Expr::Present(operand)),
        }
    }

    /// `in {…}` behind `operand`, which begins at `start`.
    fn membership(
        &mut self,
        operand: Operand,
        quantifier: Option<bool>,
        start: usize,
    ) -> Result<Expr, FilterError> {
        self.take();
        let (set, end) = self.set(operand)?;
        Ok(Expr::In {
            operand,
            all: quantifier.unwrap_or(false),
            set,
            span: start..end,
        })
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

/// The name that must begin a test.
fn field_name<'a>(token: &Token<'a>) -> Result<&'a str, FilterError> {
    let message = match token.kind {
        TokenKind::Word(name) => return Ok(name),
        TokenKind::Template => "a template can stand for a value only",
        TokenKind::End => "the filter ends where a field must stand",
        _ => "a field must stand here",
    };
    Err(FilterError::new(token.span.clone(), message))
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
