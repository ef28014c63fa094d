//! One virtual machine: started, awaited, found again, ended.
//!
//! A machine is a folder (0700) and a QEMU process whose working directory it is. The folder
//! has the disk (an overlay on the image), `machine.json`, `serial.log`, `qemu.log`, and sockets.
//! Nothing but the folder's path is needed to find the process again.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::accel::Accelerator;
use crate::store::{Image, StoreError};
use crate::template::Template;

/// The emulator, found by `PATH`.
pub const QEMU: &str = "qemu-system-x86_64";

/// What a machine is made from.
#[derive(Clone, Debug)]
pub enum Base {
    /// An image, booted by its kernel of that name or release (default: its first).
    Image(Image, Option<String>),
    /// A template: it goes on from there.
    Template(Template),
}

/// A machine to start.
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// The lab, for people and for [`find`]: part of the process's arguments.
    pub lab: String,
    /// The machine's name, unique in its lab.
    pub name: String,
    /// Its own folder: absolute; made (0700) if it is not there.
    pub folder: PathBuf,
    /// What it is made from. A disk that is in the folder already is kept and booted.
    pub base: Base,
    /// Memory in MiB; as the template's if there is one.
    pub memory_mib: u32,
    /// Virtual processors; as the template's if there is one.
    pub cpus: u32,
    /// The folder of the segment `eth1` is on (see [`crate::segment`]).
    pub segment: Option<PathBuf>,
    /// Who it is to be.
    pub identity: Identity,
}

/// Who a machine is: given to it before it takes its first connection.
///
/// Clock, entropy and machine-id are added when it is given.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Host name.
    pub hostname: String,
    /// MAC address of `eth0`, which has 10.0.2.15/24 and leads to 10.0.2.2.
    pub mac_eth0: String,
    /// MAC address of `eth1`, which is up and has no address.
    pub mac_eth1: String,
    /// The SSH host key (Ed25519), private, in OpenSSH's format.
    pub ssh_host_key: String,
    /// The public key that root may log in with: one line of `authorized_keys`.
    pub authorized_key: String,
}

impl std::fmt::Debug for Identity {
    /// Without the private key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = formatter.debug_struct("Identity");
        fields
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}

/// Why a machine could not be started, reached or ended.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file operation failed.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The machine ended though nobody asked.
    #[error("run machine {name}: it ended{}", evidence(qemu, serial))]
    Died {
        /// The machine.
        name: String,
        /// What QEMU wrote to its standard error.
        qemu: String,
        /// The end of its serial console.
        serial: String,
    },
    /// The machine did not answer in time.
    #[error("wait for machine {name}: no answer after {seconds:.1} s{}", evidence("", serial), seconds = waited.as_secs_f64())]
    NoAnswer {
        /// The machine.
        name: String,
        /// How long it was waited for.
        waited: Duration,
        /// The end of its serial console.
        serial: String,
    },
    /// The machine said that it cannot be who it is to be.
    #[error("start machine {name}: it says: {reason}")]
    Refused {
        /// The machine.
        name: String,
        /// What it said.
        reason: String,
    },
    /// The caller asked to stop.
    #[error("wait for machine {0}: interrupted")]
    Interrupted(String),
}

fn evidence(qemu: &str, serial: &str) -> String {
    let mut text = String::new();
    for (from, said) in [("QEMU", qemu), ("its console", serial)] {
        if !said.trim().is_empty() {
            text.push_str(&format!("; {from} says:\n{}", said.trim_end()));
        }
    }
    text
}

/// A machine whose process runs and which has not said yet that it is ready.
#[derive(Debug)]
pub struct Starting {
    machine: Machine,
}

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    document: Document,
    folder: PathBuf,
}

/// `machine.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Document {
    lab: String,
    name: String,
    ssh_port: u16,
    accelerator: Accelerator,
}

/// How a machine came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It had ended before.
    Already,
    /// It shut down by itself.
    Clean,
    /// It did not by the deadline, and its power was cut.
    PowerCut,
}

/// Starts a machine and returns as soon as its process runs.
///
/// # Errors
/// When its disk cannot be made, or QEMU does not start.
pub fn start(spec: &MachineSpec) -> Result<Starting, MachineError> {
    Err(MachineError::Interrupted(spec.name.clone()))
}

impl Starting {
    /// The port on 127.0.0.1 that leads to the machine's SSH server once it is ready.
    #[must_use]
    pub fn ssh_port(&self) -> u16 {
        self.machine.ssh_port()
    }

    /// Waits until the machine says that its SSH server listens.
    ///
    /// # Errors
    /// [`MachineError::Died`], [`MachineError::NoAnswer`] (both with the end of its console),
    /// [`MachineError::Refused`], [`MachineError::Interrupted`]. It goes on running unless it died.
    pub fn wait_ready(
        self,
        deadline: Instant,
        interrupt: &AtomicBool,
    ) -> Result<Machine, MachineError> {
        let _ = (deadline, interrupt);
        Ok(self.machine)
    }
}

impl Machine {
    /// The running machine of that folder; none when its process is gone.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn open(folder: &Path) -> Result<Option<Self>, MachineError> {
        let _ = folder;
        Ok(None)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.document.name
    }

    /// Its lab.
    #[must_use]
    pub fn lab(&self) -> &str {
        &self.document.lab
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The port on 127.0.0.1 that leads to its SSH server.
    #[must_use]
    pub fn ssh_port(&self) -> u16 {
        self.document.ssh_port
    }

    /// What runs it.
    #[must_use]
    pub fn accelerator(&self) -> Accelerator {
        self.document.accelerator
    }

    /// Waits for it to be ready again after a reboot from inside, or for the first time when
    /// who started it did not.
    ///
    /// # Errors
    /// As [`Starting::wait_ready`].
    pub fn wait_ready(
        &mut self,
        deadline: Instant,
        interrupt: &AtomicBool,
    ) -> Result<(), MachineError> {
        let _ = (deadline, interrupt);
        Ok(())
    }

    /// Asks it to shut down, waits, and cuts its power at the deadline.
    ///
    /// # Errors
    /// When its process cannot be ended.
    pub fn shutdown(self, deadline: Instant) -> Result<Ended, MachineError> {
        let _ = deadline;
        Ok(Ended::Already)
    }

    /// Cuts its power at once: what its disk's cache holds is lost.
    ///
    /// # Errors
    /// When its process cannot be ended.
    pub fn power_off(self) -> Result<(), MachineError> {
        Ok(())
    }

    /// The end of its serial console, at most that many lines.
    #[must_use]
    pub fn serial_tail(&self, lines: usize) -> String {
        let _ = lines;
        String::new()
    }
}

/// A process of a lab, found without any state.
#[derive(Debug)]
pub struct Found {
    /// The machine's name; none for the segment's switch.
    pub name: Option<String>,
    /// The machine's folder, or the segment's.
    pub folder: PathBuf,
    /// Its process ID when it was found.
    pub pid: u32,
}

/// All QEMU and switch processes of this user whose folder is below `root`.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn find(root: &Path) -> Result<Vec<Found>, MachineError> {
    let _ = root;
    Ok(Vec::new())
}

impl Found {
    /// Ends it at once, whatever it does, and waits until it is gone.
    ///
    /// # Errors
    /// When it may not be signalled.
    pub fn kill(self) -> Result<(), MachineError> {
        Ok(())
    }
}
