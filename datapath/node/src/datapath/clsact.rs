//! Filters of a `clsact` qdisc, for kernels before 6.6.
//!
//! A filter lasts until somebody removes it or its interface goes; nothing is pinned. Ours
//! are told by the program's name, as Cilium's are. A qdisc goes with its last filter if
//! it is on record as ours: a folder in the bpffs, which lasts as long as the qdisc can.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::programs::SchedClassifier;

use super::attach::Hook;
use super::{DatapathError, chain};
use crate::netlink::{Filter, FilterPlace, Link, Netlink, NetlinkError, Request, Side};

/// Handle of our filters; each has a priority for itself.
const HANDLE: u32 = 1;
/// Cilium's priority, taken unless another's filter has it.
const FIRST_PRIORITY: u16 = 1;

/// The filters of a node.
pub(super) struct Filters {
    netlink: Netlink,
    /// Holds one empty folder, named by the interface's index, for each qdisc we made.
    qdiscs: PathBuf,
}

impl Filters {
    /// Those in the calling thread's network namespace.
    pub(super) fn open(qdiscs: PathBuf) -> Result<Self, DatapathError> {
        let netlink = Netlink::open()?;
        Ok(Self { netlink, qdiscs })
    }

    /// Puts the program where an earlier agent's is, or in the first place that nobody has.
    pub(super) fn attach(
        &mut self,
        program: &SchedClassifier,
        hook: Hook,
        device: u32,
    ) -> Result<(), String> {
        self.ensure_qdisc(device)?;
        let fault = |error: NetlinkError| error.to_string();
        let there = self.netlink.filters(device, hook.side()).map_err(fault)?;
        let place = match there.iter().find(|filter| is_of(filter, hook)) {
            Some(own) => own.place,
            None => FilterPlace {
                device,
                side: hook.side(),
                priority: free_priority(&there),
                handle: HANDLE,
            },
        };
        let program = program.fd().map_err(|error| chain(&error))?;
        let request = Request::ReplaceFilter {
            place,
            name: hook.program().to_owned(),
            program: program.as_fd(),
        };
        self.netlink.execute(&request).map_err(fault)
    }

    /// Whether the program with that id is there now.
    pub(super) fn has(&mut self, hook: Hook, device: u32, program: u32) -> bool {
        let there = self.netlink.filters(device, hook.side());
        let ours = |filter: &Filter| matches!(filter.program, Some((_, id)) if id == program);
        there.is_ok_and(|there| there.iter().any(ours))
    }

    /// Takes our filters off all interfaces but these, and our qdiscs with them.
    pub(super) fn retain(&mut self, keep: &BTreeSet<&str>) -> Result<(), DatapathError> {
        let links = self.netlink.links()?;
        for link in &links {
            if !keep.contains(link.name.as_str()) {
                self.detach(link.index)?;
            }
        }
        self.forget_all_but(&links)
    }

    fn detach(&mut self, device: u32) -> Result<(), DatapathError> {
        let mut others = false;
        for side in [Side::Ingress, Side::Egress] {
            for filter in self.netlink.filters(device, side)? {
                if Hook::ALL.iter().any(|hook| is_of(&filter, *hook)) {
                    let place = filter.place;
                    self.remove(&Request::DeleteFilter { place })?;
                }
            }
            others |= !self.netlink.filters(device, side)?.is_empty();
        }
        if !others && self.mark(device).exists() {
            self.remove(&Request::DeleteClsact { device })?;
            unmark(&self.mark(device))?;
        }
        Ok(())
    }

    /// What went meanwhile, by itself or with its interface, is no fault.
    fn remove(&mut self, request: &Request<'_>) -> Result<(), DatapathError> {
        match self.netlink.execute(request) {
            Err(error) if !error.is_missing() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Marked before it is made: what is left half done is taken for ours, and goes.
    fn ensure_qdisc(&mut self, device: u32) -> Result<(), String> {
        let mark = self.mark(device);
        let marked = mark.exists();
        fs::create_dir_all(&mark).map_err(|error| format!("make {}: {error}", mark.display()))?;
        let added = self.netlink.execute(&Request::AddClsact { device });
        if added.is_err() && !marked {
            unmark(&mark).map_err(|error| error.to_string())?;
        }
        match added {
            Err(error) if error.is_already_there() => {}
            added => return added.map_err(|error| error.to_string()),
        }
        match self.netlink.has_clsact(device) {
            Ok(true) => Ok(()),
            // The kernel would take a filter for what goes out, and apply it to what comes in.
            Ok(false) => Err(
                "an ingress qdisc is there, which has no place for what goes out; remove it \
                 with `tc qdisc del dev … ingress`"
                    .to_owned(),
            ),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Removes the marks of interfaces that are gone.
    fn forget_all_but(&self, links: &[Link]) -> Result<(), DatapathError> {
        let fault = |source| DatapathError::File {
            what: "list",
            path: self.qdiscs.clone(),
            source,
        };
        let marks = match fs::read_dir(&self.qdiscs) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            marks => marks.map_err(fault)?,
        };
        for mark in marks {
            let mark = mark.map_err(fault)?;
            let index = mark.file_name().to_str().and_then(|it| it.parse().ok());
            if !links.iter().any(|link| Some(link.index) == index) {
                unmark(&mark.path())?;
            }
        }
        Ok(())
    }

    fn mark(&self, device: u32) -> PathBuf {
        self.qdiscs.join(device.to_string())
    }
}

fn unmark(mark: &Path) -> Result<(), DatapathError> {
    match fs::remove_dir(mark) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DatapathError::File {
            what: "remove",
            path: mark.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn is_of(filter: &Filter, hook: Hook) -> bool {
    matches!(&filter.program, Some((name, _)) if name == hook.program())
}

/// The first that no filter has: the kernel keeps all filters of a priority of one kind.
fn free_priority(there: &[Filter]) -> u16 {
    (FIRST_PRIORITY..u16::MAX)
        .find(|priority| there.iter().all(|it| it.place.priority != *priority))
        .unwrap_or(u16::MAX)
}
