//! The node agent and the node's server: started, and stopped.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use lab_model::plan::{ObservedService, Service};

use super::kept::Kept;
use super::places::{Kind, RUN, home, program};
use super::{Machine, MachineError, files, run, systemd};
use crate::process::ChildSetup;
use crate::server::Starting;

/// How long a server may take to be ready. An agent that resumes its pods on an
/// emulated processor takes seconds.
const READY: Duration = Duration::from_secs(60);
/// How long killed processes may take to be gone.
pub(super) const DEATH: Duration = Duration::from_secs(10);

/// A process that runs as long as the node is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The node agent.
    Agent,
    /// The node's server.
    Serve,
}

impl Server {
    const fn kind(self) -> Kind {
        match self {
            Self::Agent => Kind::Agent,
            Self::Serve => Kind::Serve,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Serve => "server",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Serve => "serve",
        }
    }

    const fn unit(self) -> &'static systemd::Unit {
        match self {
            Self::Agent => &systemd::AGENT,
            Self::Serve => &systemd::SERVE,
        }
    }

    /// There while the process of that number is ready; `PIDFile=` to systemd.
    fn pid_file(self) -> PathBuf {
        home(&format!("{}.pid", self.name()))
    }

    fn log(self) -> PathBuf {
        home(&format!("{}.log", self.name()))
    }
}

impl Machine {
    /// Starts a server in the place of one that may be left, and returns once it
    /// is ready; it outlives the caller.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(&self, server: Server) -> Result<(), MachineError> {
        self.stop(server)?;
        let command = self.command_of(server)?;
        let setup = ChildSetup::new().cgroup(&self.places.cgroup(server.kind()))?;
        let starting = Starting::start(server.what(), command, setup, server.log())?;
        let pid = starting.pid();
        starting.wait(READY)?;
        let file = server.pid_file();
        std::fs::write(&file, format!("{pid}\n")).map_err(MachineError::file("write", &file))
    }

    fn command_of(&self, server: Server) -> Result<Command, MachineError> {
        let mut command = Command::new(program());
        match server {
            Server::Agent => {
                command.args(["node", "--dir", RUN]);
                let object = home(DATAPATH_OBJECT);
                if object.exists() {
                    command.arg("--datapath-object").arg(object);
                }
            }
            Server::Serve => match Kept::read()?.service {
                Some(Service::Http { port }) => {
                    let port = port.to_string();
                    command.args(["app", "http", "--port", &port]);
                }
                // No machine plays the world.
                Some(Service::World { .. }) | None => return Err(MachineError::NoServer),
            },
        }
        command.env_clear().current_dir("/");
        run::describe_node(&mut command, &self.claimed.owner);
        Ok(command)
    }

    /// Ends a server. Its cgroup goes with it, as what is born in one that was
    /// ever killed may die of it (see `process::membership`).
    pub(super) fn stop(&self, server: Server) -> Result<(), MachineError> {
        files::remove(&server.pid_file())?;
        let cgroup = self.places.cgroup(server.kind());
        if !cgroup.own_pids()?.is_empty() {
            cgroup.kill()?;
        }
        // Threads that still end keep it from going, and aren't in `cgroup.procs`.
        cgroup.wait_empty(Instant::now() + DEATH)?;
        cgroup.remove()?;
        Ok(cgroup.create()?)
    }

    /// Has a server run from now on, also after a reboot.
    pub(super) fn employ(&self, server: Server) -> Result<(), MachineError> {
        if !systemd::runs() {
            return self.start(server);
        }
        let unit = server.unit();
        systemd::install(unit, &self.claimed.owner)?;
        // What a killed run started by hand, or a unit that failed too often.
        self.stop(server)?;
        systemd::restart(unit).map_err(|error| error.with_log(&crate::server::tail(&server.log())))
    }

    /// Has a server run no more.
    pub(super) fn retire(&self, server: Server) -> Result<(), MachineError> {
        if systemd::runs() {
            systemd::uninstall(server.unit())?;
        }
        self.stop(server)
    }

    /// The server that the node has, or had.
    pub(super) fn observe_service(
        &self,
        kept: &Kept,
    ) -> Result<Option<ObservedService>, MachineError> {
        let Some(service) = kept.service.clone() else {
            return Ok(None);
        };
        let pids = self.places.cgroup(Kind::Serve).own_pids()?;
        let alive = Server::Serve.pid_file().exists() && !pids.is_empty();
        Ok(Some(ObservedService { service, alive }))
    }
}

/// An eBPF object for the agent to load in the place of its own, where there is one.
const DATAPATH_OBJECT: &str = "datapath.bpf.o";
