//! Programs onto interfaces, and off them.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use aya::programs::links::{FdLink, LinkError, LinkOrder, PinnedLink};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use lab_datapath_common::programs;

use super::{Datapath, DatapathError, LINKS, chain, classifier};
use crate::api::AttachMode;

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
}

impl Hook {
    /// Those of a pod's node-side interface.
    pub(crate) const CONTAINER: [Self; 2] = [Self::FromContainer, Self::ToContainer];
    /// Those of a managed device.
    pub(crate) const NETDEV: [Self; 2] = [Self::FromNetdev, Self::ToNetdev];

    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::FromContainer => programs::FROM_CONTAINER,
            Self::ToContainer => programs::TO_CONTAINER,
            Self::FromNetdev => programs::FROM_NETDEV,
            Self::ToNetdev => programs::TO_NETDEV,
        }
    }

    pub(super) const fn side(self) -> TcAttachType {
        match self {
            Self::FromContainer | Self::FromNetdev => TcAttachType::Ingress,
            Self::ToContainer | Self::ToNetdev => TcAttachType::Egress,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// What this agent attached, by interface and by the index it had then: an
/// interface that was made anew under the same name has another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attached {
    interface: String,
    index: u32,
    hook: Hook,
}

/// TCX links since Linux 6.6, clsact filters before.
pub(super) fn mode() -> AttachMode {
    let has_tcx = KernelVersion::current().is_ok_and(|it| it >= KernelVersion::new(6, 6, 0));
    if has_tcx {
        AttachMode::Tcx
    } else {
        AttachMode::Clsact
    }
}

impl Datapath {
    /// Attaches the program of `hook` to `interface`, which has the index
    /// `index`, unless this was done before. A link that an earlier agent pinned
    /// gets the new program in the old one's place, without a gap.
    pub(crate) fn attach(
        &mut self,
        hook: Hook,
        interface: &str,
        index: u32,
    ) -> Result<(), DatapathError> {
        let attached = Attached {
            interface: interface.to_owned(),
            index,
            hook,
        };
        if self.attached.contains(&attached) {
            return Ok(());
        }
        let pin = self.link_pin(hook, interface);
        let mode = self.mode;
        let program = classifier(&mut self.ebpf, hook.program())?;
        match mode {
            AttachMode::Tcx => attach_tcx(program, hook, interface, &pin),
            AttachMode::Clsact => attach_clsact(program, hook, interface),
        }
        .map_err(|reason| DatapathError::Attach {
            program: hook.program(),
            interface: interface.to_owned(),
            reason,
        })?;
        self.attached.insert(attached);
        Ok(())
    }

    /// Forgets an interface that is gone, and removes its pins.
    pub(crate) fn forget(&mut self, interface: &str) -> Result<(), DatapathError> {
        self.attached
            .retain(|attached| attached.interface != interface);
        for hook in [Hook::CONTAINER, Hook::NETDEV].concat() {
            let path = self.link_pin(hook, interface);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(DatapathError::File {
                        what: "remove",
                        path,
                        source: error,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Interfaces with pinned links, also of earlier agents.
    pub(crate) fn pinned_interfaces(&self) -> Result<Vec<String>, DatapathError> {
        let folder = self.folder.join(LINKS);
        let fault = |source| DatapathError::File {
            what: "list",
            path: folder.clone(),
            source,
        };
        let mut interfaces = Vec::new();
        for entry in fs::read_dir(&folder).map_err(fault)? {
            let name = entry.map_err(fault)?.file_name();
            let interface = name.to_str().and_then(|name| name.split_once('-'));
            interfaces.extend(interface.map(|(_, interface)| interface.to_owned()));
        }
        interfaces.sort();
        interfaces.dedup();
        Ok(interfaces)
    }

    /// Whether the program of `hook` is at `interface` now. Under clsact only
    /// what this agent did is known.
    pub(crate) fn is_attached(&mut self, hook: Hook, interface: &str, index: u32) -> bool {
        if self.mode == AttachMode::Clsact {
            let interface = interface.to_owned();
            return self.attached.contains(&Attached {
                interface,
                index,
                hook,
            });
        }
        let own = classifier(&mut self.ebpf, hook.program())
            .ok()
            .and_then(|program| program.info().ok())
            .map(|info| info.id());
        let there = SchedClassifier::query_tcx(interface, hook.side());
        there.is_ok_and(|(_, programs)| programs.iter().any(|it| Some(it.id()) == own))
    }

    /// Makes [`Datapath::attach`] look again at what this agent remembers to have
    /// attached: somebody may have detached it by hand.
    pub(crate) fn mistrust(&mut self, hook: Hook, interface: &str) {
        self.attached
            .retain(|it| (it.hook, it.interface.as_str()) != (hook, interface));
    }

    fn link_pin(&self, hook: Hook, interface: &str) -> PathBuf {
        self.folder
            .join(LINKS)
            .join(format!("{}-{interface}", hook.program()))
    }
}

fn attach_tcx(
    program: &mut SchedClassifier,
    hook: Hook,
    interface: &str,
    pin: &PathBuf,
) -> Result<(), String> {
    match PinnedLink::from_pin(pin) {
        Ok(pinned) => {
            let link = FdLink::from(pinned)
                .try_into()
                .map_err(|error: LinkError| chain(&error))?;
            match program.attach_to_link(link) {
                // The link stays pinned; letting go of ours changes nothing.
                Ok(_) => return Ok(()),
                // The interface it was on is gone (ENOLINK), or it is no link
                // of ours: start over.
                Err(_) => fs::remove_file(pin).map_err(|error| error.to_string())?,
            }
        }
        Err(LinkError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
        }
        Err(error) => return Err(chain(&error)),
    }
    let order = TcAttachOptions::TcxOrder(LinkOrder::default());
    let link = program
        .attach_with_options(interface, hook.side(), order)
        .and_then(|id| program.take_link(id))
        .map_err(|error| chain(&error))?;
    let link = FdLink::try_from(link).map_err(|error| chain(&error))?;
    link.pin(pin).map(drop).map_err(|error| chain(&error))
}

/// Puts the program into the same place, so that a newer one replaces it.
fn attach_clsact(program: &mut SchedClassifier, hook: Hook, interface: &str) -> Result<(), String> {
    const PRIORITY: u16 = 1;
    const HANDLE: TcHandle = TcHandle::new(0, 1);
    match qdisc_add_clsact(interface) {
        Ok(()) | Err(TcError::AlreadyAttached) => {}
        // An agent before this one made it.
        Err(error) if chain(&error).contains("File exists") => {}
        Err(error) => return Err(chain(&error)),
    }
    let there = SchedClassifierLink::attached(interface, hook.side(), PRIORITY, HANDLE, None)
        .map_err(|error| error.to_string())?;
    let replaced = program.attach_to_link(there);
    let id = match replaced {
        Ok(id) => id,
        Err(ProgramError::TcError(_)) => {
            let options = NlOptions {
                priority: PRIORITY,
                handle: HANDLE,
                ..NlOptions::default()
            };
            program
                .attach_with_options(interface, hook.side(), TcAttachOptions::Netlink(options))
                .map_err(|error| chain(&error))?
        }
        Err(error) => return Err(chain(&error)),
    };
    // Dropping the link would take the filter away with the agent.
    program
        .take_link(id)
        .map(std::mem::forget)
        .map_err(|error| chain(&error))
}
