//! Making a machine's disk and starting its QEMU.

use std::fs::{self, File};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::command_line::{BootFrom, CommandLine, Memory};
use super::error::{in_file, tail};
use super::port::{self, Port};
use super::process::Process;
use super::qmp::{Qmp, forwarded_port};
use super::{
    Base, DOCUMENT, Document, Identity, Machine, MachineError, MachineSpec, QEMU, QEMU_LOG,
    SERIAL_LOG, Starting, TAIL, process_of,
};
use crate::accel;
use crate::import;
use crate::store::{self, Boot, Image};

/// The overlay: what this machine's disk has that its image's does not.
const DISK: &str = "disk.qcow2";
const MONITOR: &str = "qmp.sock";
const QEMU_PACKAGE: &str = "qemu-system-x86";

/// How long a template's state may take to be read: 40 ms as measured.
const RESTORE: Duration = Duration::from_secs(30);

pub(super) fn start(spec: &MachineSpec) -> Result<Starting, MachineError> {
    let launch = Launch::new(spec, None)?;
    if !launch.restores() {
        return Ok(Starting {
            machine: launch.machine()?,
            identity: spec.identity.clone(),
            cold: None,
        });
    }
    match launch.machine() {
        Ok(mut machine) => {
            // It waits right where the template was made: before it knows who it is.
            machine.tell(&spec.identity)?;
            Ok(Starting {
                machine,
                identity: spec.identity.clone(),
                cold: None,
            })
        }
        // The template's disk boots as well.
        Err(error @ (MachineError::Qmp(_) | MachineError::Died { .. })) => {
            let machine = Launch::new(spec, None)?.machine()?;
            let cold = Some(error.to_string());
            Ok(Starting {
                machine,
                identity: spec.identity.clone(),
                cold,
            })
        }
        Err(error) => Err(error),
    }
}

/// Starts a machine whose memory is recorded in `ram`, to be a template.
pub(crate) fn start_recorded(spec: &MachineSpec, ram: &Path) -> Result<Starting, MachineError> {
    let machine = Launch::new(spec, Some(ram))?.machine()?;
    Ok(Starting {
        machine,
        identity: spec.identity.clone(),
        cold: None,
    })
}

/// What is decided before QEMU is started.
struct Launch<'a> {
    spec: &'a MachineSpec,
    command: CommandLine<'a>,
    document: Document,
}

impl<'a> Launch<'a> {
    fn new(spec: &'a MachineSpec, record: Option<&'a Path>) -> Result<Self, MachineError> {
        store::create_folder(&spec.folder)?;
        if let Some(process) = process_of(&spec.folder)? {
            return Err(MachineError::Runs {
                name: spec.name.clone(),
                pid: process.pid(),
            });
        }
        let fresh = make_disk(spec)?;
        let image = spec.base.image();
        let (boot, kernel) = boot(spec, image)?;
        // A disk that was used has moved on from the template: it is booted.
        let memory = match (&spec.base, record) {
            (Base::Template(template), _) if fresh => Memory::Restored(template.ram()),
            (_, Some(ram)) => Memory::Recorded(ram),
            _ => Memory::Anonymous,
        };
        let accelerator = accel::choose().accelerator;
        let segment = spec
            .segment
            .as_deref()
            .map(|segment| segment_path(spec, segment));
        let Identity {
            mac_eth0, mac_eth1, ..
        } = &spec.identity;
        let seeded = image.boot() == Boot::BootLoader;
        if seeded {
            import::write_seed(&spec.folder, &spec.identity)?;
        }
        let (memory_mib, cpus) = spec.base.size().unwrap_or((spec.memory_mib, spec.cpus));
        let command = CommandLine {
            lab: &spec.lab,
            name: &spec.name,
            folder: &spec.folder,
            accelerator,
            memory_mib,
            cpus,
            boot,
            memory,
            segment: segment.transpose()?,
            seeded,
            macs: seeded.then_some((mac_eth0.as_str(), mac_eth1.as_str())),
        };
        let document = Document {
            lab: spec.lab.clone(),
            name: spec.name.clone(),
            image: image.digest().clone(),
            kernel,
            memory_mib,
            cpus,
            seeded,
            ssh_port: 0,
            accelerator,
        };
        Ok(Self {
            spec,
            command,
            document,
        })
    }

    fn restores(&self) -> bool {
        matches!(self.command.memory, Memory::Restored(_))
    }

    /// Starts QEMU and, if there is a template, lets it go on from there.
    fn machine(mut self) -> Result<Machine, MachineError> {
        let folder = &self.spec.folder;
        let path = folder.join(port::TO_MACHINE);
        port::create(folder).map_err(in_file("create", &path))?;
        let process = self.spawn()?;
        let started = self.set_up();
        let ended = |error| match process.wait(Instant::now() + Duration::from_millis(200)) {
            Ok(true) => died(&self.spec.name, folder),
            _ => error,
        };
        match started.map_err(ended) {
            Ok(port) => self.document.ssh_port = port,
            Err(error) => {
                // The failure is what is worth telling.
                let _ended = process.end();
                return Err(error);
            }
        }
        store::write_json(&folder.join(DOCUMENT), &self.document)?;
        let path = folder.join(port::TO_MACHINE);
        let port = Port::open(folder).map_err(in_file("open", &path))?;
        let folder = folder.clone();
        Ok(Machine {
            document: self.document,
            folder,
            process,
            port,
            boot: None,
        })
    }

    fn spawn(&self) -> Result<Process, MachineError> {
        let folder = &self.spec.folder;
        let log = folder.join(QEMU_LOG);
        let listener = listen(folder)?;
        let log_file = private(&log).map_err(in_file("create", &log))?;
        let copy = log_file.try_clone().map_err(in_file("create", &log))?;
        // A session of its own: no terminal's hang-up or interrupt reaches it.
        let mut command = Command::new("setsid");
        command
            .arg(QEMU)
            .args(self.command.arguments())
            .current_dir(folder);
        command.stdin(listener).stdout(copy).stderr(log_file);
        let failed = |reason: String| MachineError::Program {
            program: QEMU,
            package: QEMU_PACKAGE,
            reason,
        };
        let child = command.spawn().map_err(|error| failed(error.to_string()))?;
        // setsid(1) becomes QEMU without a fork, since a new process leads no group.
        let process = Process::of_child(&child).map_err(|error| failed(error.to_string()));
        reap(child);
        process
    }

    /// What is done through the monitor once QEMU runs. Returns the port that leads to SSH.
    fn set_up(&self) -> Result<u16, MachineError> {
        let mut qmp = monitor(&self.spec.folder)?;
        if let (Base::Template(template), Memory::Restored(_)) =
            (&self.spec.base, self.command.memory)
        {
            let state = template.state();
            let file = File::open(&state).map_err(in_file("open", &state))?;
            ignore_shared(&mut qmp)?;
            qmp.give_file("state", file.as_fd())?;
            qmp.execute("migrate-incoming", &json!({ "uri": "fd:state" }))?;
            qmp.wait_migrated(Instant::now() + RESTORE)?;
            qmp.execute("cont", &json!({}))?;
        }
        let usernet = qmp.human("info usernet")?;
        forwarded_port(&usernet).ok_or_else(|| MachineError::NoPort(self.spec.name.clone()))
    }
}

/// Memory is in its file already; only the devices' state is migrated. Events tell the end.
pub(crate) fn ignore_shared(qmp: &mut Qmp) -> Result<(), MachineError> {
    let on = |capability: &str| json!({ "capability": capability, "state": true });
    let capabilities = json!({ "capabilities": [on("x-ignore-shared"), on("events")] });
    qmp.execute("migrate-set-capabilities", &capabilities)?;
    Ok(())
}

/// Leaves a child to a thread that takes its exit status, so that it is no zombie.
fn reap(mut child: std::process::Child) {
    std::thread::spawn(move || {
        let _status = child.wait();
    });
}

/// A connection to the monitor of the machine in that folder.
pub(crate) fn monitor(folder: &Path) -> Result<Qmp, MachineError> {
    let path = folder.join(MONITOR);
    let directory = File::open(folder).map_err(in_file("open", folder))?;
    let stream =
        UnixStream::connect(short(&directory, MONITOR)).map_err(in_file("connect to", &path))?;
    Ok(Qmp::new(stream)?)
}

/// An empty file that nobody else reads.
fn private(path: &Path) -> std::io::Result<File> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// The monitor's socket, made before QEMU is: who connects need not wait for it.
fn listen(folder: &Path) -> Result<OwnedFd, MachineError> {
    let path = folder.join(MONITOR);
    // That of a machine that has ended.
    let _gone = fs::remove_file(&path);
    let directory = File::open(folder).map_err(in_file("open", folder))?;
    let listener = UnixListener::bind(short(&directory, MONITOR));
    Ok(listener.map_err(in_file("listen at", &path))?.into())
}

/// A file of an open folder by a path that is short whatever the folder's is.
fn short(folder: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

/// Makes the overlay, if there is none yet. Says whether it is new.
fn make_disk(spec: &MachineSpec) -> Result<bool, MachineError> {
    const QEMU_IMG: &str = "qemu-img";
    let disk = spec.folder.join(DISK);
    let (base, format) = spec.base.disk();
    if disk.exists() {
        return Ok(false);
    }
    let part = spec.folder.join("disk.part");
    let failed = |reason: String| MachineError::Program {
        program: QEMU_IMG,
        package: "qemu-utils",
        reason,
    };
    let mut command = Command::new(QEMU_IMG);
    command
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .arg(&base)
        .arg(&part);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&part, private).map_err(in_file("protect", &part))?;
    // Known to the image before it is there, so that the image cannot go in between.
    store::register(spec.base.folder(), &disk)?;
    store::rename(&part, &disk)?;
    Ok(true)
}

/// How the machine boots, and its kernel's release.
fn boot(spec: &MachineSpec, image: &Image) -> Result<(BootFrom, Option<String>), MachineError> {
    if image.kernels().is_empty() {
        return Ok((BootFrom::Disk, None));
    }
    let kernel = image.kernel(spec.base.kernel())?;
    let folder = image.kernel_folder(kernel);
    let elf = folder.join("vmlinux");
    let image = if elf.exists() {
        elf
    } else {
        folder.join("vmlinuz")
    };
    let initramfs = folder.join("initramfs");
    Ok((
        BootFrom::Kernel { image, initramfs },
        Some(kernel.release.clone()),
    ))
}

/// The segment's folder as seen from the machine's, if that is shorter.
fn segment_path(spec: &MachineSpec, segment: &Path) -> Result<PathBuf, MachineError> {
    let relative = relative(&spec.folder, segment);
    let shorter = if relative.as_os_str().len() < segment.as_os_str().len() {
        relative
    } else {
        segment.to_owned()
    };
    let longest = shorter.join(format!("{}.sock", spec.name));
    if longest.as_os_str().len() > 107 {
        return Err(MachineError::LongPath {
            name: spec.name.clone(),
            path: longest,
        });
    }
    Ok(shorter)
}

/// `to` as seen from `from`; both absolute.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

/// What is known of a machine's end.
pub(super) fn died(name: &str, folder: &Path) -> MachineError {
    MachineError::Died {
        name: name.to_owned(),
        qemu: tail(&folder.join(QEMU_LOG), TAIL),
        serial: tail(&folder.join(SERIAL_LOG), TAIL),
    }
}

#[cfg(test)]
mod tests {
    use super::relative;
    use std::path::Path;

    #[test]
    fn a_segment_is_seen_from_a_machine() {
        let seen = |from, to| {
            relative(Path::new(from), Path::new(to))
                .display()
                .to_string()
        };
        assert_eq!(
            seen("/l/study/machines/w1", "/l/study/segment"),
            "../../segment"
        );
        assert_eq!(seen("/a", "/b/c"), "../b/c");
        assert_eq!(seen("/l/s", "/l/s/segment"), "segment");
    }
}
