//! `owner.json`: whose node this machine is, and what it was like before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use lab_model::plan::{ObservedNode, Route, SEGMENT_INTERFACE};
use serde::{Deserialize, Serialize};

use super::api::Owner;
use super::kept::Kept;
use super::places::home;
use super::{MachineError, files};

const FILE: &str = "owner.json";

/// A claim, written before anything is changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Claimed {
    #[serde(flatten)]
    pub(super) owner: Owner,
    pub(super) before: Before,
}

/// What was there before the claim, and is there again after the release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Before {
    /// The host name.
    pub(super) host_name: String,
    /// Values of kernel settings that labctl or its agent changes.
    pub(super) settings: BTreeMap<String, String>,
    /// IPv4 addresses by interface.
    pub(super) addresses: BTreeMap<String, BTreeSet<Ipv4Net>>,
    /// Routes with `proto static`.
    pub(super) static_routes: BTreeSet<Route>,
    /// Whether the lab's interface was up.
    pub(super) was_up: bool,
    /// What labctl mounts, for it was not there.
    pub(super) mounts: Vec<PathBuf>,
}

impl Claimed {
    /// The claim on this machine; none when nobody has claimed it.
    pub(super) fn read() -> Result<Option<Self>, MachineError> {
        files::read(&home(FILE))
    }

    pub(super) fn write(&self) -> Result<(), MachineError> {
        files::write(&home(FILE), self)
    }

    /// Whether `owner` may claim a machine that `self` has, or take it up again.
    pub(super) fn admits(&self, owner: &Owner) -> bool {
        let who = |it: &Owner| (it.lab.clone(), it.node.clone(), it.owner.clone());
        who(&self.owner) == who(owner)
    }
}

impl Before {
    /// Takes out of `node` what was there before the claim and is no part of the
    /// lab, so that no plan is made about it.
    pub(super) fn hide(&self, node: &mut ObservedNode, kept: &Kept) {
        if let Some(segment) = node.interfaces.get_mut(SEGMENT_INTERFACE) {
            let was = self.addresses.get(SEGMENT_INTERFACE);
            let is = kept.addresses.get(SEGMENT_INTERFACE);
            let ours = |address: &Ipv4Net| is.is_some_and(|it| it.contains(address));
            let before = |address: &Ipv4Net| was.is_some_and(|it| it.contains(address));
            segment.addresses.retain(|it| ours(it) || !before(it));
        }
        let foreign = |it: &Route| self.static_routes.contains(it) && !kept.routes.contains(it);
        node.static_routes.retain(|route| !foreign(route));
    }
}
