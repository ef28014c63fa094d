//! The one interpreter of [`Action`] for namespaces.
//!
//! Steps of a phase are done together: namespaces on all processors, netlink
//! requests in batches, processes started before any is waited for.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::thread;

use lab_model::plan::{Action, Phase, Plan};
use lab_node::{namespace, sysctl};

use super::cables;
use super::namespaces::{Namespaces, Place};
use super::places::{Kind, Places};
use super::servers::{self, Server, Starting};
use super::{Netns, agents, down, limits, node};
use crate::error::{ExecuteError, ProviderError};
use crate::execute::{self, Event, Executor, Staged, StepFault};
use crate::lock::LabLock;
use crate::parallel::parallel;
use crate::record::Record;

impl Netns {
    /// Carries out `plan` on the lab that `lock` is for, and writes `record`
    /// down first: should this process be killed, the next run finds in it what
    /// this one gave out.
    ///
    /// When a step fails, or `interrupt` is set, takes back what was done.
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
        let places = self.places(lock.lab()).map_err(ExecuteError::bare)?;
        limits::make_room_for(record.nodes.len());
        let mut run = Run::new(self, &places);
        execute::execute(&lock.folder, plan, record, &mut run, interrupt, events)
    }
}

/// One run: what is open.
pub(super) struct Run<'a> {
    provider: &'a Netns,
    places: &'a Places,
    namespaces: Namespaces<'a>,
}

impl Executor for Run<'_> {
    fn stage(&mut self, actions: Staged<'_>, interrupt: &AtomicBool) -> Result<(), StepFault> {
        let mut work = Work::default();
        for (position, action) in actions {
            match action {
                Action::CreateNode { .. } => work.births.push((position, action)),
                Action::DeleteNode { node } => work.deaths.push((position, node)),
                Action::AttachSegment { node, .. } => {
                    work.cables
                        .entry(Place::Segment)
                        .or_default()
                        .push((position, action));
                    work.changes
                        .entry(Place::node(node))
                        .or_default()
                        .push((position, action));
                }
                Action::AttachOutside { node, world, .. } => {
                    work.cables
                        .entry(Place::node(world))
                        .or_default()
                        .push((position, action));
                    work.changes
                        .entry(Place::node(node))
                        .or_default()
                        .push((position, action));
                }
                Action::StartAgent { node } => work.servers.push((position, node, Server::Agent)),
                Action::StartService { node, service } => {
                    work.servers
                        .push((position, node, Server::Service(service)));
                }
                Action::ApplyState { node, state, .. } => {
                    work.states.push((position, node, state));
                }
                Action::DetachSegment { .. } | Action::ConnectPort { .. } => {
                    work.changes
                        .entry(Place::Segment)
                        .or_default()
                        .push((position, action));
                }
                Action::AddDummy { node, .. }
                | Action::DeleteInterface { node, .. }
                | Action::SetUp { node, .. }
                | Action::AddAddress { node, .. }
                | Action::DeleteAddress { node, .. }
                | Action::ReplaceRoute { node, .. }
                | Action::DeleteRoute { node, .. }
                | Action::SetNeighbour { node, .. }
                | Action::DeleteNeighbour { node, .. } => {
                    work.changes
                        .entry(Place::node(node))
                        .or_default()
                        .push((position, action));
                }
                Action::CreateLab { .. }
                | Action::RemoveLab { .. }
                | Action::CreateSegment
                | Action::DeleteSegment
                | Action::StopService { .. }
                | Action::StopAgent { .. }
                | Action::SetForwarding { .. }
                | Action::SetHosts { .. } => {
                    self.at_once(action).map_err(StepFault::at(position))?;
                }
            }
        }
        self.settle(work, interrupt)
    }

    /// Phases that differ only in the order within one namespace are done together:
    /// interfaces are made before anything else, and a batch keeps the order. So are those
    /// that wait for each other only within one node.
    fn together(&self, phase: Phase) -> Phase {
        match phase {
            Phase::Links
            | Phase::DeleteRoutes
            | Phase::DeleteAddresses
            | Phase::Addresses
            | Phase::Routes => Phase::Links,
            Phase::Processes | Phase::States => Phase::Processes,
            other => other,
        }
    }
}

impl<'a> Run<'a> {
    pub(super) const fn new(provider: &'a Netns, places: &'a Places) -> Self {
        Self {
            provider,
            places,
            namespaces: Namespaces::new(places),
        }
    }

    fn settle(&mut self, work: Work<'_>, interrupt: &AtomicBool) -> Result<(), StepFault> {
        self.delete_nodes(&work.deaths)?;
        self.create_nodes(work.births)?;
        // The world's before the segment's: eth0 comes before eth1 on any machine.
        for (sender, actions) in work.cables.iter().rev() {
            cables::attach(&mut self.namespaces, sender, actions)?;
        }
        for (place, actions) in &work.changes {
            cables::change(&mut self.namespaces, place, actions)?;
        }
        let starting = self.start_servers(work.servers)?;
        let (agents, services) = servers::split(starting);
        servers::wait_ready(agents, interrupt)?;
        // The world attaches its programs, and waits for the kernel, while the agents' are verified.
        thread::scope(|scope| {
            let waiting = scope.spawn(|| servers::wait_ready(services, interrupt));
            let applied = agents::apply(self.places, work.states);
            let ready = waiting
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            ready.and(applied)
        })
    }

    /// What gains nothing from being done together.
    fn at_once(&mut self, action: &Action) -> Result<(), ProviderError> {
        let places = self.places;
        match action {
            Action::CreateLab { .. } => places.cgroup().create()?,
            Action::RemoveLab { .. } => down::remove_lab(places)?,
            Action::CreateSegment => {
                namespace::prepare_folder(&places.netns_folder())?;
                let handle = cables::create_segment(places)?;
                self.namespaces.adopt(Place::Segment, handle);
            }
            Action::DeleteSegment => {
                self.namespaces.close(&Place::Segment);
                namespace::delete(&places.fabric())?;
            }
            Action::StopService { node, .. } => servers::stop_service(places, node)?,
            Action::StopAgent { node } => servers::stop(places, node, Kind::Agent)?,
            Action::SetHosts { node, hosts, .. } => node::write_hosts(places, node, hosts)?,
            Action::SetForwarding { node, enabled } => {
                let value = if *enabled { "1" } else { "0" };
                let netns = &self.namespaces.get(&Place::node(node))?.netns;
                namespace::in_netns(netns, || sysctl::set("net.ipv4.ip_forward", value))?.map_err(
                    |source| ProviderError::Sysctl {
                        place: node.clone(),
                        source,
                    },
                )?;
            }
            _ => {}
        }
        Ok(())
    }

    fn create_nodes(&mut self, births: Staged<'_>) -> Result<(), StepFault> {
        let Some((first, _)) = births.first() else {
            return Ok(());
        };
        let (provider, places) = (self.provider, self.places);
        namespace::prepare_folder(&places.netns_folder())
            .map_err(|error| StepFault::at(*first)(error.into()))?;
        let born = parallel(births, |(position, action)| {
            let Action::CreateNode { node, role, hosts } = action else {
                return Ok(None);
            };
            node::create(provider, places, node, *role, hosts)
                .map(|handle| Some((position, node, handle)))
                .map_err(StepFault::at(position))
        });
        for born in born {
            if let Some((position, node, handle)) = born? {
                node::name(places, node, &handle).map_err(StepFault::at(position))?;
                self.namespaces.adopt(Place::node(node), handle);
            }
        }
        Ok(())
    }

    fn delete_nodes(&mut self, deaths: &[(usize, &String)]) -> Result<(), StepFault> {
        let names: Vec<_> = deaths.iter().map(|(_, node)| node.as_str()).collect();
        names
            .iter()
            .for_each(|node| self.namespaces.close(&Place::node(node)));
        let outcomes = node::delete(self.places, &names);
        let mut outcomes = deaths.iter().zip(outcomes);
        outcomes.try_for_each(|((at, _), outcome)| outcome.map_err(StepFault::at(*at)))
    }

    fn start_servers(
        &self,
        servers: Vec<(usize, &String, Server<'_>)>,
    ) -> Result<Vec<Starting>, StepFault> {
        let (provider, places) = (self.provider, self.places);
        let starting = parallel(servers, |(position, node, server)| {
            servers::start(provider, places, position, node, server)
                .map_err(StepFault::at(position))
        });
        starting.into_iter().collect()
    }
}

/// Actions sorted by the way in which they are done.
#[derive(Default)]
struct Work<'p> {
    deaths: Vec<(usize, &'p String)>,
    births: Staged<'p>,
    /// By where the request goes.
    cables: BTreeMap<Place, Staged<'p>>,
    /// By namespace, in the order of the plan.
    changes: BTreeMap<Place, Staged<'p>>,
    servers: Vec<(usize, &'p String, Server<'p>)>,
    states: agents::Applications<'p>,
}
