//! DNS messages: queries as they come in, and answers as they go out.

mod query;
mod reply;
mod response;
mod walk;
mod zone;

pub use domain::base::iana::Rcode;
pub use query::{Edns, NameKey, Query, QueryError};
pub use reply::{Limits, fit, rcode_reply, refusal, withhold_ad};
pub use response::{Kind, Response, ResponseError, Section};
pub use zone::{Zone, ZoneError};

/// Octets before the question: ID, flags and counts.
pub const HEADER: usize = 12;
