//! Verdicts, and the report of a check as `-o json` prints it.

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;

/// What is concluded of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything was as expected.
    Passed,
    /// Something was not.
    Failed {
        /// What.
        evidence: Evidence,
    },
    /// Nothing can be concluded.
    Error {
        /// Why.
        reason: String,
    },
    /// It was left out.
    Skipped {
        /// Why.
        why: String,
    },
    /// The run ended before its turn.
    NotRun,
}

impl Verdict {
    /// The verdict in one or two words, as tables show it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed { .. } => "failed",
            Self::Error { .. } => "error",
            Self::Skipped { .. } => "skipped",
            Self::NotRun => "not run",
        }
    }

    /// Whether it is [`Verdict::Passed`].
    #[must_use]
    pub const fn is_passed(&self) -> bool {
        matches!(self, Self::Passed)
    }
}

/// What is concluded of a twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum TwinVerdict {
    /// The check failed under the twin's change, as it must: the check can tell.
    Red {
        /// How it failed.
        evidence: Evidence,
    },
    /// The check passed under a change that should break it: it proves nothing.
    StayedGreen,
    /// The check came to no conclusion under the change, which is not a failure.
    Inconclusive {
        /// Why.
        reason: String,
    },
}

impl TwinVerdict {
    /// Whether it is [`TwinVerdict::Red`].
    #[must_use]
    pub const fn is_red(&self) -> bool {
        matches!(self, Self::Red { .. })
    }
}

/// Judges a twin by the verdict of the check under its change.
#[must_use]
pub fn judge_twin(under_change: Verdict) -> TwinVerdict {
    match under_change {
        Verdict::Failed { evidence } => TwinVerdict::Red { evidence },
        Verdict::Passed => TwinVerdict::StayedGreen,
        Verdict::Error { reason } => TwinVerdict::Inconclusive { reason },
        Verdict::Skipped { why } => TwinVerdict::Inconclusive {
            reason: format!("skipped: {why}"),
        },
        Verdict::NotRun => TwinVerdict::Inconclusive {
            reason: "not run".to_owned(),
        },
    }
}

/// One check in the report: an element of what `labctl check -o json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Name of the suite.
    pub suite: String,
    /// Name of the check.
    pub check: String,
    /// The check's `why`.
    pub why: String,
    /// What is concluded.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What is concluded of its twin, when that was run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub twin: Option<TwinVerdict>,
}
