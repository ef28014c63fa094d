//! A node's server and its agent: started all at once, then waited for.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab_model::plan::{ObservedService, Service};
use lab_node::process::ChildSetup;
use lab_node::server::ServerError;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

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

/// A server that is on its way to be ready.
pub(super) struct Starting {
    position: usize,
    node: String,
    /// Written once the server is ready: see [`observe_service`].
    mark: Option<PathBuf>,
    server: lab_node::server::Starting,
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
    let log = places.node(node).join(server.log());
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
    command.env_clear().current_dir("/");
    target::describe_node(&mut command, places.lab(), node);
    let (pause, kinds) = node::entry(node::pause(places, node)?);
    let setup = ChildSetup::new()
        .cgroup(&places.cgroup_of(node, server.kind()))?
        .enter(pause, kinds);
    let server = lab_node::server::Starting::start(server.what(), command, setup, log);
    let node = node.to_owned();
    Ok(Starting {
        position,
        server: server.map_err(|error| fault(&node, error))?,
        node,
        mark,
    })
}

fn fault(node: &str, error: ServerError) -> ProviderError {
    let node = node.to_owned();
    match error {
        ServerError::File { what, path, source } => ProviderError::File { what, path, source },
        ServerError::Spawn(source) => ProviderError::Spawn { node, source },
        ServerError::NotReady { what, how, tail } => ProviderError::NotReady {
            node,
            what,
            how,
            tail,
        },
    }
}

/// Ends the processes of one kind on a node, and waits until they are gone. The
/// cgroup goes with them: Linux 6.14 and later kill whatever is born
/// (`CLONE_INTO_CGROUP`) in one that was ever killed, since cgroup_css_set_fork
/// takes the parent's cgroup for it when it looks for a kill meanwhile.
pub(super) fn stop(places: &Places, node: &str, kind: Kind) -> Result<(), ProviderError> {
    let cgroup = places.cgroup_of(node, kind);
    if !cgroup.own_pids()?.is_empty() {
        cgroup.kill()?;
    }
    // Also of what someone else killed: a process whose last thread is about to end is no
    // longer in `cgroup.procs`, and still keeps the cgroup from going (EBUSY).
    cgroup.wait_empty(Instant::now() + DEATH)?;
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
            service: Service::World {
                links: vec![],
                zone: None,
            },
            alive: false,
        },
    }))
}

/// Agents, and the servers of nodes.
pub(super) fn split(starting: Vec<Starting>) -> (Vec<Starting>, Vec<Starting>) {
    starting.into_iter().partition(|it| it.mark.is_none())
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
            let Starting { node, server, .. } = starting.swap_remove(0);
            return Err(StepFault::at(first)(fault(&node, server.late(READY))));
        }
        wait_for_any(&starting)
            .map_err(|errno| {
                ProviderError::file("wait beside", starting[0].server.log(), errno.into())
            })
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
        .map(|it| PollFd::new(it.server.as_fd(), PollFlags::POLLIN))
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
        let Self {
            position,
            node,
            mark,
            server,
        } = self;
        let looked = server.look();
        match looked.map_err(|error| StepFault::at(position)(fault(&node, error)))? {
            Some(server) => Ok(Some(Self {
                position,
                node,
                mark,
                server,
            })),
            None => {
                let marked = mark.map_or(Ok(()), |mark| {
                    fs::write(&mark, b"")
                        .map_err(|source| ProviderError::file("write", &mark, source))
                });
                marked.map(|()| None).map_err(StepFault::at(position))
            }
        }
    }
}
