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

#[cfg(test)]
mod tests {
    use lab_model::node_state::{LocalRedirect, Protocol, RedirectFrontend};

    use super::*;
    use crate::agent::tests::document;

    #[test]
    fn a_redirect_to_a_pod_that_is_not_ready_leads_nowhere() {
        let mut state = document("k8s-ctr", 0);
        let backend = |pod: &str| Backend {
            pod: pod.to_owned(),
            node: "k8s-ctr".to_owned(),
            address: [10, 244, 0, 9].into(),
            port: 53,
        };
        state.redirects = vec![LocalRedirect {
            namespace: "kube-system".to_owned(),
            name: "nodelocaldns".to_owned(),
            skip_redirect_from_backend: false,
            frontends: vec![RedirectFrontend {
                service: Some("kube-system/kube-dns".to_owned()),
                address: [10, 96, 0, 10].into(),
                port: 53,
                protocol: Protocol::Udp,
                backends: vec![backend("kube-system/cache"), backend("kube-system/other")],
            }],
        }];
        assert_eq!(without(&state, &BTreeSet::new()), state);
        let unready = BTreeSet::from(["kube-system/cache".to_owned()]);
        let left = without(&state, &unready);
        let frontend = &left.redirects[0].frontends[0];
        assert_eq!(frontend.backends, [backend("kube-system/other")]);
    }
}
