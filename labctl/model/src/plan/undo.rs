//! The way back: what undoes each action, and in which order.

use std::collections::BTreeSet;

use super::action::Action;

/// How a finished action is taken back.
#[derive(Clone, Debug, PartialEq)]
pub enum Undo {
    /// By this action.
    By(Action),
    /// It only mended what was broken, or another undo covers it.
    Nothing,
    /// Not at all; the words say what stays different.
    Lost(String),
}

/// What takes back `done`, in the order in which to do it: backwards. Of a lab
/// that this very run began, nodes and segment go whole, with all that is in them.
#[must_use]
pub fn undo(done: &[Action]) -> Vec<Undo> {
    let whole = done
        .iter()
        .any(|action| matches!(action, Action::CreateLab { .. }));
    let made: BTreeSet<&str> = done
        .iter()
        .filter_map(|action| match action {
            Action::CreateNode { node, .. } => Some(node.as_str()),
            _ => None,
        })
        .collect();
    let in_made = |action: &Action| action.node().is_some_and(|node| made.contains(node));
    let kept = done.iter().rev().filter(|action| match action {
        // Pods and datapath go with the node.
        Action::ApplyState { .. } => !in_made(action),
        _ => true,
    });
    kept.map(Action::undo)
        .filter(|way| match way {
            Undo::By(action) => !whole || action.removes_whole(),
            Undo::Nothing => false,
            Undo::Lost(_) => true,
        })
        .collect()
}

impl Action {
    const fn removes_whole(&self) -> bool {
        matches!(
            self,
            Self::DeleteNode { .. } | Self::DeleteSegment | Self::RemoveLab { .. }
        )
    }

    /// What takes this action back.
    #[must_use]
    pub fn undo(&self) -> Undo {
        match self.clone() {
            Self::CreateLab { lab } => Undo::By(Self::RemoveLab { lab }),
            Self::CreateSegment => Undo::By(Self::DeleteSegment),
            Self::CreateNode { node, .. } => Undo::By(Self::DeleteNode { node }),
            Self::AttachSegment { port, .. } => Undo::By(Self::DetachSegment { port }),
            Self::AttachOutside {
                world: node,
                port: interface,
                ..
            }
            | Self::AddDummy {
                node, interface, ..
            } => Undo::By(Self::DeleteInterface { node, interface }),
            Self::AddAddress {
                node,
                interface,
                address,
            } => Undo::By(Self::DeleteAddress {
                node,
                interface,
                address,
            }),
            Self::DeleteAddress {
                node,
                interface,
                address,
            } => Undo::By(Self::AddAddress {
                node,
                interface,
                address,
            }),
            Self::SetForwarding { node, enabled } => Undo::By(Self::SetForwarding {
                node,
                enabled: !enabled,
            }),
            Self::DeleteRoute { node, route } => Undo::By(Self::ReplaceRoute {
                node,
                route,
                was: None,
            }),
            Self::ReplaceRoute {
                node,
                route,
                was: None,
            } => Undo::By(Self::DeleteRoute { node, route }),
            Self::ReplaceRoute {
                node,
                route,
                was: Some(before),
            } => Undo::By(Self::ReplaceRoute {
                node,
                route: before,
                was: Some(route),
            }),
            Self::DeleteNeighbour { node, neighbour } => {
                Undo::By(Self::SetNeighbour { node, neighbour })
            }
            Self::SetNeighbour { node, neighbour } => {
                Undo::By(Self::DeleteNeighbour { node, neighbour })
            }
            Self::SetHosts { node, hosts, was } => Undo::By(Self::SetHosts {
                node,
                hosts: was,
                was: hosts,
            }),
            Self::StartService { node, service } => Undo::By(Self::StopService {
                node,
                was: Some(service),
            }),
            Self::StopService {
                node,
                was: Some(service),
            } => Undo::By(Self::StartService { node, service }),
            Self::StartAgent { node } => Undo::By(Self::StopAgent { node }),
            Self::StopAgent { node } => Undo::By(Self::StartAgent { node }),
            Self::ApplyState {
                node,
                state,
                was: Some(before),
            } => Undo::By(Self::ApplyState {
                node,
                state: before,
                was: Some(state),
            }),
            Self::ApplyState {
                node, was: None, ..
            } => Undo::Lost(format!(
                "pods and datapath of {node} stay as far as they were made"
            )),
            Self::StopService { was: None, .. } | Self::ConnectPort { .. } | Self::SetUp { .. } => {
                Undo::Nothing
            }
            Self::DetachSegment { port } => Undo::Lost(format!("port {port} stays removed")),
            Self::DeleteInterface { node, interface } => {
                Undo::Lost(format!("{interface} of {node} stays removed"))
            }
            Self::DeleteNode { node } => Undo::Lost(format!("{node} stays removed")),
            Self::DeleteSegment => Undo::Lost("the segment stays removed".to_owned()),
            Self::RemoveLab { lab } => Undo::Lost(format!("the state of {lab} stays removed")),
        }
    }
}
