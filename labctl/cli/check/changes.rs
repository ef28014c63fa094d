//! What a check changes in the lab, and how each change is taken back.
//!
//! Changes are taken back backwards, also after a failure or an interrupt. A route
//! goes by the opposite `ip` command. For links and values the lab's own plan does
//! it: whatever a link took down with it is in that plan.

use std::time::Duration;

use lab_checks::check_file::{LinkState, RouteChange, Target};
use lab_cluster::Object;
use lab_model::values::{Values, ValuesPatch};

use super::command::{CommandError, Ended};
use super::place::run_in;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::live::LiveLab;
use crate::progress::Progress;

/// How long one `ip` may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a change could not be made or taken back.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    /// The command did not run.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The command complained.
    #[error("{command} on {on}: {complaint}")]
    Refused {
        /// The whole command line.
        command: String,
        /// Node or pod.
        on: String,
        /// Its first line on standard error.
        complaint: String,
    },
    /// The values or objects do not fit, or the node agents did not take them.
    #[error("{0}")]
    Values(String),
}

/// Undoes one change.
enum Undo {
    /// By a command; that there is nothing to be undone any more is fine.
    Ip { on: Target, arguments: Vec<String> },
    /// By the lab's own plan.
    Plan,
}

/// The changes of one check so far.
pub(super) struct Changes<'a> {
    live: &'a LiveLab,
    values: Values,
    pub(super) objects: Vec<Object>,
    undo: Vec<Undo>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(live: &'a LiveLab) -> Self {
        Self {
            live,
            values: live.sources.lab.values.clone(),
            objects: live.sources.objects.clone(),
            undo: Vec::new(),
        }
    }

    /// Adds or deletes a route.
    pub(super) fn route(
        &mut self,
        on: &Target,
        change: &RouteChange,
        interrupt: &Interrupt,
    ) -> Result<(), ChangeError> {
        let (does, undoes) = match change {
            RouteChange::Add { to, via } => {
                let route = [to.to_string(), "via".to_owned(), via.to_string()];
                (
                    words("route add", route.clone()),
                    vec![words("route del", route)],
                )
            }
            RouteChange::Del { to } => {
                let shown = ip(
                    self.live,
                    on,
                    &words("route show exact", [to.to_string()]),
                    interrupt,
                )?;
                let restore = |line: &str| words("route add", route_words(line));
                let undoes = shown.stdout.lines().map(restore).collect();
                (words("route del", [to.to_string()]), undoes)
            }
        };
        ip(self.live, on, &does, interrupt)?;
        let undoes = undoes.into_iter();
        self.undo.extend(undoes.map(|arguments| Undo::Ip {
            on: on.clone(),
            arguments,
        }));
        Ok(())
    }

    /// Sets a link up or down.
    pub(super) fn link(
        &mut self,
        on: &Target,
        interface: &str,
        state: LinkState,
        interrupt: &Interrupt,
    ) -> Result<(), ChangeError> {
        let word = |state| if state == LinkState::Up { "up" } else { "down" };
        let set = |state| words("link set", [interface.to_owned(), word(state).to_owned()]);
        // Taken back by the plan as well: an interface that was down comes back
        // without its routes.
        self.undo.push(Undo::Plan);
        ip(self.live, on, &set(state), interrupt)?;
        if state == LinkState::Down {
            self.undo.push(Undo::Ip {
                on: on.clone(),
                arguments: set(LinkState::Up),
            });
        }
        Ok(())
    }

    /// Lays values over those of the lab and of earlier steps, and has the node
    /// agents apply what comes of it.
    pub(super) fn values(
        &mut self,
        patch: &ValuesPatch,
        interrupt: &Interrupt,
    ) -> Result<(), ChangeError> {
        let told = |told: String| ChangeError::Values(told);
        let values = self
            .values
            .overlay(&patch.0)
            .map_err(|error| told(error.to_string()))?;
        let before = std::mem::replace(&mut self.values, values);
        let applied = self.recompute("set values", interrupt);
        if applied.is_err() {
            self.values = before;
        }
        applied
    }

    /// Has the node agents apply what the values and objects, as they are now, come to.
    pub(super) fn recompute(
        &mut self,
        what: &str,
        interrupt: &Interrupt,
    ) -> Result<(), ChangeError> {
        let told = |told: String| ChangeError::Values(told);
        let mut lab = self.live.sources.lab.clone();
        lab.values = self.values.clone();
        let allocations = &self.live.cluster.allocations;
        let cluster = lab_cluster::compute(&lab, &self.objects, allocations)
            .map_err(|faults| told(format!("{what}: {faults}")))?;
        self.undo.push(Undo::Plan);
        self.live
            .apply_states(&lab, &cluster.node_states, interrupt)
            .map_err(|failure| told(text_of(failure)))
    }

    /// Takes everything back, last change first. Goes on when one cannot be taken
    /// back, and names them all.
    pub(super) fn revert(mut self) -> Result<(), Vec<ChangeError>> {
        // An interrupt has been heard by now; the lab is put in order regardless.
        let undisturbed = Interrupt::default();
        let mut faults = Vec::new();
        let planned = self.undo.iter().any(|undo| matches!(undo, Undo::Plan));
        while let Some(undo) = self.undo.pop() {
            let Undo::Ip { on, arguments } = undo else {
                continue;
            };
            if let Err(fault) = ip(self.live, &on, &arguments, &undisturbed)
                && !is_gone(&fault)
            {
                faults.push(fault);
            }
        }
        if planned && let Err(failure) = converge(self.live, &undisturbed) {
            faults.push(ChangeError::Values(text_of(failure)));
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        }
    }
}

/// Makes the lab what its files say.
fn converge(live: &LiveLab, interrupt: &Interrupt) -> Result<(), Failure> {
    let plan = live.plan()?;
    live.execute(&plan, interrupt, &Progress::new(plan.steps.len(), true))
}

fn ip(
    live: &LiveLab,
    on: &Target,
    arguments: &[String],
    interrupt: &Interrupt,
) -> Result<Ended, ChangeError> {
    let mut argv = vec!["ip".to_owned()];
    argv.extend_from_slice(arguments);
    let ended = run_in(live, on, &argv, LIMIT, interrupt)?;
    if ended.exit == 0 {
        return Ok(ended);
    }
    let complaint = ended
        .stderr
        .lines()
        .next()
        .unwrap_or("no word why")
        .to_owned();
    Err(ChangeError::Refused {
        command: argv.join(" "),
        on: on.to_string(),
        complaint,
    })
}

/// Whether what was to be undone is gone already: a route goes with its link
/// (ESRCH), a link with its namespace.
fn is_gone(fault: &ChangeError) -> bool {
    let ChangeError::Refused { complaint, .. } = fault else {
        return false;
    };
    ["No such process", "File exists", "Cannot find device"]
        .iter()
        .any(|it| complaint.contains(it))
}

fn words(command: &str, arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    command
        .split(' ')
        .map(str::to_owned)
        .chain(arguments)
        .collect()
}

/// A line of `ip route show` as arguments of `ip route add`: without what only tells
/// the state of the link.
fn route_words(line: &str) -> Vec<String> {
    let states = ["linkdown", "dead"];
    line.split_whitespace()
        .filter(|word| !states.contains(word))
        .map(str::to_owned)
        .collect()
}

fn text_of(failure: Failure) -> String {
    match failure {
        Failure::Because { message, .. }
        | Failure::NotExecuted { message, .. }
        | Failure::Usage(message) => message,
        Failure::Faults(faults) => faults.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_route_can_be_added_again() {
        let line = "10.10.0.0/16 via 192.168.10.200 dev eth1 proto static linkdown ";
        assert_eq!(
            words("route add", route_words(line)).join(" "),
            "route add 10.10.0.0/16 via 192.168.10.200 dev eth1 proto static"
        );
    }
}
