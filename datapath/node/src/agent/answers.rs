//! What the agent answers over its socket.

use lab_model::node_state::NodeState;

use super::{Agent, AgentError, NodeView, collection, log};
use crate::api::{DeviceStatus, IpcacheRecord, Request, Response, ServiceRecord, Status};
use crate::datapath::Datapath;

impl Agent {
    pub(super) fn answer(&mut self, request: Request) -> Response {
        let answered = match request {
            Request::Apply { state } => self.apply(*state).map(|()| self.status()),
            Request::Status => Ok(self.status()),
            Request::Drift => self
                .drift()
                .map(|differences| Response::Drift { differences }),
            Request::Nat => self.nat(),
            Request::IpMasq => self.with_datapath(|datapath| {
                Ok(Response::IpMasq {
                    cidrs: datapath.tables.ip_masq()?,
                })
            }),
            Request::Ipcache => self.ipcache(),
            Request::Conntrack => self.conntrack(),
            Request::Services => self.with_datapath(|datapath| {
                Ok(Response::Services {
                    entries: ServiceRecord::all(&datapath.services.read()?),
                })
            }),
            Request::Metrics => self.metrics(),
            Request::Restart { pods } => pods
                .iter()
                .try_for_each(|pod| self.pods.restart(pod))
                .map(|()| self.status()),
            Request::FlowStatus => Ok(Response::FlowStatus(self.flows.status())),
            // The event loop hands the connection over instead of answering.
            Request::Flows(_) => Err(AgentError::Document(
                "flows are answered on a connection of their own".to_owned(),
            )),
        };
        answered.unwrap_or_else(|error| {
            log::warn(format_args!("failed to {error}"));
            Response::Failed {
                message: error.to_string(),
            }
        })
    }

    fn status(&mut self) -> Response {
        let devices = match (&self.applied, NodeView::read(&mut self.netlink)) {
            (Some(state), Ok(view)) => devices(state, &view),
            _ => Vec::new(),
        };
        let enabled = |state: &NodeState| state.datapath.ip_masq_agent.is_some();
        Response::Status(Box::new(Status {
            pid: std::process::id(),
            applied: self.applied.clone(),
            attach_mode: self.datapath.as_ref().map(Datapath::mode),
            devices,
            pods: self
                .applied
                .as_ref()
                .map(|state| self.pods.status(state))
                .unwrap_or_default(),
            ip_masq_agent: self
                .applied
                .as_ref()
                .is_some_and(enabled)
                .then(|| self.masquerade.status()),
            garbage_collection: self.collector.status(),
        }))
    }

    fn nat(&mut self) -> Result<Response, AgentError> {
        self.with_datapath(|datapath| {
            let entries = collection::nat_entries(&datapath.tables)?;
            let entries = entries.into_iter().map(Into::into).collect();
            Ok(Response::Nat {
                now: collection::now()?,
                entries,
            })
        })
    }

    fn conntrack(&mut self) -> Result<Response, AgentError> {
        self.with_datapath(|datapath| {
            let entries = collection::ct_entries(&datapath.tables)?;
            Ok(Response::Conntrack {
                entries: entries.into_iter().map(Into::into).collect(),
            })
        })
    }

    fn ipcache(&mut self) -> Result<Response, AgentError> {
        self.with_datapath(|datapath| {
            let entries = datapath.tables.ipcache()?.into_iter();
            let entries = entries.map(|(prefix, entry)| IpcacheRecord {
                prefix,
                identity: entry.identity,
                tunnel_endpoint: entry.tunnel_endpoint.into(),
            });
            Ok(Response::Ipcache {
                entries: entries.collect(),
            })
        })
    }

    fn metrics(&mut self) -> Result<Response, AgentError> {
        self.with_datapath(|datapath| {
            let entries = datapath.tables.metrics()?.into_iter();
            Ok(Response::Metrics {
                entries: entries.map(Into::into).collect(),
            })
        })
    }

    fn with_datapath(
        &mut self,
        answer: impl FnOnce(&mut Datapath) -> Result<Response, AgentError>,
    ) -> Result<Response, AgentError> {
        match &mut self.datapath {
            Some(datapath) => answer(datapath),
            None => Err(AgentError::NothingApplied),
        }
    }
}

fn devices(state: &NodeState, view: &NodeView) -> Vec<DeviceStatus> {
    let found = state
        .datapath
        .devices
        .iter()
        .filter_map(|name| view.link(name));
    found
        .map(|link| DeviceStatus {
            name: link.name.clone(),
            address: view.address_of(link.index),
        })
        .collect()
}
