//! Commands on machines and in their pods.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use lab_node::machine::HOME;
use lab_node::machine::api::Client;
use lab_ssh::Destination;
use lab_ssh::blocking::{Connection, RemoteProcess};
use nix::sys::signal::Signal;

use super::Machines;
use super::link::remote_labctl;
use crate::error::ProviderError;
use crate::process::{Control, Process};
use crate::provider::{AgentView, Log, log_files};
use crate::target::Target;

impl Machines {
    /// All nodes and pods of the lab, as it was last brought up: asking every machine
    /// would take longer than what is asked for.
    ///
    /// # Errors
    /// [`ProviderError::NoLab`], or when the lab's state cannot be read.
    pub fn targets(&self, lab: &str) -> Result<Vec<Target>, ProviderError> {
        let Some(record) = self.record(lab)? else {
            return Err(ProviderError::NoLab {
                lab: lab.to_owned(),
                known: self.labs()?,
            });
        };
        let nodes = record.nodes.iter().map(|node| Target::Node {
            name: node.name.clone(),
        });
        Ok(nodes.chain(record.pods.iter().cloned()).collect())
    }

    /// Starts `argv` on a node or in a pod, without standard input.
    ///
    /// # Errors
    /// When the machine cannot be reached.
    pub fn start(
        &self,
        lab: &str,
        target: &Target,
        argv: &[String],
    ) -> Result<Process, ProviderError> {
        let connection = self.connection(lab, target.node())?;
        let mut line = command_line(target, true);
        line.extend_from_slice(argv);
        let process = connection.process(&line)?;
        Leash::process(process)
    }

    /// The command line that runs `argv` on a node or in a pod, once on the machine.
    #[must_use]
    pub fn command_line(&self, target: &Target, argv: &[String]) -> Vec<String> {
        let mut line = command_line(target, false);
        line.extend_from_slice(argv);
        line
    }

    /// A connection to a machine, shared with whatever else is done there.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn connection(&self, lab: &str, node: &str) -> Result<Connection, ProviderError> {
        let folder = self.lab_folder(lab)?;
        let never = AtomicBool::new(false);
        self.with_link(&folder, node, &never, |link| match link.lost() {
            Some(lost) => Err(lost.into()),
            None => Ok(link.connection().clone()),
        })
    }

    /// What the agent of a node says of itself.
    ///
    /// # Errors
    /// When the machine cannot be reached.
    pub fn agent_view(&self, lab: &str, node: &str) -> Result<AgentView, ProviderError> {
        let folder = self.lab_folder(lab)?;
        let never = AtomicBool::new(false);
        let (observed, status) = self.with_link(&folder, node, &never, |link| {
            let observed = link.ask(Client::observe)?;
            let status = link.ask(Client::agent_status)?;
            Ok((observed, status))
        })?;
        let fault = |source| ProviderError::Node {
            node: node.to_owned(),
            source,
        };
        let agent = observed.map_err(fault)?.agent;
        let started = agent.is_some();
        let applied = agent.and_then(|agent| agent.applied);
        Ok(AgentView {
            applied: applied.map(Arc::unwrap_or_clone),
            status: started.then(|| status.map_err(|error| error.to_string())),
        })
    }

    /// What a node's services, or a pod, have written.
    ///
    /// # Errors
    /// When the machine cannot be reached.
    pub fn logs(&self, lab: &str, target: &Target) -> Result<Vec<Log>, ProviderError> {
        let connection = self.connection(lab, target.node())?;
        let mut logs = Vec::new();
        for file in log_files(target) {
            let path = format!("{HOME}/{}", file.display());
            let read = connection.output(&["cat", "--", &path])?;
            // One that is not there was never written.
            if read.exit.success() {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                logs.push(Log {
                    name: name.into_owned(),
                    text: String::from_utf8_lossy(&read.stdout).into_owned(),
                });
            }
        }
        Ok(logs)
    }

    /// Waits for what a connection of this provider's is doing.
    pub fn block_on<F: Future>(&self, doing: F) -> F::Output {
        self.runtime.block_on(doing)
    }

    /// Where and how a machine is reached.
    ///
    /// # Errors
    /// When it is not there.
    pub fn destination(&self, lab: &str, node: &str) -> Result<Destination, ProviderError> {
        self.backend().destination(&self.lab_folder(lab)?, node)
    }
}

fn command_line(target: &Target, leash: bool) -> Vec<String> {
    let mut line = vec![remote_labctl(), "node".to_owned(), "run".to_owned()];
    if let Target::Pod {
        namespace, name, ..
    } = target
    {
        line.extend(["--pod".to_owned(), format!("{namespace}/{name}")]);
    }
    if leash {
        line.push("--leash".to_owned());
    }
    line.push("--".to_owned());
    line
}

/// Holds a command on a machine. SSH servers do not pass signals to root's commands
/// (session.c of OpenSSH 9.2: "session signalling requires privilege separation"), and
/// leave commands running when the connection goes. So `labctl node run --leash` is
/// told signals on its standard input, and kills the command when that ends.
struct Leash {
    strings: Mutex<Option<UnixStream>>,
    process: Mutex<RemoteProcess>,
}

impl Leash {
    fn process(mut process: RemoteProcess) -> Result<Process, ProviderError> {
        let streams = (process.stdout.take(), process.stderr.take());
        let (Some(stdout), Some(stderr)) = streams else {
            return Err(ProviderError::Start {
                program: "a remote command".to_owned(),
                source: io::ErrorKind::BrokenPipe.into(),
            });
        };
        let strings = Mutex::new(process.stdin.take());
        let process = Mutex::new(process);
        let leash = Arc::new(Self { strings, process });
        Ok(Process::new(Box::new(stdout), Box::new(stderr), leash))
    }
}

impl Control for Leash {
    fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut strings = self.strings.lock().unwrap_or_else(PoisonError::into_inner);
        let strings = strings.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let name = signal.as_str();
        writeln!(
            strings,
            "signal {}",
            name.strip_prefix("SIG").unwrap_or(name)
        )
    }

    fn kill(&self) {
        *self.strings.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn wait(&self) -> io::Result<i32> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process
            .wait()
            .map(|exit| exit.code())
            .map_err(io::Error::other)
    }
}
