//! A machine of our own: booted from an image, reached over SSH, gone when dropped.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab_ssh::blocking::Connection;
use lab_ssh::keys::KeyPair;
use lab_ssh::{Destination, Output, Source, known_hosts};
use lab_vm::machine::{self, Base, Identity, Machine, MachineSpec};
use tokio::runtime::Handle;

/// How long a machine may take to boot, beside others and all tests, and without KVM.
const BOOT: Duration = Duration::from_secs(300);
/// Nobody interrupts: Ctrl-C ends the whole process group, machines too.
static NEVER: AtomicBool = AtomicBool::new(false);

/// Folder and keys of machines that are started together.
pub(crate) struct Guests {
    folder: PathBuf,
    key: KeyPair,
}

impl Guests {
    /// In that folder: machines' folders, keys, known hosts. Ends machines of that folder
    /// that still run: whoever started them was killed.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        for left in machine::find(folder).context("failed to look for machines")? {
            let pid = left.pid();
            left.kill()
                .with_context(|| format!("failed to end machine {pid} of a run before"))?;
        }
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to make {}", folder.display()))?;
        let key = KeyPair::load_or_create(&folder.join("key"), "xtask")
            .context("failed to make a key")?;
        Ok(Self {
            folder: folder.to_owned(),
            key,
        })
    }

    /// What a machine of that name is made from. Its number makes its addresses its own.
    pub(crate) fn spec(
        &self,
        name: &str,
        number: u8,
        base: Base,
        memory_mib: u32,
    ) -> Result<MachineSpec> {
        let host_key = KeyPair::load_or_create(&self.host_key(name), name)
            .context("failed to make a host key")?;
        let identity = Identity {
            hostname: name.to_owned(),
            mac_eth0: format!("52:54:00:00:00:{number:02x}"),
            mac_eth1: format!("52:54:00:00:01:{number:02x}"),
            ssh_host_key: host_key.private_text().context("failed to write a key")?,
            authorized_key: self.key.public_line().context("failed to write a key")?,
        };
        Ok(MachineSpec {
            lab: "xtask".to_owned(),
            name: name.to_owned(),
            folder: self.folder.join(name),
            base,
            memory_mib,
            cpus: 1,
            segment: None,
            identity,
        })
    }

    /// Starts a machine, waits until it is ready, and logs in.
    pub(crate) fn boot(&self, spec: &MachineSpec, runtime: &Handle) -> Result<Guest> {
        let name = &spec.name;
        let deadline = Instant::now() + BOOT;
        let started = machine::start(spec);
        let starting = started.with_context(|| format!("failed to start machine {name}"))?;
        let port = starting.ssh_port();
        // Ended with its folder, whatever happens from here on.
        let mut guest = Guest {
            machine: None,
            connection: None,
            folder: spec.folder.clone(),
        };
        let ready = starting.wait_ready(deadline, &NEVER);
        guest.machine = Some(ready.with_context(|| format!("failed to boot machine {name}"))?);
        let known = self.folder.join(format!("known_hosts.{name}"));
        let host = known_hosts::host_name("127.0.0.1", port);
        let host_key = KeyPair::load(&self.host_key(name)).context("failed to read a key")?;
        known_hosts::record(&known, &[(host, host_key.public())])
            .context("failed to note a host key")?;
        let destination = Destination::new(name, "root", "127.0.0.1", port)
            .with_identity(self.folder.join("key"))
            .with_known_hosts(known);
        let connection = Connection::connect(runtime, destination, deadline)
            .with_context(|| format!("failed to log in on machine {name}"))?;
        guest.connection = Some(connection);
        Ok(guest)
    }

    fn host_key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("host-key.{name}"))
    }
}

/// A running machine.
pub(crate) struct Guest {
    machine: Option<Machine>,
    connection: Option<Connection>,
    folder: PathBuf,
}

impl Guest {
    /// Runs a program as root to its end, whatever it returns.
    pub(crate) fn output(&self, argv: &[&str]) -> Result<Output> {
        self.connection()?
            .output(argv)
            .with_context(|| format!("failed to run {}", argv.join(" ")))
    }

    /// What a program prints; it must return 0.
    pub(crate) fn says(&self, argv: &[&str]) -> Result<String> {
        let output = self.output(argv)?;
        ensure!(
            output.exit.success(),
            "{} {}: {}",
            argv.join(" "),
            output.exit,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Puts a program onto the machine.
    pub(crate) fn upload(&self, program: &Path, to: &str) -> Result<()> {
        let source = Source::File(program);
        self.connection()?
            .upload(source, to, 0o755, None)
            .with_context(|| format!("failed to upload {}", program.display()))
    }

    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().context("the machine is not up")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
        // One that never got ready is found by its folder.
        let ended = match self.machine.take() {
            Some(machine) => machine.power_off().map_err(anyhow::Error::from),
            None => machine::find(&self.folder)
                .and_then(|found| found.into_iter().try_for_each(machine::Found::kill))
                .map_err(anyhow::Error::from),
        };
        if let Err(error) = ended {
            eprintln!("error: failed to end {}: {error:#}", self.folder.display());
        }
    }
}
