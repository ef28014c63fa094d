//! DNS messages: queries as they come in, and answers as they go out.

mod query;

pub use query::{Edns, NameKey, Query, QueryError};
