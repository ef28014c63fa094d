//! A node's server and its agent: started all at once, then waited for.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab_model::plan::{ObservedService, Service};
use lab_node::process::{self, ChildSetup, Spawned};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use super::node::{self, DEATH};
use super::places::{Kind, Places};
use super::{Netns, target};
use crate::error::ProviderError;
use crate::execute::StepFault;
use crate::record;

/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(10);
/// How often a wait looks at the interrupt flag.
const GLANCE: Duration = Duration::from_millis(50);
/// How much of a log an error shows.
const TAIL_LINES: usize = 10;

/// What is started.
#[derive(Clone, Copy, Debug)]
pub(super) enum Server<'a> {
    /// The node agent.
    Agent,
    /// The node's server.
    Service(&'a Service),
}

impl Server<'_> {
    const fn kind(self) -> Kind {
        match self {
            Self::Agent => Kind::Agent,
            Self::Service(_) => Kind::Serve,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Service(_) => "server",
        }
    }

    const fn log(self) -> &'static str {
        match self {
            Self::Agent => "agent.log",
            Self::Service(_) => "serve.log",
        }
    }
}

/// A process that is on its way to be ready.
pub(super) struct Starting {
    position: usize,
    node: String,
    what: &'static str,
    log: PathBuf,
    /// Written once the server is ready: see [`observe_service`].
    mark: Option<PathBuf>,
    ready: OwnedFd,
    process: Spawned,
}

/// Starts a server in the place of one that may be left.
pub(super) fn start(
    provider: &Netns,
    places: &Places,
    position: usize,
    node: &str,
    server: Server<'_>,
) -> Result<Starting, ProviderError> {
    stop(places, node, server.kind())?;
    let fault = |source| ProviderError::Spawn {
        node: node.to_owned(),
        source,
    };
    let log = places.node(node).join(server.log());
    let pipe_fault =
        |errno: nix::Error| ProviderError::file("make a pipe beside", &log, errno.into());
    let (ready, writer) = pipe2(OFlag::O_CLOEXEC).map_err(pipe_fault)?;
    let mut command = Command::new(&provider.options.labctl);
    match server {
        Server::Agent => {
            command.arg("node");
            if let Some(object) = &provider.options.datapath_object {
                command.arg("--datapath-object").arg(object);
            }
        }
        Server::Service(Service::Http { port }) => {
            command
                .args(["app", "http", "--port"])
                .arg(port.to_string());
        }
        Server::Service(Service::World { .. }) => {
            command.args(["app", "world", "--config", "/run/labctl/service.json"]);
        }
    }
    if let Server::Service(service) = server {
        // Ahead of the process: what runs is on record whenever this ends.
        write_service(places, node, service)?;
    }
    let mark = matches!(server, Server::Service(_)).then(|| ready_mark(places, node));
    if let Some(mark) = &mark {
        remove_if_there(mark)?;
    }
    command
        .arg("--ready-fd")
        .arg(writer.as_raw_fd().to_string());
    let (out, err) = open_log(&log)?;
    command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .env_clear()
        .current_dir("/");
    target::describe_node(&mut command, places.lab(), node);
    let (pause, kinds) = node::entry(node::pause(places, node)?);
    let setup = ChildSetup::new()
        .cgroup(&places.cgroup_of(node, server.kind()))?
        .new_session()
        .pass_fd(writer)
        .enter(pause, kinds);
    let process = process::spawn(command, setup).map_err(fault)?;
    let (node, what) = (node.to_owned(), server.what());
    Ok(Starting {
        position,
        node,
        what,
        log,
        mark,
        ready,
        process,
    })
}

fn open_log(log: &Path) -> Result<(File, File), ProviderError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .and_then(|file| Ok((file.try_clone()?, file)))
        .map_err(|source| ProviderError::file("open", log, source))
}

/// Ends the processes of one kind on a node, and waits until they are gone. The
/// cgroup goes with them: Linux 6.14 and later kill whatever is born
/// (`CLONE_INTO_CGROUP`) in one that was ever killed, since cgroup_css_set_fork
/// takes the parent's cgroup for it when it looks for a kill meanwhile.
pub(super) fn stop(places: &Places, node: &str, kind: Kind) -> Result<(), ProviderError> {
    let cgroup = places.cgroup_of(node, kind);
    if !cgroup.own_pids()?.is_empty() {
        cgroup.kill()?;
        cgroup.wait_empty(Instant::now() + DEATH)?;
    }
    cgroup.remove()?;
    Ok(cgroup.create()?)
}

/// Ends a node's server for good.
pub(super) fn stop_service(places: &Places, node: &str) -> Result<(), ProviderError> {
    stop(places, node, Kind::Serve)?;
    remove_if_there(&ready_mark(places, node))?;
    remove_if_there(&service_file(places, node))
}

fn service_file(places: &Places, node: &str) -> PathBuf {
    places.node(node).join("service.json")
}

/// Says that the node's server got ready; there only while that is so.
pub(super) fn ready_mark(places: &Places, node: &str) -> PathBuf {
    places.node(node).join("service.ready")
}

fn remove_if_there(path: &Path) -> Result<(), ProviderError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ProviderError::file("remove", path, error))
        }
        _ => Ok(()),
    }
}

fn write_service(places: &Places, node: &str, service: &Service) -> Result<(), ProviderError> {
    let path = service_file(places, node);
    let text = serde_json::to_vec(service)
        .map_err(|error| ProviderError::file("write", &path, error.into()))?;
    record::write_whole(&path, &text)
}

/// The server that a node has, or had. One that never got ready counts as none: the
/// run that started it was killed, and it ends as soon as it finds nobody to tell.
pub(super) fn observe_service(
    places: &Places,
    node: &str,
) -> Result<Option<ObservedService>, ProviderError> {
    let Some(text) = record::read_if_there(&service_file(places, node))? else {
        return Ok(None);
    };
    let runs = ready_mark(places, node).exists()
        && !places.cgroup_of(node, Kind::Serve).own_pids()?.is_empty();
    // What cannot be read was not written by a labctl like this: it is as good as
    // something else, and is started anew.
    Ok(Some(match serde_json::from_slice(&text) {
        Ok(service) => ObservedService {
            service,
            alive: runs,
        },
        Err(_) => ObservedService {
            service: Service::World { links: vec![] },
            alive: false,
        },
    }))
}

/// Waits until each process has said that it is ready.
pub(super) fn wait_ready(
    mut starting: Vec<Starting>,
    interrupt: &AtomicBool,
) -> Result<(), StepFault> {
    let deadline = Instant::now() + READY;
    while let Some(first) = starting.first() {
        let first = first.position;
        if interrupt.load(Ordering::SeqCst) {
            return Err(StepFault::at(first)(ProviderError::Interrupted));
        }
        if Instant::now() >= deadline {
            let how = format!("it was not ready after {} s", READY.as_secs());
            let late = starting.swap_remove(0);
            return Err(StepFault::at(first)(late.not_ready(how)));
        }
        wait_for_any(&starting)
            .map_err(|errno| ProviderError::file("wait for", &starting[0].log, errno.into()))
            .map_err(StepFault::at(first))?;
        let mut waiting = Vec::with_capacity(starting.len());
        for process in starting {
            waiting.extend(process.look()?);
        }
        starting = waiting;
    }
    Ok(())
}

fn wait_for_any(starting: &[Starting]) -> nix::Result<()> {
    let mut watched: Vec<_> = starting
        .iter()
        .map(|it| PollFd::new(it.ready.as_fd(), PollFlags::POLLIN))
        .collect();
    match poll(
        &mut watched,
        PollTimeout::try_from(GLANCE).unwrap_or(PollTimeout::ZERO),
    ) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

impl Starting {
    /// Returns itself if it is not ready yet.
    fn look(self) -> Result<Option<Self>, StepFault> {
        let mut watched = [PollFd::new(self.ready.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::ZERO) {
            Ok(0) | Err(_) => return Ok(Some(self)),
            Ok(_) => {}
        }
        let mut byte = [0];
        let read = self
            .ready
            .try_clone()
            .map(File::from)
            .and_then(|mut it| it.read(&mut byte));
        let position = self.position;
        if matches!(read, Ok(1)) {
            let marked = self.mark.as_ref().map_or(Ok(()), |mark| {
                fs::write(mark, b"").map_err(|source| ProviderError::file("write", mark, source))
            });
            return marked.map(|()| None).map_err(StepFault::at(position));
        }
        Err(StepFault::at(position)(self.ended()))
    }

    /// It closed the pipe and wrote nothing: it is gone, or will be in a moment.
    fn ended(mut self) -> ProviderError {
        let gone = self.process.pidfd.wait(Instant::now() + DEATH);
        let status = gone
            .ok()
            .and_then(|_| self.process.child.try_wait().ok())
            .flatten();
        let how = match status.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => format!("it ended with exit code {code}"),
            Some((None, Some(signal))) => format!("it was ended by signal {signal}"),
            _ => "it closed its readiness pipe without a word".to_owned(),
        };
        self.not_ready(how)
    }

    fn not_ready(self, how: String) -> ProviderError {
        let tail = tail(&self.log);
        ProviderError::NotReady {
            node: self.node,
            what: self.what,
            how,
            tail,
        }
    }
}

/// The last lines of a log; empty when there is none.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
