//! Programs onto interfaces, and off them: by TCX links since Linux 6.6, by clsact
//! filters before. Both outlive the agent.

use std::collections::BTreeSet;
use std::fmt;

use aya::programs::TcAttachType;
use aya::util::KernelVersion;
use lab_datapath_common::programs;

use super::clsact::Filters;
use super::tcx::Links;
use super::{Datapath, DatapathError, classifier};
use crate::api::AttachMode;
use crate::netlink::Side;

/// A place in the way of packets, and the program there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hook {
    /// `lxc…`, what a pod sends.
    FromContainer,
    /// `lxc…`, what a pod receives through the stack.
    ToContainer,
    /// A managed device, what comes in.
    FromNetdev,
    /// A managed device, what goes out.
    ToNetdev,
    /// The tunnel's device, what comes out of the tunnel.
    FromOverlay,
    /// The tunnel's device, what goes into it.
    ToOverlay,
    /// `cilium_host`, what the stack sends to pods of other nodes.
    FromHost,
    /// `cilium_host` and `cilium_net`, what the host gets from them.
    ToHost,
}

impl Hook {
    /// Those of a pod's node-side interface.
    pub(crate) const CONTAINER: [Self; 2] = [Self::FromContainer, Self::ToContainer];
    /// Those of a managed device.
    pub(crate) const NETDEV: [Self; 2] = [Self::FromNetdev, Self::ToNetdev];
    /// Those of the tunnel's device.
    pub(crate) const OVERLAY: [Self; 2] = [Self::FromOverlay, Self::ToOverlay];
    pub(super) const ALL: [Self; 8] = [
        Self::FromContainer,
        Self::ToContainer,
        Self::FromNetdev,
        Self::ToNetdev,
        Self::FromOverlay,
        Self::ToOverlay,
        Self::FromHost,
        Self::ToHost,
    ];

    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::FromContainer => programs::FROM_CONTAINER,
            Self::ToContainer => programs::TO_CONTAINER,
            Self::FromNetdev => programs::FROM_NETDEV,
            Self::ToNetdev => programs::TO_NETDEV,
            Self::FromOverlay => programs::FROM_OVERLAY,
            Self::ToOverlay => programs::TO_OVERLAY,
            Self::FromHost => programs::FROM_HOST,
            Self::ToHost => programs::TO_HOST,
        }
    }

    pub(super) const fn side(self) -> Side {
        match self {
            Self::FromContainer | Self::FromNetdev | Self::FromOverlay | Self::ToHost => {
                Side::Ingress
            }
            Self::ToContainer | Self::ToNetdev | Self::ToOverlay | Self::FromHost => Side::Egress,
        }
    }

    /// The same in aya's words.
    pub(super) const fn attach_type(self) -> TcAttachType {
        match self.side() {
            Side::Ingress => TcAttachType::Ingress,
            Side::Egress => TcAttachType::Egress,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

impl AttachMode {
    /// The best that the running kernel has: TCX links came with Linux 6.6.
    #[must_use]
    pub fn of_kernel() -> Self {
        match KernelVersion::current() {
            Ok(version) if version >= KernelVersion::new(6, 6, 0) => Self::Tcx,
            _ => Self::Clsact,
        }
    }
}

/// What holds programs on interfaces.
pub(super) enum Attachments {
    Tcx(Links),
    Clsact(Filters),
}

impl Datapath {
    /// Makes the program of `hook` the one at `interface`, which has the index `index`. One
    /// of an earlier agent goes in the same instant.
    pub(crate) fn attach(
        &mut self,
        hook: Hook,
        interface: &str,
        index: u32,
    ) -> Result<(), DatapathError> {
        let program = classifier(&mut self.ebpf, hook.program())?;
        match &mut self.attachments {
            Attachments::Tcx(links) => links.attach(program, hook, interface),
            Attachments::Clsact(filters) => filters.attach(program, hook, index),
        }
        .map_err(|reason| DatapathError::Attach {
            program: hook.program(),
            interface: interface.to_owned(),
            reason,
        })
    }

    /// Whether this agent's program of `hook` is at `interface` now.
    pub(crate) fn is_attached(&mut self, hook: Hook, interface: &str, index: u32) -> bool {
        let own = classifier(&mut self.ebpf, hook.program())
            .ok()
            .and_then(|program| program.info().ok())
            .map(|info| info.id());
        own.is_some_and(|own| match &mut self.attachments {
            Attachments::Tcx(_) => Links::has(hook, interface, own),
            Attachments::Clsact(filters) => filters.has(hook, index, own),
        })
    }

    /// Takes programs, also of earlier agents, off all interfaces but these, and forgets
    /// interfaces that are gone.
    pub(crate) fn detach_others(&mut self, keep: &BTreeSet<&str>) -> Result<(), DatapathError> {
        match &mut self.attachments {
            Attachments::Tcx(links) => links.retain(keep),
            Attachments::Clsact(filters) => filters.retain(keep),
        }
    }
}
