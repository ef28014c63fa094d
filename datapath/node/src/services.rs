//! The services of a node: from the document to the maps that the programs read.
//!
//! ```text
//! NodeState ─► frontends ─► entries (with ids) ─► steps ─► maps
//! ```
//!
//! Pure up to the last arrow: [`frontends`] says what is translated to what,
//! [`ids`] keeps numbers, [`entries`] lays it out, [`steps`] orders the changes.

pub(crate) mod entries;
pub(crate) mod frontends;
pub(crate) mod ids;
pub(crate) mod netns_cookie;
pub(crate) mod steps;

#[cfg(test)]
mod tests;
