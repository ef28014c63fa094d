//! The node agent: makes the kernel match a [`NodeState`], and answers questions
//! about it over a Unix socket.
//!
//! ```text
//!            apply ──► stale pods end ─► folders, namespaces ─► interfaces, routes
//!                      ─► programs, maps ─► workloads start ─► node-state.json
//! ```
//!
//! Each stage compares what is there with what the document says and does only
//! what differs, so that applying twice changes nothing, and a new agent goes on
//! where another one stopped: nothing it makes ends with it.

mod answers;
mod collection;
mod dns_files;
mod error;
mod event_loop;
mod files;
mod flow_tables;
mod launch;
pub(crate) mod log;
mod masquerade_config;
pub(crate) mod network;
mod observed;
mod pod;
mod pod_files;
mod pods;
mod readiness;
mod sandbox;
mod services;
mod view;
mod workload;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use lab_model::node_state::{NODE_STATE_VERSION, NodeState};
use nix::sys::signal::Signal;

pub use error::AgentError;
pub(crate) use files::remove_whole;
pub use observed::{applied, observe};
pub(crate) use pod::macs as pod_macs;
pub(crate) use view::NodeView;

use crate::api::{self, AttachMode};
use crate::cgroup::{Cgroup, CgroupError};
use crate::datapath::{Contents, Datapath, Hook, Sizes};
use crate::flows::NodeFlows;
use crate::iptables::{self, Iptables};
use crate::l2::{self, Announcer};
use crate::netlink::Netlink;
use crate::node_mounts::NODE_NETNS_FOLDER;
use collection::Collector;
use masquerade_config::MasqueradeConfig;
use pods::Pods;

/// Where the agent finds its node.
#[derive(Debug)]
pub struct AgentOptions {
    /// The node's folder, `/run/labctl` as the node sees it.
    pub dir: PathBuf,
    /// The node's bpffs.
    pub bpffs: PathBuf,
    /// An object to load in the place of the built-in one.
    pub datapath_object: Option<PathBuf>,
    /// How programs are attached to interfaces.
    pub attach_mode: AttachMode,
    /// Gets one byte, and is closed, once the socket answers.
    pub ready: Option<OwnedFd>,
    /// The program that runs workloads, as `labctl app …`.
    pub labctl: PathBuf,
    /// The node's cgroup, below which pods get theirs.
    pub cgroup: Cgroup,
}

impl AgentOptions {
    /// The usual places: the agent's own cgroup is `<node>/agent`, and its own
    /// executable, also one that was replaced meanwhile, runs workloads. Programs are
    /// attached in the best way that the kernel has.
    ///
    /// # Errors
    /// When cgroup2 is not mounted.
    pub fn new(dir: PathBuf, bpffs: PathBuf) -> Result<Self, CgroupError> {
        let own = Cgroup::of_self()?;
        let cgroup = own.parent().unwrap_or(own);
        let labctl = PathBuf::from("/proc/self/exe");
        Ok(Self {
            dir,
            bpffs,
            datapath_object: None,
            attach_mode: AttachMode::of_kernel(),
            ready: None,
            labctl,
            cgroup,
        })
    }
}

/// Runs the agent until SIGTERM or SIGINT. The datapath and the pods stay.
///
/// # Errors
/// When the folder, the socket or the namespace cannot be used. What goes wrong
/// later is logged, and answered to whoever asked.
pub fn run(options: AgentOptions) -> Result<(), AgentError> {
    let (stop, on_signal) =
        std::os::unix::net::UnixStream::pair().map_err(|source| AgentError::Signals { source })?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        on_signal
            .try_clone()
            .and_then(|pipe| signal_hook::low_level::pipe::register(signal as i32, pipe))
            .map_err(|source| AgentError::Signals { source })?;
    }
    serve(options, stop)
}

/// As [`run`], until `stop` can be read from.
///
/// # Errors
/// As [`run`].
pub fn serve(mut options: AgentOptions, stop: impl AsFd) -> Result<(), AgentError> {
    let ready = options.ready.take();
    let mut agent = Agent::new(options)?;
    agent.resume();
    event_loop::run(&mut agent, stop.as_fd(), ready)
}

struct Agent {
    options: AgentOptions,
    netlink: Netlink,
    applied: Option<NodeState>,
    pods: Pods,
    datapath: Option<Datapath>,
    masquerade: MasqueradeConfig,
    iptables: Iptables,
    collector: Collector,
    flows: NodeFlows,
    announcer: Announcer,
    /// Pods of this node, by `namespace/name`, that services leave out.
    unready: BTreeSet<String>,
}

impl Agent {
    fn new(options: AgentOptions) -> Result<Self, AgentError> {
        files::make_folder(&options.dir)?;
        let masquerade = MasqueradeConfig::new(&options.dir)?;
        let pods = Pods::new(pods::Places {
            folder: options.dir.join("pods"),
            netns: PathBuf::from(NODE_NETNS_FOLDER),
            cgroup: options.cgroup.child("pods"),
            labctl: options.labctl.clone(),
        });
        Ok(Self {
            netlink: Netlink::open()?,
            applied: None,
            pods,
            datapath: None,
            masquerade,
            iptables: Iptables::default(),
            collector: Collector::new(std::time::Instant::now()),
            flows: NodeFlows::default(),
            announcer: Announcer::default(),
            unready: BTreeSet::new(),
            options,
        })
    }

    /// Goes on with what an earlier agent applied. What does not succeed is
    /// logged: whoever applies next sees to it.
    fn resume(&mut self) {
        match files::read_state(&self.options.dir.join(api::STATE_FILE)) {
            Ok(None) => {}
            Ok(Some(state)) => match self.apply(state) {
                Ok(()) => log::info(format_args!("resumed what was applied before")),
                Err(error) => log::warn(format_args!("failed to resume: {error}")),
            },
            Err(error) => log::warn(format_args!("failed to resume: {error}")),
        }
    }

    fn apply(&mut self, state: NodeState) -> Result<(), AgentError> {
        if state.version != NODE_STATE_VERSION {
            return Err(AgentError::Version {
                found: state.version,
                known: NODE_STATE_VERSION,
            });
        }
        pod::validate(&state)?;
        self.masquerade
            .configure(state.datapath.ip_masq_agent.as_ref())?;
        network::prepare_tunnel(&mut self.netlink, &state)?;
        pod_files::write_node_search(&self.options.dir, &state.dns)?;
        let mut laps = log::Laps::start();
        self.pods.remove_stale(&state, &mut self.netlink)?;
        self.pods.prepare(&state)?;
        laps.lap("pods");
        let view = network::reconcile(&mut self.netlink, &state, &mut self.pods)?;
        laps.lap("network");
        self.reconcile_datapath(&state, &view)?;
        let pin = Datapath::l2_responder(&self.options.bpffs);
        self.announcer
            .configure(l2::Config::new(&state, &view, pin));
        laps.lap("datapath");
        self.iptables.apply(iptables::wanted(&state, &view))?;
        laps.lap("iptables");
        self.pods.start(&state)?;
        self.configure_flows(&state, &view);
        laps.lap("workloads");
        log::info(format_args!("applied: {laps}"));
        files::write_state(&self.options.dir.join(api::STATE_FILE), &state)?;
        self.applied = Some(state);
        self.follow_readiness();
        Ok(())
    }

    fn reconcile_datapath(&mut self, state: &NodeState, view: &NodeView) -> Result<(), AgentError> {
        let sizes = Sizes::of(&state.datapath);
        let has_tunnel = network::tunnel_device(&state.datapath.routing).is_some();
        let datapath = match &mut self.datapath {
            Some(loaded) if loaded.has(sizes, has_tunnel) => loaded,
            slot => slot.insert(Datapath::load(
                self.options.datapath_object.as_deref(),
                &self.options.bpffs,
                sizes,
                self.options.attach_mode,
                has_tunnel,
            )?),
        };
        datapath
            .tables
            .write(&Contents::new(state, view, self.masquerade.cidrs()))?;
        self.reconcile_services(state, view)?;
        let Some(datapath) = &mut self.datapath else {
            return Ok(());
        };
        let hooks = hooks(state, view);
        datapath.detach_others(&hooks.iter().map(|(_, interface, _)| *interface).collect())?;
        for (hook, interface, index) in hooks {
            if !datapath.is_attached(hook, interface, index) {
                datapath.attach(hook, interface, index)?;
            }
        }
        datapath.forget_earlier_calls()?;
        Ok(())
    }

    /// What differs from the applied document.
    fn drift(&mut self) -> Result<Vec<String>, AgentError> {
        let Some(state) = &self.applied else {
            return Ok(Vec::new());
        };
        let (view, mut differences) =
            network::differences(&mut self.netlink, state, &mut self.pods)?;
        differences.extend(self.pods.differences(state));
        differences.extend(
            self.masquerade
                .difference(state.datapath.ip_masq_agent.as_ref()),
        );
        differences.extend(self.iptables.differences()?);
        if let Some(datapath) = &mut self.datapath {
            let contents = Contents::new(state, &view, self.masquerade.cidrs());
            differences.extend(datapath.tables.differences(&contents)?);
            for (hook, interface, index) in hooks(state, &view) {
                if !datapath.is_attached(hook, interface, index) {
                    differences.push(format!("{hook} is not attached to {interface}"));
                }
            }
        }
        let state = state.clone();
        differences.extend(self.service_differences(&state, &view)?);
        Ok(differences)
    }

    /// The ip-masq-agent's file may have changed.
    fn reload_masquerade(&mut self) {
        let Some(cidrs) = self.masquerade.reload() else {
            return;
        };
        if let Some(datapath) = &mut self.datapath {
            match datapath.tables.write_ip_masq(&cidrs) {
                Ok(changes) => log::info(format_args!(
                    "ip-masq-agent: {} added, {} deleted",
                    changes.written, changes.deleted
                )),
                Err(error) => log::warn(format_args!("failed to {error}")),
            }
        }
    }

    /// The time for garbage collection has come, or the datapath asked for it.
    fn collect(&mut self) {
        if let Some(datapath) = &mut self.datapath {
            self.collector
                .run(&mut datapath.tables, std::time::Instant::now());
        }
    }
}

/// Programs and the interfaces they belong on, of those that exist.
fn hooks<'a>(state: &'a NodeState, view: &NodeView) -> Vec<(Hook, &'a str, u32)> {
    let containers = state
        .pods
        .iter()
        .map(|pod| (Hook::CONTAINER, &pod.interface));
    let devices = state
        .datapath
        .devices
        .iter()
        .map(|device| (Hook::NETDEV, device));
    let pairs = containers
        .chain(devices)
        .flat_map(|(pair, interface)| pair.map(|hook| (hook, interface.as_str())));
    let host = [
        (Hook::FromHost, network::HOST),
        (Hook::ToHost, network::HOST),
        (Hook::ToHost, network::NET),
    ];
    let tunnel = network::tunnel_device(&state.datapath.routing)
        .into_iter()
        .flat_map(|device| Hook::OVERLAY.map(|hook| (hook, device)));
    let wanted = pairs.chain(host).chain(tunnel);
    wanted
        .filter_map(|(hook, interface)| Some((hook, interface, view.link(interface)?.index)))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
