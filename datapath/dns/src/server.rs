//! Sockets: datagrams in batches on threads of their own, connections on the runtime.

mod batch;
mod handover;
mod listeners;
mod run;
mod tcp;
mod udp;

use std::sync::{Arc, PoisonError, RwLock};

use crate::service::Service;

pub use handover::HandoverError;
pub use listeners::{ListenError, Listeners, Protocol};
pub use run::{Ended, Options, RunError, run};

/// The service of the moment: replaced when the Corefile changes.
#[derive(Clone)]
pub struct Current(Arc<RwLock<Arc<Service>>>);

impl Current {
    /// Starts with `service`.
    #[must_use]
    pub fn new(service: Service) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(service))))
    }

    /// The one that answers from now on.
    #[must_use]
    pub fn get(&self) -> Arc<Service> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Queries that come from now on go to `service`.
    pub fn replace(&self, service: Service) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(service);
    }
}
