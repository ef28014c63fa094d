//! Expression × packet → match.

use super::expr::{Expr, Member, Operand, Right};
use super::lexer::{Comparison, Relation};
use super::value::Literal;
use crate::packet::{Layers, Packet};

/// A packet that matches but for one comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// Byte range in the filter of the comparison that fails.
    pub comparison: std::ops::Range<usize>,
    /// Name of the field compared.
    pub field: &'static str,
    /// The field's values in the packet, outermost header first, as the filter writes them.
    pub values: Vec<String>,
}

/// Whether `packet` matches `expr`.
#[inline]
pub(super) fn matches(expr: &Expr, packet: &Packet<'_>, layers: &Layers<'_>) -> bool {
    match expr {
        Expr::True => true,
        Expr::Protocol(protocol) => layers.any(*protocol, |_| true),
        Expr::Present(operand) => {
            // A mask turns "is there" into "is any of these bits set".
            any(operand, packet, layers, |value| {
                operand.mask.is_none() || value != 0
            })
        }
        Expr::Compare {
            operand,
            comparison,
            right,
            ..
        } => match right {
            Right::Literal(literal) => {
                quantified(operand, comparison.all, packet, layers, |value| {
                    holds(*comparison, value, *literal)
                })
            }
            Right::Field(other) => compare_fields(operand, *comparison, other, packet, layers),
        },
        Expr::In {
            operand, all, set, ..
        } => quantified(operand, *all, packet, layers, |value| {
            set.iter().any(|member| contains(member, value))
        }),
        Expr::Not(inner) => !matches(inner, packet, layers),
        Expr::And(all) => all.iter().all(|expr| matches(expr, packet, layers)),
        Expr::Or(any) => any.iter().any(|expr| matches(expr, packet, layers)),
    }
}

/// Whether `test` holds for any value of the operand.
#[inline]
fn any(
    operand: &Operand,
    packet: &Packet<'_>,
    layers: &Layers<'_>,
    mut test: impl FnMut(u64) -> bool,
) -> bool {
    let mask = operand.mask.unwrap_or(u64::MAX);
    let mut number = 0;
    layers.any(operand.field.protocol, |layer| {
        number += 1;
        operand.layer.is_none_or(|wanted| wanted == number)
            && operand.field.any(packet, layer, |value| test(value & mask))
    })
}

/// Whether `test` holds for any value, or for all of them. Without a value nothing holds.
#[inline]
fn quantified(
    operand: &Operand,
    all: bool,
    packet: &Packet<'_>,
    layers: &Layers<'_>,
    test: impl Fn(u64) -> bool,
) -> bool {
    if !all {
        return any(operand, packet, layers, test);
    }
    let mut seen = false;
    let broken = any(operand, packet, layers, |value| {
        seen = true;
        !test(value)
    });
    seen && !broken
}

fn compare_fields(
    left: &Operand,
    comparison: Comparison,
    right: &Operand,
    packet: &Packet<'_>,
    layers: &Layers<'_>,
) -> bool {
    let present = any(right, packet, layers, |_| true);
    present
        && quantified(left, comparison.all, packet, layers, |value| {
            quantified(right, comparison.all, packet, layers, |other| {
                holds(comparison, value, Literal::exact(other))
            })
        })
}

#[inline]
fn holds(comparison: Comparison, value: u64, literal: Literal) -> bool {
    let (left, right) = (value & literal.mask, literal.value & literal.mask);
    match comparison.relation {
        Relation::Eq => left == right,
        Relation::Ne => left != right,
        Relation::Lt => left < right,
        Relation::Le => left <= right,
        Relation::Gt => left > right,
        Relation::Ge => left >= right,
    }
}

fn contains(member: &Member, value: u64) -> bool {
    match member {
        Member::Value(literal) => value & literal.mask == literal.value & literal.mask,
        Member::Range(range) => range.contains(&value),
    }
}

/// The one conjunct that `packet` fails, when it is a comparison and all others hold.
pub(super) fn near_miss(expr: &Expr, packet: &Packet<'_>, layers: &Layers<'_>) -> Option<NearMiss> {
    let Expr::And(conjuncts) = expr else {
        return None;
    };
    let mut failing = conjuncts
        .iter()
        .filter(|conjunct| !matches(conjunct, packet, layers));
    let (Some(conjunct), None) = (failing.next(), failing.next()) else {
        return None;
    };
    let (Expr::Compare { operand, span, .. } | Expr::In { operand, span, .. }) = conjunct else {
        return None;
    };
    let mut values = Vec::new();
    any(operand, packet, layers, |value| {
        values.push(operand.field.kind.show(value));
        false
    });
    (!values.is_empty()).then(|| NearMiss {
        comparison: span.clone(),
        field: operand.field.name,
        values,
    })
}
