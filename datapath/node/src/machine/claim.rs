//! A machine becomes a node.

use std::path::Path;

use lab_model::plan::{Action, ObservedNode, SEGMENT_INTERFACE};

use super::api::{Claim, Owner};
use super::before::{Before, Claimed};
use super::places::{HOME, Places, home};
use super::{Machine, MachineError, base, files, systemd};
use crate::node_network::Snapshot;
use crate::sysctl;

/// The setting that a plan decides on.
pub(super) const FORWARDING: &str = "net.ipv4.ip_forward";

impl Machine {
    /// Makes this machine a node, or takes up again the node that it is. What was
    /// there before is on record ahead of any change.
    ///
    /// # Errors
    /// [`MachineError::Taken`] while it carries another lab; when it lacks the
    /// lab's interface, or something cannot be made.
    pub fn claim(claim: &Claim) -> Result<Self, MachineError> {
        let owner = &claim.owner;
        check_name(&owner.node)?;
        let _turn = files::turn()?;
        let claimed = Claimed::read()?;
        if let Some(claimed) = &claimed
            && !claimed.admits(owner)
        {
            return Err(MachineError::Taken {
                node: owner.node.clone(),
                carries: claimed.owner.clone().into(),
            });
        }
        base::check_run()?;
        let network = Snapshot::take()?;
        check_interface(owner, &network)?;
        let before = match claimed {
            Some(claimed) => claimed.before,
            None => Before::of_this_machine(&network)?,
        };
        files::make_folder(Path::new(HOME))?;
        files::make_folder(&home("bin"))?;
        let claimed = Claimed {
            owner: owner.clone(),
            before,
        };
        claimed.write()?;
        base::mount_cgroup2()?;
        let places = Places::of(&owner.node)?;
        let machine = Self { places, claimed };
        machine.settle()?;
        let begin = machine.first_actions(claim);
        machine.perform_held(&begin).map_err(|(_, error)| error)?;
        if systemd::runs() {
            systemd::install(&systemd::BOOT, owner)?;
            systemd::start(&systemd::BOOT)?;
        }
        Ok(machine)
    }

    /// What a node has before any other action.
    fn first_actions(&self, claim: &Claim) -> [Action; 3] {
        let node = || claim.owner.node.clone();
        [
            Action::SetUp {
                node: node(),
                interface: SEGMENT_INTERFACE.to_owned(),
            },
            Action::SetForwarding {
                node: node(),
                enabled: claim.owner.role.forwards(),
            },
            Action::SetHosts {
                node: node(),
                hosts: claim.hosts.clone(),
                was: [].into(),
            },
        ]
    }
}

/// The name becomes a host name and a part of paths.
fn check_name(name: &str) -> Result<(), MachineError> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 63 || !name.bytes().all(legal) {
        return Err(MachineError::Name(name.to_owned()));
    }
    Ok(())
}

fn check_interface(owner: &Owner, network: &Snapshot) -> Result<(), MachineError> {
    let mut names = network.links.iter().map(|link| &link.name);
    if names.any(|name| name == SEGMENT_INTERFACE) {
        return Ok(());
    }
    let names = network.links.iter().map(|link| link.name.clone());
    Err(MachineError::NoInterface {
        node: owner.node.clone(),
        interface: SEGMENT_INTERFACE,
        found: names.collect(),
    })
}

impl Before {
    fn of_this_machine(network: &Snapshot) -> Result<Self, MachineError> {
        let mut node = ObservedNode::default();
        network.describe(&mut node);
        let mut names = base::reverse_path_filters()?;
        names.push(FORWARDING.to_owned());
        // An interface that went meanwhile has no settings to come back to.
        let settings = names.into_iter().filter_map(|name| {
            let value = sysctl::get(&name).ok()?;
            Some((name, value))
        });
        let segment = node.interfaces.get(SEGMENT_INTERFACE);
        Ok(Self {
            host_name: base::host_name()?,
            settings: settings.collect(),
            was_up: segment.is_some_and(|it| it.up),
            static_routes: node.static_routes,
            mounts: base::missing_mounts()?,
            addresses: node
                .interfaces
                .into_iter()
                .map(|(name, it)| (name, it.addresses))
                .collect(),
        })
    }
}
