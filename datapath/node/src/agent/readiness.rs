//! Services follow the pods of this node: one that is not ready gets no traffic.

use std::collections::BTreeSet;

use lab_model::node_state::{Backend, NodeState};

use super::{Agent, AgentError, NodeView, log};

impl Agent {
    /// Takes the pods of this node that are not ready out of the services and redirects,
    /// and puts back those that are again.
    pub(super) fn follow_readiness(&mut self) {
        if let Err(error) = self.try_to_follow() {
            log::warn(format_args!("failed to {error}"));
        }
    }

    fn try_to_follow(&mut self) -> Result<(), AgentError> {
        let unready = self.pods.unready();
        let Some(state) = self.applied.clone() else {
            return Ok(());
        };
        if unready == self.unready {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.unready, unready);
        let view = NodeView::read(&mut self.netlink)?;
        if let Err(error) = self.reconcile_services(&state, &view) {
            // To be tried again at the next event.
            self.unready = before;
            return Err(error);
        }
        Ok(())
    }
}

/// The document without the backends that are not ready. A redirect without any
/// leads nowhere: traffic goes where it would have gone without it.
pub(super) fn without(state: &NodeState, unready: &BTreeSet<String>) -> NodeState {
    let mut state = state.clone();
    let ready = |backend: &Backend| !unready.contains(&backend.pod);
    for port in state.services.iter_mut().flat_map(|it| &mut it.ports) {
        port.backends.retain(ready);
    }
    for frontend in state.redirects.iter_mut().flat_map(|it| &mut it.frontends) {
        frontend.backends.retain(ready);
    }
    state
}
