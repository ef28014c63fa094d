//! The end of a lab: everything that carries its name goes. Needs neither lab
//! file nor state, only the name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lab_model::plan::{Observed, ObservedNode, ObservedSegment, Plan, Step, plan};
use lab_node::namespace;

use super::Netns;
use super::error::{ExecuteError, ProviderError};
use super::execute::{Event, Run, StepFault};
use super::lock::LabLock;
use super::node::{DEATH, remove_folder, unmount};
use super::places::{Places, mounts_below};

impl Netns {
    /// The plan by which the lab goes down: of what is there, and however broken.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn plan_down(&self, lab: &str) -> Result<Plan, ProviderError> {
        let places = self.places(lab)?;
        let names = places.node_names()?;
        let nodes: BTreeMap<_, _> = names
            .into_iter()
            .map(|name| (name, ObservedNode::default()))
            .collect();
        let segment = places.fabric().exists().then(ObservedSegment::default);
        let exists = places.exist() || places.folder().exists();
        let observed = Observed {
            lab: lab.to_owned(),
            exists,
            segment,
            nodes,
        };
        Ok(plan(None, &observed))
    }

    /// Takes the lab down. What cannot be removed does not keep the rest from
    /// being removed.
    ///
    /// # Errors
    /// [`ProviderError::NoLab`] is the cause when nothing of that name is there;
    /// else what remains, a sentence each.
    pub fn down(
        &self,
        lock: &LabLock,
        interrupt: &AtomicBool,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ExecuteError> {
        let plan = self.plan_down(lock.lab()).map_err(ExecuteError::bare)?;
        // One unmount for all namespaces: each waits for an RCU grace period. What
        // cannot be let go of here is named when its node is removed.
        let _ = namespace::remove_folder(&lock.places.netns_folder());
        let mut run = Run::new(self, &lock.places, interrupt);
        let mut faults: Vec<(Step, ProviderError)> = Vec::new();
        for steps in plan
            .steps
            .chunk_by(|a, b| a.action.phase() == b.action.phase())
        {
            if interrupt.load(Ordering::SeqCst) {
                return Err(ExecuteError::bare(ProviderError::Interrupted));
            }
            let last = matches!(steps, [Step { action, .. }] if action.node().is_none());
            if last && !faults.is_empty() {
                // The folder is what the next `down` finds the rest by.
                break;
            }
            remove(&mut run, steps, &mut faults, events);
        }
        let mut faults = faults.into_iter();
        let Some((step, cause)) = faults.next() else {
            return Ok(());
        };
        let remains = faults
            .map(|(_, cause)| format!("failed to {cause}"))
            .collect();
        Err(ExecuteError {
            step: Some(Box::new(step)),
            cause: cause.into(),
            remains,
        })
    }
}

/// Does steps of one phase, at once if that goes well, else one by one, to learn
/// which of them fail: each may be repeated.
fn remove(
    run: &mut Run<'_>,
    steps: &[Step],
    faults: &mut Vec<(Step, ProviderError)>,
    events: &mut dyn FnMut(Event<'_>),
) {
    steps.iter().for_each(|step| events(Event::Doing(step)));
    let all = steps
        .iter()
        .enumerate()
        .map(|(at, step)| (at, &step.action))
        .collect();
    if run.stage(all).is_ok() {
        steps.iter().for_each(|step| events(Event::Done(step)));
        return;
    }
    for step in steps {
        match run.stage(vec![(0, &step.action)]) {
            Ok(()) => events(Event::Done(step)),
            Err(StepFault { cause, .. }) => faults.push((step.clone(), cause)),
        }
    }
}

/// Removes what is the lab's and no node's.
pub(super) fn remove_lab(places: &Places) -> Result<(), ProviderError> {
    let cgroup = places.cgroup();
    cgroup.kill()?;
    cgroup.wait_empty(Instant::now() + DEATH)?;
    cgroup.remove()?;
    namespace::remove_folder(&places.netns_folder())?;
    unmount(&mounts_below(places.folder())?)?;
    remove_folder_of(places)
}

/// Removes the folder of a lab of which nothing else is left.
pub(super) fn remove_folder_of(places: &Places) -> Result<(), ProviderError> {
    remove_all_but_lock(places)?;
    // Last, for who waits for it takes the lab to be free: see `lock`.
    remove_lock(places)?;
    places.roots().remove_if_empty()
}

fn remove_all_but_lock(places: &Places) -> Result<(), ProviderError> {
    let folder = places.folder();
    let fault = |source| ProviderError::file("remove", folder, source);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(fault)?,
    };
    for entry in entries {
        let path = entry.map_err(fault)?.path();
        if path == places.lock() {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            remove_folder(&path)?;
        } else {
            fs::remove_file(&path)
                .map_err(|source| ProviderError::file("remove", &path, source))?;
        }
    }
    Ok(())
}

/// Removes the lock and then the folder. Somebody who waited may have made a new
/// lock in it by then, and the folder is theirs.
fn remove_lock(places: &Places) -> Result<(), ProviderError> {
    let gone = |removed: io::Result<()>| match removed {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(ProviderError::file("remove", places.folder(), error))
        }
        _ => Ok(()),
    };
    gone(fs::remove_file(places.lock()))?;
    gone(fs::remove_dir(places.folder()))
}
