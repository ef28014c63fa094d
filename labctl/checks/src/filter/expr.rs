//! A compiled filter: what it tests, in what order.

use std::ops::{Range, RangeInclusive};

use super::field::Field;
use super::lexer::Comparison;
use super::value::Literal;
use crate::packet::Protocol;

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
