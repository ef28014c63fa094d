//! One face for all providers: what the commands of labctl ask of any lab.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use lab_model::lab::ProviderKind;
use lab_model::node_state::NodeState;
use lab_model::plan::{Observed, Plan, Wiring};
use lab_node::api::Status;

use crate::error::{ExecuteError, ProviderError};
use crate::execute::Event;
use crate::lock::{LabLock, Wait};
use crate::machines::Machines;
use crate::netns::Netns;
use crate::process::Process;
use crate::record::Record;
use crate::target::{self, Target};

/// Where a lab is, or is to be.
#[derive(Debug)]
pub enum Provider {
    /// Namespaces of this host's kernel.
    Netns(Netns),
    /// Machines, reached over SSH.
    Machines(Machines),
}

/// A log of a node or a pod.
#[derive(Debug)]
pub struct Log {
    /// Its name, such as `agent.log`.
    pub name: String,
    /// What is in it, bytes that aren't UTF-8 replaced.
    pub text: String,
}

/// What the agent of a node says of itself.
#[derive(Debug)]
pub struct AgentView {
    /// The document that it last applied, also when it does not run.
    pub applied: Option<NodeState>,
    /// What it answers, or why it does not; none where no agent was ever started.
    pub status: Option<Result<Status, String>>,
}

impl Provider {
    /// How its nodes are connected.
    #[must_use]
    pub const fn wiring(&self) -> Wiring {
        match self {
            Self::Netns(_) => Wiring::Cables,
            Self::Machines(_) => Wiring::Machines,
        }
    }

    /// Which one it is.
    #[must_use]
    pub const fn kind(&self) -> ProviderKind {
        match self {
            Self::Netns(_) => ProviderKind::Netns,
            Self::Machines(machines) => machines.kind(),
        }
    }

    /// Names of all its labs of which anything is there, in alphabetical order.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn labs(&self) -> Result<Vec<String>, ProviderError> {
        match self {
            Self::Netns(netns) => netns.labs(),
            Self::Machines(machines) => machines.labs(),
        }
    }

    /// What the last `up` wrote down about the lab; none when it has no state.
    ///
    /// # Errors
    /// When the record cannot be read, or was not written by a labctl like this.
    pub fn record(&self, lab: &str) -> Result<Option<Record>, ProviderError> {
        match self {
            Self::Netns(netns) => netns.record(lab),
            Self::Machines(machines) => machines.record(lab),
        }
    }

    /// The folder that holds the lab's state. It goes with the lab.
    ///
    /// # Errors
    /// When no lab can have that name.
    pub fn folder(&self, lab: &str) -> Result<PathBuf, ProviderError> {
        match self {
            Self::Netns(netns) => netns.folder(lab),
            Self::Machines(machines) => machines.folder(lab),
        }
    }

    /// Takes the lock of the lab, which need not exist.
    ///
    /// # Errors
    /// [`ProviderError::Locked`], [`ProviderError::Interrupted`], or when the
    /// lab's folder cannot be made.
    pub fn lock(&self, lab: &str, wait: Wait<'_>) -> Result<LabLock, ProviderError> {
        match self {
            Self::Netns(netns) => netns.lock(lab, wait),
            Self::Machines(machines) => machines.lock(lab, wait),
        }
    }

    /// Looks at everything of the lab, and changes nothing.
    ///
    /// # Errors
    /// When something that is there cannot be looked at. What is broken is no
    /// error, but part of what is observed.
    pub fn observe(&self, lab: &str) -> Result<Observed, ProviderError> {
        match self {
            Self::Netns(netns) => netns.observe(lab),
            Self::Machines(machines) => machines.observe(lab),
        }
    }

    /// Carries out `plan` on the lab that `lock` is for, after writing `record`
    /// down. When a step fails, or `interrupt` is set, takes back what was done.
    ///
    /// # Errors
    /// The step that failed, why, and what could not be taken back.
    pub fn execute(
        &self,
        lock: &LabLock,
        plan: &Plan,
        record: &Record,
        interrupt: &AtomicBool,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ExecuteError> {
        match self {
            Self::Netns(netns) => netns.execute(lock, plan, record, interrupt, events),
            Self::Machines(machines) => machines.execute(lock, plan, record, interrupt, events),
        }
    }

    /// Takes the lab down. What cannot be removed does not keep the rest from
    /// being removed.
    ///
    /// # Errors
    /// What remains, a sentence each.
    pub fn down(
        &self,
        lock: &LabLock,
        interrupt: &AtomicBool,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ExecuteError> {
        match self {
            Self::Netns(netns) => netns.down(lock, interrupt, events),
            Self::Machines(machines) => machines.down(lock, interrupt, events),
        }
    }

    /// The node or pod that `name` is about: a node's name, a pod's name,
    /// `namespace/name`, the beginning of a pod's name up to a hyphen when that
    /// is one pod's only, or `deploy/name` for any pod of a Deployment, as
    /// kubectl has it.
    ///
    /// # Errors
    /// [`ProviderError::NoTarget`] or [`ProviderError::Ambiguous`], both with
    /// what there is.
    pub fn find(&self, lab: &str, name: &str) -> Result<Target, ProviderError> {
        let targets = match self {
            Self::Netns(netns) => netns.targets(lab)?,
            Self::Machines(machines) => machines.targets(lab)?,
        };
        target::choose(targets, lab, name)
    }

    /// Starts `argv` on a node or in a pod, without standard input.
    ///
    /// # Errors
    /// [`ProviderError::NotRunning`] when there is nothing to enter,
    /// [`ProviderError::Start`] when the program does not start.
    pub fn start(
        &self,
        lab: &str,
        target: &Target,
        argv: &[String],
    ) -> Result<Process, ProviderError> {
        match self {
            Self::Netns(netns) => {
                let command = netns.command(lab, target, argv)?;
                Process::spawn(command).map_err(|source| ProviderError::Start {
                    program: argv.first().cloned().unwrap_or_default(),
                    source,
                })
            }
            Self::Machines(machines) => machines.start(lab, target, argv),
        }
    }

    /// What the agent of a node says of itself.
    ///
    /// # Errors
    /// When no lab can have that name, or the node cannot be reached.
    pub fn agent(&self, lab: &str, node: &str) -> Result<AgentView, ProviderError> {
        match self {
            Self::Netns(netns) => netns.agent_view(lab, node),
            Self::Machines(machines) => machines.agent_view(lab, node),
        }
    }

    /// What a node's services, or a pod, have written.
    ///
    /// # Errors
    /// When a log that is there cannot be read.
    pub fn logs(&self, lab: &str, target: &Target) -> Result<Vec<Log>, ProviderError> {
        match self {
            Self::Netns(netns) => netns.logs(lab, target),
            Self::Machines(machines) => machines.logs(lab, target),
        }
    }
}

/// Names of a target's logs, below the node's folder.
pub(crate) fn log_files(target: &Target) -> Vec<PathBuf> {
    match target {
        Target::Node { .. } => ["agent.log", "serve.log"].map(PathBuf::from).into(),
        Target::Pod {
            namespace, name, ..
        } => vec![
            Path::new("pods")
                .join(format!("{namespace}_{name}"))
                .join("log"),
        ],
    }
}
