//! What the plugins that answer from local data (`template`, `hosts`,
//! `kubernetes`, a zone file) have in common.

mod alias;
#[cfg(test)]
pub(crate) mod asking;
mod local_plugins;
mod local_reply;
mod zones;

use crate::clock::Time;
use crate::message::Query;

pub use alias::Alias;
pub use local_plugins::{LocalData, LocalPlugin, LocalPluginError, local_plugins};
pub(crate) use local_reply::{LocalReply, Section, Speaker};
pub(crate) use zones::{Passing, Presented, Zones, wire_name};

/// What a plugin makes of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole message: ID and question those of the query, QR set, without OPT,
    /// uncut. Fitting it to the client is the server's.
    Answer(Vec<u8>),
    /// A message that isn't whole yet: what the server answers for another name belongs to it.
    Alias(Alias),
    /// The next plugin's turn.
    Next,
    /// The plugin failed: SERVFAIL, and this in the error log.
    Failed(String),
}

/// Answers from data that is at hand, without waiting.
pub trait LocalAnswers: Send + Sync {
    /// The answer to `query`, whose name lies in the block's zone.
    fn answer(&self, query: &Query<'_>, now: Time) -> Step;
}
