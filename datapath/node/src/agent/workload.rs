//! What runs in a pod: started in the pod's cgroup and namespaces, started again
//! when it ends, and taken over from an agent that ended before it.

use std::fs::OpenOptions;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lab_model::node_state::{Pod, Workload as App};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::unistd::{Pid, pipe2, read};
use serde::{Deserialize, Serialize};

use super::pods::Places;
use super::{AgentError, files, log, pod};
use crate::cgroup::Cgroup;
use crate::node_mounts;
use crate::process::{self, ChildSetup, PidFd, Reaper};

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
    pub(super) pod: Pod,
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
struct Process {
    pid: Pid,
    pidfd: PidFd,
    child: Option<Reaper>,
    readiness: Readiness,
}

/// Whether a workload does what it is for.
#[derive(Debug)]
enum Readiness {
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
    restarts: u32,
    /// Ends in a row, without a long run between them.
    failures: u32,
    started: u64,
    since: Option<Instant>,
    due: Option<Instant>,
    message: Option<String>,
}

impl Workload {
    /// Takes over what an earlier agent started, if it still runs: the process
    /// of the note, provided that it is in the pod's cgroup and namespace.
    pub(super) fn adopt(
        folder: &Path,
        cgroup: &Cgroup,
        netns: &OwnedFd,
    ) -> Result<Self, AgentError> {
        let Some(record) = Record::read(folder)? else {
            return Ok(Self::default());
        };
        let pid = Pid::from_raw(record.pid);
        let process = PidFd::open(pid)
            .ok()
            .filter(|_| cgroup.own_pids().is_ok_and(|pids| pids.contains(&pid)))
            .filter(|_| process::is_in_netns(pid, netns).unwrap_or(false))
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
        let process = self.process.as_ref();
        let pending = process.and_then(|process| match &process.readiness {
            Readiness::Pending(fd) => Some(fd),
            _ => None,
        });
        let pidfd = process.map(|process| process.pidfd.as_fd());
        pidfd.into_iter().chain(pending.map(OwnedFd::as_fd))
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
    pod: &Pod,
    netns: &OwnedFd,
    workload: &mut Workload,
) -> Result<(), AgentError> {
    let folder = places.folder.join(pod::folder_name(pod));
    let cgroup = places.cgroup.child(pod::folder_name(pod));
    // What was run beside the workload ends with it, as in a container.
    end_all(&cgroup)?;
    let again = workload.started > 0;
    let pipe = |errno: Errno| AgentError::file("make a pipe for", &folder)(errno.into());
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(pipe)?;
    let (command, serves) = command(places, pod, &folder, &writer)?;
    let mounts =
        node_mounts::pod(&folder.join("etc")).map_err(AgentError::file("mount", &folder))?;
    let netns = netns
        .try_clone()
        .map_err(AgentError::file("open", &folder))?;
    let setup = ChildSetup::new()
        .cgroup(&cgroup)?
        .new_session()
        .pass_fd(writer)
        .enter(netns, CloneFlags::CLONE_NEWNET)
        .unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
        .mounts(mounts)
        .host_name(&pod.name)?;
    let spawned = process::spawn(command, setup)?;
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    *workload = Workload {
        restarts: workload.restarts + u32::from(again),
        failures: workload.failures,
        started: started.as_secs().max(1),
        since: Some(Instant::now()),
        process: Some(Process {
            pid: spawned.pid(),
            pidfd: spawned.pidfd,
            child: Some(spawned.child),
            readiness: if serves {
                Readiness::Pending(reader)
            } else {
                Readiness::Ready
            },
        }),
        ..Workload::default()
    };
    note(&folder, pod, workload)
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

fn note(folder: &Path, pod: &Pod, workload: &Workload) -> Result<(), AgentError> {
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

/// `labctl app …`, and whether it is a server, which tells when it is ready.
fn command(
    places: &Places,
    pod: &Pod,
    folder: &Path,
    ready: &OwnedFd,
) -> Result<(Command, bool), AgentError> {
    let path = folder.join("log");
    let open = || {
        let log = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok((log.try_clone()?, log))
    };
    let (out, err) = open().map_err(AgentError::file("open", &path))?;
    let mut command = Command::new(&places.labctl);
    command.arg("app");
    let port = match pod.workload {
        App::Netshoot => {
            command.arg("netshoot");
            None
        }
        App::Whoami { port } => {
            command.arg("whoami");
            Some(port)
        }
        App::Nginx { port } => {
            command.arg("nginx");
            Some(port)
        }
    };
    if let Some(port) = port {
        command.args(["--port", &port.to_string()]);
        command.args(["--ready-fd", &ready.as_raw_fd().to_string()]);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| SYSTEM_PATH.into());
    command
        .env_clear()
        .env("PATH", path)
        .env("HOSTNAME", &pod.name)
        .env("HOME", "/root")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    Ok((command, port.is_some()))
}

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
