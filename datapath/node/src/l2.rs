//! L2 announcements: one node of the cluster answers ARP requests for a LoadBalancer
//! address, while its agent is alive.
//!
//! Cilium elects that node by leases in the Kubernetes API, named
//! `cilium-l2announce-<namespace>-<service>`. A lab has no such server: each agent asks
//! those before it among the candidates whether they are alive ([`health`]), and announces
//! when none is ([`election`]). The answers themselves are the datapath's
//! (`cil_from_netdev`), up to a deadline that the agent moves on ([`responder`]), so that
//! the address of an agent that died is free before another node takes it.

mod election;
mod health;
mod responder;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use lab_datapath_common::arp::L2ResponderKey;
use lab_model::node_state::{Announcement, NodeState};

use crate::agent::NodeView;
use crate::agent::log;
use crate::netlink::Mac;
use election::Election;
use health::Server;
use responder::Responder;

/// How often deadlines are moved on, and other agents asked.
const PERIOD: Duration = Duration::from_millis(400);
/// Other nodes' neighbours hear of a new place at once, and once more for those that
/// missed it, or heard an old answer meanwhile.
const GRATUITOUS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// What a node announces, and with whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    node: String,
    /// Where this agent answers that it is alive.
    address: Ipv4Addr,
    peers: BTreeMap<String, Ipv4Addr>,
    announcements: Vec<Announcement>,
    /// Index and MAC address of each interface.
    interfaces: BTreeMap<String, (u32, Mac)>,
    /// The map's pin.
    pin: PathBuf,
}

impl Config {
    /// What `state` asks of a node with the interfaces of `view`: only announcements that
    /// this node is a candidate for.
    pub(crate) fn new(state: &NodeState, view: &NodeView, pin: PathBuf) -> Self {
        let own = |it: &&Announcement| it.candidates.contains(&state.node.name);
        let interfaces = view.links.iter();
        Self {
            node: state.node.name.clone(),
            address: state.node.address,
            peers: state
                .peers
                .iter()
                .map(|peer| (peer.name.clone(), peer.address))
                .collect(),
            announcements: state.announcements.iter().filter(own).cloned().collect(),
            interfaces: interfaces
                .filter_map(|link| Some((link.name.clone(), (link.index, link.mac?))))
                .collect(),
            pin,
        }
    }

    /// Agents that this one must ask: those before it, wherever it is a candidate.
    fn before(&self) -> BTreeMap<&str, Ipv4Addr> {
        let before = self
            .announcements
            .iter()
            .flat_map(|it| election::before(&it.candidates, &self.node));
        before
            .filter_map(|name| Some((name, *self.peers.get(name)?)))
            .collect()
    }

    /// The map's keys for an announcement, each with the MAC address to answer.
    fn keys(&self, announcement: &Announcement) -> Vec<(L2ResponderKey, Mac)> {
        let interfaces = announcement.interfaces.iter();
        let found = interfaces.filter_map(|name| self.interfaces.get(name));
        found
            .map(|(ifindex, mac)| {
                let key = L2ResponderKey {
                    address: announcement.address.into(),
                    ifindex: *ifindex,
                };
                (key, *mac)
            })
            .collect()
    }
}

/// The announcer of an agent: a thread of its own, so that nothing else the agent does
/// delays its sign of life. It ends with this.
#[derive(Default)]
pub(crate) struct Announcer {
    thread: Option<Sender<Config>>,
}

impl Announcer {
    /// Announces what `config` says from now on.
    pub(crate) fn configure(&mut self, config: Config) {
        let nothing = config.announcements.is_empty();
        if nothing && self.thread.is_none() {
            return;
        }
        let thread = self.thread.get_or_insert_with(start);
        if let Err(lost) = thread.send(config) {
            // It ended by a fault that it logged.
            let again = start();
            let _ = again.send(lost.0);
            self.thread = Some(again);
        }
        if nothing {
            self.thread = None;
        }
    }
}

fn start() -> Sender<Config> {
    let (sender, receiver) = channel();
    thread::spawn(move || run(&receiver));
    sender
}

/// Until the agent lets go of it. What is announced then stays for the rest of its
/// deadline, for the next agent to go on with.
fn run(configs: &Receiver<Config>) {
    let Ok(mut config) = configs.recv() else {
        return;
    };
    let mut announcing = Announcing::new(Instant::now());
    loop {
        announcing.turn(&config);
        match configs.recv_timeout(PERIOD) {
            Ok(next) => config = next,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What goes on from turn to turn.
struct Announcing {
    election: Election,
    server: Option<(Ipv4Addr, Server)>,
    responder: Option<(PathBuf, Responder)>,
    /// What is announced here, since when, and how often the neighbours were told.
    held: BTreeMap<L2ResponderKey, (Instant, usize)>,
    leases: BTreeSet<String>,
    /// Said once, not every turn.
    complained: bool,
}

impl Announcing {
    fn new(now: Instant) -> Self {
        Self {
            election: Election::new(now),
            server: None,
            responder: None,
            held: BTreeMap::new(),
            leases: BTreeSet::new(),
            complained: false,
        }
    }

    fn turn(&mut self, config: &Config) {
        // Those that this node holds do not wait for answers of others.
        let outcome = self.serve(config).and_then(|()| self.announce(config));
        let alive = health::alive(&config.before());
        let now = Instant::now();
        for name in alive {
            self.election.heard(&name, now);
        }
        match outcome.and_then(|()| self.announce(config)) {
            Ok(()) => self.complained = false,
            Err(error) if !self.complained => {
                log::warn(format_args!("failed to {error}"));
                self.complained = true;
            }
            Err(_) => {}
        }
    }

    /// Answers at the node's address, also when that is another one now.
    fn serve(&mut self, config: &Config) -> Result<(), String> {
        if config.announcements.is_empty() {
            self.server = None;
        } else if self.server.as_ref().map(|(address, _)| *address) != Some(config.address) {
            self.server = None;
            self.server = Some((config.address, Server::start(config.address)?));
        }
        Ok(())
    }

    /// Takes, keeps and gives up, as the election is now.
    fn announce(&mut self, config: &Config) -> Result<(), String> {
        let now = Instant::now();
        let mut wanted = BTreeMap::new();
        let mut leases = BTreeSet::new();
        for announcement in &config.announcements {
            let candidates = &announcement.candidates;
            if self.election.holds(candidates, &config.node, now) {
                wanted.extend(config.keys(announcement));
                leases.insert(lease(announcement));
            }
        }
        self.tell(&leases);
        let responder = match &mut self.responder {
            Some((pin, responder)) if *pin == config.pin => responder,
            slot => {
                let opened = Responder::open(&config.pin)?;
                &mut slot.insert((config.pin.clone(), opened)).1
            }
        };
        responder.hold(&wanted)?;
        self.held.retain(|key, _| wanted.contains_key(key));
        for (key, mac) in &wanted {
            let (since, told) = self.held.entry(*key).or_insert((now, 0));
            if GRATUITOUS
                .get(*told)
                .is_some_and(|due| now >= *since + *due)
            {
                responder::announce(*key, *mac)?;
                *told += 1;
            }
        }
        Ok(())
    }

    fn tell(&mut self, leases: &BTreeSet<String>) {
        for lease in leases.difference(&self.leases) {
            log::info(format_args!("successfully acquired lease {lease}"));
        }
        for lease in self.leases.difference(leases) {
            log::info(format_args!("lost lease {lease}"));
        }
        self.leases.clone_from(leases);
    }
}

/// The lease's name in Cilium.
fn lease(announcement: &Announcement) -> String {
    let service = announcement.service.replace('/', "-");
    format!("cilium-l2announce-{service} ({})", announcement.address)
}
