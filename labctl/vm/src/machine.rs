//! One virtual machine: started, awaited, found again, ended.
//!
//! A machine is a folder (0700) and a QEMU process whose working directory it is. The folder
//! has the disk (an overlay on the image), `machine.json`, `serial.log`, `qemu.log`, and sockets.
//! Nothing but the folder's path is needed to find the process again.

mod command_line;
mod error;
mod found;
mod identity;
mod port;
mod process;
mod qmp;
mod spec;
mod start;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::accel::Accelerator;
use crate::store::{self, Digest};

pub use error::MachineError;
pub use found::{Found, find};
pub use identity::Identity;
pub use qmp::QmpError;
pub use spec::{Base, MachineSpec};

pub(crate) use start::start_recorded;

pub(crate) use command_line::IDENTITY_PORT;

use error::in_file;
use found::process_of;
use port::{Heard, Port, Said};
use process::Process;

/// The emulator, found by `PATH`.
pub const QEMU: &str = "qemu-system-x86_64";

/// How many lines of a machine's console go with an error.
const TAIL: usize = 20;

/// A machine whose process runs and which has not said yet that it is ready.
#[derive(Debug)]
pub struct Starting {
    machine: Machine,
    identity: Identity,
    cold: Option<String>,
}

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    document: Document,
    folder: PathBuf,
    process: Process,
    port: Port,
    /// The boot it was last ready in.
    boot: Option<String>,
}

/// `machine.json`: what a running machine is, and no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Document {
    lab: String,
    name: String,
    image: Digest,
    kernel: Option<String>,
    memory_mib: u32,
    cpus: u32,
    /// Whether cloud-init tells it who it is.
    seeded: bool,
    ssh_port: u16,
    accelerator: Accelerator,
}

/// How a machine came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It shut down by itself.
    Clean,
    /// It did not by the deadline, and its power was cut.
    PowerCut,
}

impl Starting {
    /// The port on 127.0.0.1 that leads to the machine's SSH server once it is ready.
    #[must_use]
    pub fn ssh_port(&self) -> u16 {
        self.machine.ssh_port()
    }

    /// Why it boots though it was to go on from a template; none when it does.
    #[must_use]
    pub fn why_cold(&self) -> Option<&str> {
        self.cold.as_deref()
    }

    /// Waits until the machine says that its SSH server listens.
    ///
    /// # Errors
    /// [`MachineError::Died`], [`MachineError::NoAnswer`] (both with the end of its console),
    /// [`MachineError::Refused`], [`MachineError::Interrupted`]. It goes on running unless it died.
    pub fn wait_ready(
        mut self,
        deadline: Instant,
        interrupt: &AtomicBool,
    ) -> Result<Machine, MachineError> {
        let identity = self.identity;
        self.machine
            .wait_for(deadline, interrupt, |machine, said| match said {
                Said::WhoAmI => machine.tell(&identity).map(|()| false),
                Said::Ready { boot } => Ok(machine.is_ready(boot)),
                _ => Ok(false),
            })?;
        Ok(self.machine)
    }
}

impl Machine {
    /// The running machine of that folder; none when its process is gone.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn open(folder: &Path) -> Result<Option<Self>, MachineError> {
        let Some(document) = store::read_json::<Document>(&folder.join(DOCUMENT))? else {
            return Ok(None);
        };
        let Some(process) = process_of(folder)? else {
            return Ok(None);
        };
        let path = folder.join(port::TO_MACHINE);
        let port = Port::open(folder).map_err(in_file("open", &path))?;
        Ok(Some(Self {
            document,
            folder: folder.to_owned(),
            process,
            port,
            boot: None,
        }))
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

    /// The digest of the image its disk is based on.
    #[must_use]
    pub fn image(&self) -> &Digest {
        &self.document.image
    }

    /// The release of the kernel it was started with; none when it boots by itself.
    #[must_use]
    pub fn kernel(&self) -> Option<&str> {
        self.document.kernel.as_deref()
    }

    /// Its memory in MiB.
    #[must_use]
    pub fn memory_mib(&self) -> u32 {
        self.document.memory_mib
    }

    /// Its virtual processors.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.document.cpus
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

    /// Its process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether cloud-init tells it who it is: it boots as its image's maker meant it.
    #[must_use]
    pub fn is_seeded(&self) -> bool {
        self.document.seeded
    }

    /// A random number of the boot, or restore, that it was last seen ready in.
    #[must_use]
    pub fn boot(&self) -> Option<&str> {
        self.boot.as_deref()
    }

    /// Whether its process has ended.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn has_ended(&self) -> Result<bool, MachineError> {
        self.process.has_ended().map_err(self.fault("watch"))
    }

    /// Waits until it is ready; at once if it is. For one that was found running by
    /// [`Machine::open`]. One that cloud-init told who it is cannot be asked, and is taken for
    /// ready.
    ///
    /// # Errors
    /// As [`Starting::wait_ready`].
    pub fn wait_ready(
        &mut self,
        deadline: Instant,
        interrupt: &AtomicBool,
    ) -> Result<(), MachineError> {
        use std::sync::atomic::{AtomicU32, Ordering};
        if self.document.seeded {
            return Ok(());
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Answers to a process before this one may still be there.
        let number = std::process::id() ^ (NUMBER.fetch_add(1, Ordering::Relaxed) << 22);
        self.say(&format!("state {number}\n"))?;
        self.wait_for(deadline, interrupt, |machine, said| match said {
            Said::State {
                number: of,
                boot: Some(boot),
            } if of == number => Ok(machine.is_ready(boot)),
            Said::Ready { boot } => Ok(machine.is_ready(boot)),
            _ => Ok(false),
        })
    }

    /// Waits until it is ready in another boot than the one it was last seen ready in: for a
    /// machine that was rebooted from inside.
    ///
    /// # Errors
    /// As [`Starting::wait_ready`].
    pub fn wait_rebooted(
        &mut self,
        deadline: Instant,
        interrupt: &AtomicBool,
    ) -> Result<(), MachineError> {
        self.wait_for(deadline, interrupt, |machine, said| match said {
            Said::Ready { boot } if machine.boot.as_ref() != Some(&boot) => {
                Ok(machine.is_ready(boot))
            }
            _ => Ok(false),
        })
    }

    /// Asks it to shut down, waits, and cuts its power at the deadline.
    ///
    /// # Errors
    /// When its process cannot be ended.
    pub fn shutdown(mut self, deadline: Instant) -> Result<Ended, MachineError> {
        let asked = if !self.document.seeded {
            self.say("poweroff\n")
        } else {
            self.press_power_button()
        };
        // One that cannot be asked has ended, or its power is cut.
        if asked.is_ok() && self.process.wait(deadline).map_err(self.fault("watch"))? {
            return Ok(Ended::Clean);
        }
        self.power_off()?;
        Ok(Ended::PowerCut)
    }

    /// Cuts its power at once: what its memory holds and its disk does not is lost.
    ///
    /// # Errors
    /// When its process cannot be ended.
    pub fn power_off(self) -> Result<(), MachineError> {
        self.process.end().map_err(self.fault("end"))
    }

    /// The end of its serial console, at most that many lines.
    #[must_use]
    pub fn serial_tail(&self, lines: usize) -> String {
        error::tail(&self.folder.join(SERIAL_LOG), lines)
    }

    /// Lets it forget who it is, and saves its devices' state; its memory is a file already. It
    /// has ended then.
    pub(crate) fn save(
        mut self,
        state: BorrowedFd<'_>,
        deadline: Instant,
        interrupt: &AtomicBool,
    ) -> Result<(), MachineError> {
        self.say("template\n")?;
        self.wait_for(deadline, interrupt, |_, said| Ok(said == Said::Waiting))?;
        let mut monitor = start::monitor(&self.folder)?;
        start::ignore_shared(&mut monitor)?;
        let nothing = serde_json::json!({});
        monitor.execute("stop", &nothing)?;
        monitor.give_file("state", state)?;
        monitor.execute("migrate", &serde_json::json!({ "uri": "fd:state" }))?;
        monitor.wait_migrated(deadline)?;
        drop(monitor);
        // Its disk is closed, and so complete, when it has ended.
        self.power_off()
    }

    fn tell(&mut self, identity: &Identity) -> Result<(), MachineError> {
        let line = identity
            .line()
            .map_err(in_file("read", Path::new("/dev/urandom")))?;
        self.say(&line)
    }

    fn say(&mut self, line: &str) -> Result<(), MachineError> {
        let path = self.folder.join(port::TO_MACHINE);
        self.port.say(line).map_err(in_file("write", &path))
    }

    fn is_ready(&mut self, boot: String) -> bool {
        self.boot = Some(boot);
        true
    }

    /// Waits until `done` says so of what it says.
    fn wait_for(
        &mut self,
        deadline: Instant,
        interrupt: &AtomicBool,
        mut done: impl FnMut(&mut Self, Said) -> Result<bool, MachineError>,
    ) -> Result<(), MachineError> {
        let began = Instant::now();
        let path = self.folder.join(port::FROM_MACHINE);
        loop {
            let heard = self.port.hear(&self.process, deadline, interrupt);
            let name = self.document.name.clone();
            match heard.map_err(in_file("read", &path))? {
                Heard::Said(Said::Error(reason)) => {
                    return Err(MachineError::Refused { name, reason });
                }
                Heard::Said(said) => {
                    if done(self, said)? {
                        return Ok(());
                    }
                }
                Heard::Died => return Err(self.died()),
                Heard::Deadline => {
                    let serial = self.serial_tail(TAIL);
                    return Err(MachineError::NoAnswer {
                        name,
                        waited: began.elapsed(),
                        serial,
                    });
                }
                Heard::Interrupted => return Err(MachineError::Interrupted(name)),
            }
        }
    }

    fn died(&self) -> MachineError {
        start::died(&self.document.name, &self.folder)
    }

    fn fault(&self, what: &'static str) -> impl FnOnce(io::Error) -> MachineError {
        let (name, pid) = (self.document.name.clone(), self.pid());
        move |source| MachineError::Process {
            what,
            name,
            pid,
            source,
        }
    }

    fn press_power_button(&self) -> Result<(), MachineError> {
        let mut qmp = start::monitor(&self.folder)?;
        qmp.execute("system_powerdown", &serde_json::json!({}))?;
        Ok(())
    }
}

/// Starts a machine and returns as soon as its process runs. Nothing of it is left when that
/// fails, but what was in its folder before.
///
/// # Errors
/// When it runs already, its disk cannot be made, or QEMU does not start.
pub fn start(spec: &MachineSpec) -> Result<Starting, MachineError> {
    start::start(spec)
}

const DOCUMENT: &str = "machine.json";
const SERIAL_LOG: &str = "serial.log";
const QEMU_LOG: &str = "qemu.log";
