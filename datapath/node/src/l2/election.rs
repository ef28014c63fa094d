//! Who announces: the first of the candidates whose agent is alive. Pure; the clock is the
//! caller's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long an agent may be silent before it counts as dead. Longer than its answers
/// last ([`super::responder::LEASE`]) and a turn together, so that two nodes never answer
/// for one address when the first of them dies.
pub(super) const SILENCE: Duration = Duration::from_secs(3);

/// What is known of the other agents.
#[derive(Debug)]
pub(super) struct Election {
    started: Instant,
    heard: BTreeMap<String, Instant>,
}

impl Election {
    /// Nobody was heard yet, and everybody may be alive: an agent that starts does not
    /// take what it has not waited for.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            heard: BTreeMap::new(),
        }
    }

    /// A node's agent answered.
    pub(super) fn heard(&mut self, node: &str, now: Instant) {
        self.heard.insert(node.to_owned(), now);
    }

    /// Whether `node` announces what these are the candidates for.
    pub(super) fn holds(&self, candidates: &[String], node: &str, now: Instant) -> bool {
        candidates.iter().any(|it| it == node)
            && before(candidates, node).all(|it| !self.is_alive(it, now))
    }

    fn is_alive(&self, node: &str, now: Instant) -> bool {
        let last = self.heard.get(node).copied().unwrap_or(self.started);
        now.saturating_duration_since(last) < SILENCE
    }
}

/// The candidates that come before `node`.
pub(super) fn before<'a>(candidates: &'a [String], node: &'a str) -> impl Iterator<Item = &'a str> {
    candidates
        .iter()
        .map(String::as_str)
        .take_while(move |it| *it != node)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Vec<String> {
        ["k8s-w1", "k8s-w2", "k8s-ctr"].map(str::to_owned).to_vec()
    }

    #[test]
    fn the_first_candidate_announces_at_once() {
        let now = Instant::now();
        let election = Election::new(now);
        let held: Vec<_> = names()
            .into_iter()
            .filter(|node| election.holds(&names(), node, now))
            .collect();
        assert_eq!(held, ["k8s-w1"]);
        assert!(!election.holds(&names(), "router", now), "no candidate");
    }

    #[test]
    fn the_next_takes_over_when_the_first_falls_silent_and_gives_up_when_it_is_back() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut election = Election::new(start);
        election.heard("k8s-w1", at(1000));
        assert!(!election.holds(&names(), "k8s-w2", at(3999)));
        assert!(election.holds(&names(), "k8s-w2", at(4000)));
        assert!(!Election::new(at(0)).holds(&names(), "k8s-ctr", at(2999)));
        election.heard("k8s-w1", at(9000));
        assert!(!election.holds(&names(), "k8s-w2", at(9001)));
    }

    #[test]
    fn an_agent_that_starts_waits_for_those_before_it() {
        let start = Instant::now();
        let election = Election::new(start);
        assert!(!election.holds(&names(), "k8s-w2", start));
        assert!(election.holds(&names(), "k8s-w2", start + SILENCE));
    }

    proptest! {
        /// Candidates that hear the same: exactly one announces, the first that is alive.
        #[test]
        fn exactly_one_announces(alive in proptest::collection::vec(any::<bool>(), 1..6)) {
            let candidates: Vec<_> = (0..alive.len()).map(|it| format!("node-{it}")).collect();
            let start = Instant::now();
            let now = start + SILENCE * 2;
            let mut election = Election::new(start);
            let living = || candidates.iter().zip(&alive).filter(|(_, alive)| **alive);
            for (node, _) in living() {
                election.heard(node, now);
            }
            let holders: Vec<_> = living()
                .filter(|(node, _)| election.holds(&candidates, node, now))
                .collect();
            let first: Vec<_> = living().take(1).collect();
            prop_assert_eq!(holders, first);
        }
    }
}
