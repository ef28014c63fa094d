//! The ip-masq-agent's configuration file and what it comes to.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use inotify::{Inotify, WatchMask};
use ipnet::Ipv4Net;
use lab_model::node_state::IpMasqAgent;

use super::{AgentError, files, log};
use crate::api::IpMasqAgentStatus;
use crate::ip_masq_agent::{FILE, FOLDER, parse};

/// The file, watched, and the last good outcome of reading it.
pub(super) struct MasqueradeConfig {
    file: PathBuf,
    watch: Inotify,
    enabled: bool,
    cidrs: BTreeSet<Ipv4Net>,
    error: Option<String>,
}

impl MasqueradeConfig {
    /// Watches the file's folder in the node's folder `dir`. It is there whether
    /// the ip-masq-agent is enabled or not.
    pub(super) fn new(dir: &Path) -> Result<Self, AgentError> {
        let folder = dir.join(FOLDER);
        files::make_folder(&folder)?;
        let watch = || {
            let inotify = Inotify::init()?;
            // Every way in which a file comes, changes or goes, also by a
            // symbolic link that is swapped.
            let mask = WatchMask::CLOSE_WRITE
                | WatchMask::CREATE
                | WatchMask::DELETE
                | WatchMask::MOVED_TO
                | WatchMask::MOVED_FROM;
            inotify.watches().add(&folder, mask)?;
            Ok(inotify)
        };
        let watch = watch().map_err(AgentError::file("watch", &folder))?;
        let (file, cidrs) = (folder.join(FILE), BTreeSet::new());
        Ok(Self {
            file,
            watch,
            enabled: false,
            cidrs,
            error: None,
        })
    }

    /// Readable when the folder changed.
    pub(super) fn watched(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// Writes the file that the document asks for, if it differs, and reads it.
    pub(super) fn configure(&mut self, wanted: Option<&IpMasqAgent>) -> Result<(), AgentError> {
        self.enabled = wanted.is_some();
        if files::read_if_there(&self.file)?.as_deref() != text_of(wanted) {
            match text_of(wanted) {
                Some(text) => files::replace(&self.file, text.as_bytes())?,
                None => files::remove(&self.file)?,
            }
        }
        self.read();
        Ok(())
    }

    /// Takes the events off the queue, reads the file again, and returns the
    /// destinations if they have changed.
    pub(super) fn reload(&mut self) -> Option<BTreeSet<Ipv4Net>> {
        let mut buffer = [0; 4096];
        loop {
            match self.watch.read_events(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::warn(format_args!(
                        "failed to watch {}: {error}",
                        self.file.display()
                    ));
                    break;
                }
            }
        }
        let before = self.cidrs.clone();
        self.read();
        (self.cidrs != before).then(|| self.cidrs.clone())
    }

    /// What is never masqueraded: nothing when the ip-masq-agent is off.
    pub(super) fn cidrs(&self) -> BTreeSet<Ipv4Net> {
        self.cidrs.clone()
    }

    pub(super) fn status(&self) -> IpMasqAgentStatus {
        IpMasqAgentStatus {
            cidrs: self.cidrs.len(),
            error: self.error.clone(),
        }
    }

    /// How the file differs from the document.
    pub(super) fn difference(&self, wanted: Option<&IpMasqAgent>) -> Option<String> {
        let present = files::read_if_there(&self.file).ok().flatten();
        (present.as_deref() != text_of(wanted))
            .then(|| format!("{} was changed by hand", self.file.display()))
    }

    /// A fault leaves what was there before, and is told.
    fn read(&mut self) {
        if !self.enabled {
            (self.cidrs, self.error) = (BTreeSet::new(), None);
            return;
        }
        let outcome = files::read_if_there(&self.file)
            .map_err(|error| error.to_string())
            .and_then(|text| parse(text.as_deref()).map_err(|error| error.to_string()));
        match outcome {
            Ok(cidrs) => (self.cidrs, self.error) = (cidrs, None),
            Err(error) => {
                if self.error.as_ref() != Some(&error) {
                    log::warn(format_args!(
                        "failed to {error}; keeping the previous configuration"
                    ));
                }
                self.error = Some(error);
            }
        }
    }
}

fn text_of(wanted: Option<&IpMasqAgent>) -> Option<&str> {
    wanted.and_then(|agent| agent.config.as_deref())
}
