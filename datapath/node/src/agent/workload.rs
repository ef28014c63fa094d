//! What runs in a pod: started in the pod's cgroup and namespaces, started again
//! when it ends, and taken over from an agent that ended before it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, read};
use serde::{Deserialize, Serialize};

use super::pods::Places;
use super::sandbox::Sandbox;
use super::{AgentError, files, launch, log};
use crate::cgroup::Cgroup;
use crate::process::{self, PidFd, Reaper};

/// The first restart is at once, then the kubelet's back-off: ten seconds,
/// doubled each time up to five minutes, forgotten after ten minutes of running.
const BACK_OFF: Duration = Duration::from_secs(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
const BACK_OFF_RESET: Duration = Duration::from_secs(600);
/// How long killed processes may take to end.
pub(super) const DEATH: Duration = Duration::from_secs(5);
/// `pod.json`, in the pod's folder.
const RECORD: &str = "pod.json";

/// Note to a later agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The pod, as it was when the workload started.
    pub(super) pod: Sandbox,
    pid: i32,
    restarts: u32,
    started: u64,
}

impl Record {
    /// The note in a pod's folder; none when the pod was never finished, or a
    /// version that wrote it differently did.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, AgentError> {
        let text = files::read_if_there(&folder.join(RECORD))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

/// A process, and the child to reap if it is ours.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) pidfd: PidFd,
    pub(super) child: Option<Reaper>,
    pub(super) readiness: Readiness,
}

/// Whether a workload does what it is for.
#[derive(Debug)]
pub(super) enum Readiness {
    /// It does; what is no server always does.
    Ready,
    /// The descriptor is readable when the server accepts connections.
    Pending(OwnedFd),
    /// The server closed the descriptor without a word.
    Never,
}

/// The workload of a pod, whether it runs or not.
#[derive(Debug, Default)]
pub(super) struct Workload {
    process: Option<Process>,
    /// What is to take over from the process, and does once it is ready.
    successor: Option<Process>,
    /// What was taken over from, until it has ended.
    leaving: Vec<Process>,
    restarts: u32,
    /// Ends in a row, without a long run between them.
    failures: u32,
    started: u64,
    since: Option<Instant>,
    due: Option<Instant>,
    just_ended: bool,
    message: Option<String>,
}

impl Workload {
    /// Takes over what an earlier agent started, if it still runs: the process
    /// of the note, provided that it is in the pod's cgroup and namespace.
    pub(super) fn adopt(
        folder: &Path,
        cgroup: &Cgroup,
        netns: Option<&OwnedFd>,
    ) -> Result<Self, AgentError> {
        let Some(record) = Record::read(folder)? else {
            return Ok(Self::default());
        };
        let pid = Pid::from_raw(record.pid);
        let process = PidFd::open(pid)
            .ok()
            .filter(|_| cgroup.own_pids().is_ok_and(|pids| pids.contains(&pid)))
            .filter(|_| netns.is_none_or(|netns| process::is_in_netns(pid, netns).unwrap_or(false)))
            .map(|pidfd| Process {
                pid,
                pidfd,
                child: None,
                readiness: Readiness::Ready,
            });
        Ok(Self {
            process,
            restarts: record.restarts,
            started: record.started,
            since: Some(Instant::now()),
            ..Self::default()
        })
    }

    /// Whether the process is there.
    pub(super) fn runs(&self) -> bool {
        let ended = |process: &Process| process.pidfd.has_ended().unwrap_or(true);
        self.process.as_ref().is_some_and(|process| !ended(process))
    }

    /// Whether the process is there and, if a server, accepts connections.
    pub(super) fn is_ready(&self) -> bool {
        self.runs()
            && self
                .process
                .as_ref()
                .is_some_and(|process| matches!(process.readiness, Readiness::Ready))
    }

    /// Whether the process executes another file than this agent does: it was started
    /// by an agent of another version.
    pub(super) fn is_of_another_version(&self) -> bool {
        let file = |pid: &str| {
            let path = Path::new("/proc").join(pid).join("exe");
            let found = std::fs::metadata(path).ok()?;
            Some((found.dev(), found.ino()))
        };
        let own = file("self");
        let theirs = self.pid().and_then(|pid| file(&pid.to_string()));
        own.is_some() && theirs.is_some() && own != theirs && self.successor.is_none()
    }

    pub(super) fn restarts(&self) -> u32 {
        self.restarts
    }

    pub(super) fn pid(&self) -> Option<i32> {
        self.process
            .as_ref()
            .filter(|_| self.runs())
            .map(|process| process.pid.as_raw())
    }

    /// Seconds since 1970.
    pub(super) fn started(&self) -> Option<u64> {
        (self.started > 0).then_some(self.started)
    }

    pub(super) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Descriptors that become readable when there is something to [`Self::look`] at.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let processes = self.process.iter().chain(&self.successor);
        let pending = processes.clone().filter_map(|it| match &it.readiness {
            Readiness::Pending(fd) => Some(fd.as_fd()),
            _ => None,
        });
        let pidfds = processes.chain(&self.leaving).map(|it| it.pidfd.as_fd());
        pidfds.chain(pending)
    }

    /// Whether the successor has just taken over.
    pub(super) fn hand_over(&mut self, key: &str, now: Instant) -> bool {
        self.leaving
            .retain_mut(|it| !it.pidfd.has_ended().unwrap_or(true) || it.reap());
        let Some(successor) = &mut self.successor else {
            return false;
        };
        successor.take_readiness(now);
        let ended = successor.pidfd.has_ended().unwrap_or(true);
        match successor.readiness {
            Readiness::Pending(_) if !ended => return false,
            Readiness::Ready if !ended => {}
            _ => {
                log::warn(format_args!("what was to take over from {key} failed"));
                self.give_up_successor();
                self.message = Some("the last restart failed; see the log".to_owned());
                return false;
            }
        }
        self.leaving.extend(self.process.take());
        self.process = self.successor.take();
        (self.started, self.since) = (self::now(), Some(now));
        (self.restarts, self.message, self.due) = (self.restarts + 1, None, None);
        log::info(format_args!("{key} was taken over from"));
        true
    }

    fn give_up_successor(&mut self) {
        if let Some(successor) = &mut self.successor.take() {
            // It may have ended by itself.
            let _ = kill(successor.pid, Signal::SIGKILL);
            successor.reap();
        }
    }

    /// Notices an end, and plans the next start.
    pub(super) fn look(&mut self, key: &str, now: Instant) {
        if let Some(process) = &mut self.process {
            process.take_readiness(now);
        }
        if self.process.is_none() || self.runs() {
            return;
        }
        let status = self.reap();
        log::warn(format_args!("the workload of {key} ended{status}"));
        self.failed(format!("the workload ended{status}"), now);
        self.just_ended = true;
    }

    /// Notes that it does not run, and when to try again.
    pub(super) fn failed(&mut self, message: String, now: Instant) {
        let ran = self
            .since
            .take()
            .map_or(Duration::ZERO, |since| now - since);
        if ran >= BACK_OFF_RESET {
            self.failures = 0;
        }
        self.due = Some(now + back_off(self.failures));
        self.failures += 1;
        self.message = Some(message);
    }

    /// Forgets the process, reaping it if it is ours, and says how it ended.
    pub(super) fn reap(&mut self) -> String {
        let child = self.process.take().and_then(|process| process.child);
        match child.map(|mut child| child.wait()) {
            Some(Ok(status)) => format!(" with {status}"),
            _ => String::new(),
        }
    }

    /// Whether it has just ended, and is not to start again at once.
    pub(super) fn rests(&mut self, now: Instant) -> bool {
        std::mem::take(&mut self.just_ended) && !self.is_due(now)
    }

    /// When to start it again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Waits until a server accepts connections, or has ended.
    pub(super) fn wait_ready(&mut self, deadline: Instant) {
        if let Some(process) = &mut self.process {
            process.take_readiness(deadline);
            self.message = match process.readiness {
                Readiness::Ready => None,
                Readiness::Pending(_) => Some("it does not accept connections yet".to_owned()),
                Readiness::Never => Some("it never said that it accepts connections".to_owned()),
            };
        }
    }
}

impl Process {
    /// Takes note of the end, if it is ours to; never to be kept.
    fn reap(&mut self) -> bool {
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
        false
    }

    /// Waits for the byte that says ready.
    fn take_readiness(&mut self, deadline: Instant) {
        while let Readiness::Pending(pending) = &self.readiness {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(pending.as_fd(), PollFlags::POLLIN)];
            match poll(&mut watched, timeout) {
                Err(Errno::EINTR) => {}
                Ok(0) | Err(_) => return,
                Ok(_) => match read(pending, &mut [0; 1]) {
                    Ok(1) => self.readiness = Readiness::Ready,
                    Ok(_) => self.readiness = Readiness::Never,
                    Err(_) => return,
                },
            }
        }
    }
}

/// How long to wait before the start after `failures` others.
fn back_off(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        more => BACK_OFF
            .saturating_mul(1 << (more - 1).min(10))
            .min(BACK_OFF_MAX),
    }
}

/// Starts the workload of `pod`.
pub(super) fn start(
    places: &Places,
    pod: &Sandbox,
    netns: Option<&OwnedFd>,
    workload: &mut Workload,
) -> Result<(), AgentError> {
    // What was run beside the workload ends with it, as in a container.
    end_all(&places.cgroup.child(pod.folder_name()))?;
    let again = workload.started > 0;
    let process = launch::spawn(places, pod, netns)?;
    *workload = Workload {
        restarts: workload.restarts + u32::from(again),
        failures: workload.failures,
        started: now(),
        since: Some(Instant::now()),
        process: Some(process),
        ..Workload::default()
    };
    note(&places.folder.join(pod.folder_name()), pod, workload)
}

/// Starts another process beside the one that runs, which gives it its sockets, and
/// leaves, once the other is ready. One that does not get ready changes nothing.
pub(super) fn start_successor(
    places: &Places,
    pod: &Sandbox,
    netns: Option<&OwnedFd>,
    workload: &mut Workload,
) -> Result<(), AgentError> {
    workload.give_up_successor();
    workload.successor = Some(launch::spawn(places, pod, netns)?);
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_secs().max(1)
}

/// Ends whatever runs in a pod's cgroup. The cgroup is made anew then: what is
/// born in one that was killed may die of it (see `process::membership`).
pub(super) fn end_all(cgroup: &Cgroup) -> Result<(), AgentError> {
    if cgroup.pids()?.is_empty() {
        return Ok(());
    }
    cgroup.kill()?;
    cgroup.wait_empty(Instant::now() + DEATH)?;
    cgroup.remove()?;
    Ok(cgroup.create()?)
}

pub(super) fn note(folder: &Path, pod: &Sandbox, workload: &Workload) -> Result<(), AgentError> {
    let path = folder.join(RECORD);
    let record = Record {
        pod: pod.clone(),
        pid: workload.pid().unwrap_or(0),
        restarts: workload.restarts,
        started: workload.started,
    };
    let text = serde_json::to_vec(&record)
        .map_err(|error| AgentError::file("write", &path)(error.into()))?;
    files::replace(&path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_back_off_as_the_kubelets_do() {
        let seconds: Vec<_> = (0..8)
            .map(|failures| back_off(failures).as_secs())
            .collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(back_off(u32::MAX), BACK_OFF_MAX);
    }
}
