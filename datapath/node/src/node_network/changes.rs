//! Interfaces, addresses, routes: actions to netlink requests.

use std::collections::BTreeMap;

use lab_model::plan::{
    Action, BRIDGE, MacAddress, OUTSIDE_INTERFACE, Route as LabRoute, SEGMENT_INTERFACE,
};
use nix::errno::Errno;

use super::mac;
use crate::netlink::{LinkChange, LinkEnd, Netlink, NetlinkError, Request, Route, Scope, protocol};

/// The interfaces of one network namespace: a socket in it, and their indexes.
pub struct Interfaces {
    /// The socket.
    pub netlink: Netlink,
    indexes: BTreeMap<String, u32>,
    next: u32,
}

impl Interfaces {
    /// Of a namespace that was made a moment ago, with nothing in it but `lo`;
    /// its interfaces are numbered from `next`.
    #[must_use]
    pub fn fresh(netlink: Netlink, next: u32) -> Self {
        let indexes = BTreeMap::from([("lo".to_owned(), 1)]);
        Self {
            netlink,
            indexes,
            next,
        }
    }

    /// Of the namespace that `netlink` is in.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn existing(mut netlink: Netlink) -> Result<Self, NetlinkError> {
        let links = netlink.links()?;
        let indexes: BTreeMap<_, _> = links.into_iter().map(|it| (it.name, it.index)).collect();
        let next = indexes.values().max().map_or(1, |index| index + 1);
        Ok(Self {
            netlink,
            indexes,
            next,
        })
    }

    /// Index of an interface that is there.
    #[must_use]
    pub fn index(&self, interface: &str) -> Option<u32> {
        self.indexes.get(interface).copied()
    }

    /// An index for an interface that is about to be made. Chosen here rather
    /// than by the kernel, so that addresses and routes need not ask for it.
    pub fn reserve(&mut self, interface: &str) -> u32 {
        let index = self.next;
        self.next += 1;
        self.indexes.insert(interface.to_owned(), index);
        index
    }

    /// Carries out actions on interfaces, addresses, routes and neighbours in
    /// order, each with its place in the caller's list, in as few batches as can
    /// be. What is to go and is gone, or is to come and is there, is no fault.
    ///
    /// # Errors
    /// The place of the first that was refused, and the kernel's answer.
    pub fn change(&mut self, actions: &[(usize, &Action)]) -> Result<(), (usize, NetlinkError)> {
        let mut batch = Batch::default();
        for (position, action) in actions {
            if let Action::AddDummy {
                interface,
                mac: own,
                ..
            } = action
            {
                // Made apart, since kernels without dummies need a second try.
                self.send(&mut batch)?;
                let added = self.add_dummy(interface, *own);
                added.map_err(|error| (*position, error))?;
                continue;
            }
            match self.request(action) {
                Some(request) => batch.push(*position, action, request),
                // What is on an interface that is not there is not there either.
                None if is_removal(action) => {}
                None => return Err((*position, no_interface(action))),
            }
        }
        self.send(&mut batch)
    }

    /// The first dummy loads the kernel's module for them, which makes one of its
    /// own, `dummy0`, that may take the index chosen here (dummy.c, `numdummies`).
    fn add_dummy(&mut self, interface: &str, own: MacAddress) -> Result<(), NetlinkError> {
        let end = |index| LinkEnd::named(interface).mac(mac(own)).index(index);
        let index = self.reserve(interface);
        let error = match self.netlink.add_dummy(&end(index)) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let links = self.netlink.links()?;
        let taken = links
            .iter()
            .any(|link| link.index == index && link.name != interface);
        if !taken || links.iter().any(|link| link.name == interface) {
            return Err(error);
        }
        self.indexes = links.into_iter().map(|it| (it.name, it.index)).collect();
        self.next = self.indexes.values().max().map_or(1, |index| index + 1);
        let index = self.reserve(interface);
        self.netlink.add_dummy(&end(index)).map(drop)
    }

    fn send(&mut self, batch: &mut Batch<'_>) -> Result<(), (usize, NetlinkError)> {
        let Batch { actions, requests } = std::mem::take(batch);
        let first = actions.first().map_or(0, |(position, _)| *position);
        let outcomes = self.netlink.execute_each(&requests);
        let outcomes = outcomes.map_err(|error| (first, error))?;
        for ((position, action), outcome) in actions.iter().zip(outcomes) {
            match outcome {
                Err(error) if !tolerates(action, &error) => return Err((*position, error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The request for a change; none when the interface that it is about is not
    /// known here.
    fn request(&mut self, action: &Action) -> Option<Request<'static>> {
        Some(match action {
            Action::DetachSegment { port: name }
            | Action::DeleteInterface {
                interface: name, ..
            } => {
                self.indexes.remove(name);
                Request::DeleteLink { name: name.clone() }
            }
            Action::ConnectPort { port: name } => {
                let master = Some(Some(self.index(BRIDGE)?));
                let change = LinkChange {
                    master,
                    ..LinkChange::up()
                };
                Request::SetLink {
                    name: name.clone(),
                    change,
                }
            }
            Action::SetUp {
                interface: name, ..
            } => up(name),
            // The far end of a veth pair is made down.
            Action::AttachSegment { .. } => up(SEGMENT_INTERFACE),
            Action::AttachOutside { .. } => up(OUTSIDE_INTERFACE),
            Action::AddAddress {
                interface, address, ..
            } => {
                let device = self.index(interface)?;
                Request::AddAddress {
                    device,
                    address: *address,
                    scope: Scope::Universe,
                }
            }
            Action::DeleteAddress {
                interface, address, ..
            } => Request::DeleteAddress {
                device: self.index(interface)?,
                address: *address,
            },
            Action::ReplaceRoute { route: new, .. } => Request::ReplaceRoute(self.route(new)?),
            Action::DeleteRoute { route: old, .. } => Request::DeleteRoute(self.route(old)?),
            Action::SetNeighbour { neighbour, .. } => Request::ReplaceNeighbour {
                device: self.index(&neighbour.dev)?,
                address: neighbour.address,
                mac: mac(neighbour.mac),
            },
            Action::DeleteNeighbour { neighbour, .. } => Request::DeleteNeighbour {
                device: self.index(&neighbour.dev)?,
                address: neighbour.address,
            },
            _ => return None,
        })
    }

    fn route(&self, route: &LabRoute) -> Option<Route> {
        let device = self.index(&route.dev)?;
        let made = match route.via {
            Some(gateway) => Route::via(route.to, gateway).device(device),
            None => Route::link(route.to, device),
        };
        Some(made.protocol(protocol::STATIC))
    }
}

/// Requests that go out together, and the actions that they are for.
#[derive(Default)]
struct Batch<'a> {
    actions: Vec<(usize, &'a Action)>,
    requests: Vec<Request<'static>>,
}

impl<'a> Batch<'a> {
    fn push(&mut self, position: usize, action: &'a Action, request: Request<'static>) {
        self.actions.push((position, action));
        self.requests.push(request);
    }
}

fn tolerates(action: &Action, error: &NetlinkError) -> bool {
    match action {
        Action::AddAddress { .. } => error.is_already_there(),
        _ => is_removal(action) && error.is_missing(),
    }
}

const fn is_removal(action: &Action) -> bool {
    matches!(
        action,
        Action::DetachSegment { .. }
            | Action::DeleteInterface { .. }
            | Action::DeleteAddress { .. }
            | Action::DeleteRoute { .. }
            | Action::DeleteNeighbour { .. }
    )
}

fn no_interface(action: &Action) -> NetlinkError {
    NetlinkError::Refused {
        request: action.to_string(),
        errno: Errno::ENODEV,
        detail: None,
    }
}

fn up(interface: &str) -> Request<'static> {
    Request::SetLink {
        name: interface.to_owned(),
        change: LinkChange::up(),
    }
}
