//! A subset of Wireshark's display-filter language over the headers labctl reads.
//!
//! A filter is compiled once ([`Filter::parse`]) and evaluated per packet
//! ([`Filter::matches`]) without allocation. Where a filter is accepted it means what
//! it means to tshark 4.0 (with `ip.defragment` off); what the subset leaves out is
//! rejected with the place and the way to write it instead, never read differently.
//!
//! The pipeline is text → [`lexer`] → [`parser`] → [`eval`], over the table in [`field`].

mod advice;
mod error;
mod eval;
mod expr;
pub mod field;
mod lexer;
mod parser;
mod value;

pub use error::FilterError;
pub use eval::NearMiss;
pub use field::{Field, Kind};

use crate::packet::{Layers, Packet};
use expr::Expr;

/// A compiled display filter.
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    expr: Expr,
}

impl Filter {
    /// Compiles `text`. An empty filter matches every packet.
    ///
    /// # Errors
    ///
    /// Anything outside the subset, with its place in `text`.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let expr = parser::parse(text, parser::Values::Literal)?;
        Ok(Self {
            text: text.to_owned(),
            expr,
        })
    }

    /// Checks a filter in which `{{ … }}` stand for values that are not known yet.
    ///
    /// # Errors
    ///
    /// As [`Filter::parse`], except for the values of templates.
    pub fn check_template(text: &str) -> Result<(), FilterError> {
        // Blocks can produce any text; only the rendered filter tells.
        if text.contains("{%") {
            return Ok(());
        }
        parser::parse(text, parser::Values::Template).map(drop)
    }

    /// Whether `packet` matches.
    #[must_use]
    #[inline]
    pub fn matches(&self, packet: &Packet<'_>) -> bool {
        eval::matches(&self.expr, packet, &Layers::of(packet))
    }

    /// Where `packet` fails to match for one comparison alone, that comparison and what the
    /// packet has instead: the packet that was probably meant, changed on its way.
    #[must_use]
    pub fn near_miss(&self, packet: &Packet<'_>) -> Option<NearMiss> {
        eval::near_miss(&self.expr, packet, &Layers::of(packet))
    }

    /// The filter as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}
