//! What the agent has of all this: the store, the threads around it, and who may ask.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError};
use std::thread;

use lab_model::node_state::{FlowSettings, NodeState};

use super::directory::Directory;
use super::peers::{self, Busy};
use super::reader::{CurrentDirectory, Events, Reader};
use super::serve;
use super::store::Store;
use crate::api::{FlowStatus, FlowsRequest};

/// See the module.
pub(crate) struct NodeFlows {
    store: Arc<Store>,
    directory: CurrentDirectory,
    reader: Option<Reader>,
    listener: Option<peers::Listener>,
    busy: Busy,
}

impl Default for NodeFlows {
    fn default() -> Self {
        Self {
            store: Arc::new(Store::new(FlowSettings::default().capacity as usize)),
            directory: CurrentDirectory::default(),
            reader: None,
            listener: None,
            busy: Busy::default(),
        }
    }
}

impl NodeFlows {
    /// Takes over what a document says; `own`, `interfaces` and `cgroups` as for
    /// [`Directory::new`].
    ///
    /// # Errors
    /// When the peer port cannot be listened on. Everything else works on.
    pub(crate) fn configure(
        &mut self,
        state: &NodeState,
        own: impl IntoIterator<Item = Ipv4Addr>,
        interfaces: HashMap<u32, String>,
        cgroups: HashMap<u64, Ipv4Addr>,
    ) -> std::io::Result<()> {
        let settings = &state.datapath.flows;
        self.store.resize(settings.capacity as usize);
        let directory = Arc::new(Directory::new(state, own, interfaces, cgroups));
        *self
            .directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = directory;
        if !settings.enabled {
            self.listener = None;
            return Ok(());
        }
        let address = state.node.address;
        if self.listener.as_ref().map(peers::Listener::address) == Some(address) {
            return Ok(());
        }
        self.listener = None;
        let (node, store) = (state.node.name.clone(), Arc::clone(&self.store));
        let listener = peers::Listener::start(address, node, store, self.busy.clone())?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Reads these maps from now on, and no others.
    ///
    /// # Errors
    /// When the kernel has no thread to give.
    pub(crate) fn read(&mut self, events: Events) -> std::io::Result<()> {
        // Two readers of one ring buffer would each get half: the old one ends first.
        self.reader = None;
        let (store, directory) = (Arc::clone(&self.store), Arc::clone(&self.directory));
        self.reader = Some(Reader::start(events, store, directory)?);
        Ok(())
    }

    /// Numbers about the store.
    pub(crate) fn status(&self) -> FlowStatus {
        self.store.status(self.node())
    }

    /// Answers on a thread of its own; the client's connection belongs to it.
    ///
    /// # Errors
    /// When too many are being answered, or the kernel has no thread to give.
    pub(crate) fn answer(&self, to: UnixStream, request: FlowsRequest) -> std::io::Result<()> {
        let Some(turn) = self.busy.take() else {
            return Err(std::io::Error::other(format!(
                "{} clients are reading flows already",
                peers::MOST
            )));
        };
        let (node, store) = (self.node(), Arc::clone(&self.store));
        let thread = thread::Builder::new().name("flows-reader".to_owned());
        thread.spawn(move || {
            let _turn = turn;
            // A client that went away, or stopped reading, misses the rest and no more.
            let _ = serve::stream(&store, &node, &request, &to, || peers::is_there(&to));
        })?;
        Ok(())
    }

    fn node(&self) -> String {
        let directory = self
            .directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        directory.node.clone()
    }
}

impl Drop for NodeFlows {
    fn drop(&mut self) {
        self.store.close();
    }
}
