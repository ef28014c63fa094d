//! Machines on QEMU, without root: see [`lab_vm`].
//!
//! `segment/` in the lab's folder has the switch's sockets; `nodes/<node>/` is the
//! machine's folder, its disk in it. Every process has its folder's path among its
//! arguments, by which it is found when nothing else is left.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use lab_model::lab::MachineSpec as Size;
use lab_model::plan::{MacAddress, OUTSIDE_INTERFACE, ObservedSegment, SEGMENT_INTERFACE};
use lab_ssh::keys::KeyPair;
use lab_ssh::{Destination, known_hosts};
use lab_vm::machine::{self, Base, Found, Identity, Machine, MachineSpec};
use lab_vm::store::{Image, Store};
use lab_vm::template::{Template, TemplateSpec};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::backend::{Backend, Birth, Outcomes, Presence};
use super::executable::Executable;
use super::link::Link;
use super::{Options, keys};
use crate::error::ProviderError;
use crate::lab_folder::{LabFolder, folders_in, remove_folder};
use crate::parallel::at_once;
use crate::record::{read_if_there, write_whole};

/// The image that machines are made from when none is named.
const USUAL_IMAGE: &str = "debian-12";

/// How long a machine may take to boot. Under TCG on a busy machine, eight boots at
/// once take most of a minute.
const BOOT: Duration = Duration::from_secs(180);

/// How long the switch may take to serve.
const SWITCH: Duration = Duration::from_secs(10);

/// The backend.
pub(super) struct Qemu {
    options: Options,
    runtime: Handle,
}

/// What the lab's machines are made from, in `qemu.json`: machines added later are
/// made from the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Choice {
    /// Digest of the image.
    image: String,
    kernel: Option<String>,
}

impl Qemu {
    pub(super) fn new(options: &Options, runtime: &Handle) -> Self {
        Self {
            options: options.clone(),
            runtime: runtime.clone(),
        }
    }

    fn choice(&self, folder: &LabFolder) -> Result<(Store, Image, Option<String>), ProviderError> {
        let store = Store::of_user()?;
        let chosen = read_if_there(&folder.path().join("qemu.json"))?;
        let chosen: Option<Choice> = chosen.and_then(|text| serde_json::from_slice(&text).ok());
        let (image, kernel) = match chosen {
            Some(Choice { image, kernel }) => (image, kernel),
            None => {
                let image = self.options.image.as_deref().unwrap_or(USUAL_IMAGE);
                (image.to_owned(), self.options.kernel.clone())
            }
        };
        let image = store.image(&image)?;
        Ok((store, image, kernel))
    }

    /// The template for machines of that size, made if it is not there. None where
    /// machines cannot go on from one: they are booted then.
    fn template(
        &self,
        (store, image, kernel): &(Store, Image, Option<String>),
        size: &Size,
        interrupt: &AtomicBool,
    ) -> Result<Option<Template>, ProviderError> {
        if self.options.cold || image.boot() == lab_vm::store::Boot::BootLoader {
            return Ok(None);
        }
        let executable = Executable::read(&self.options.labctl)?;
        let own = ThrowAway::new()?;
        let spec = TemplateSpec {
            image: image.clone(),
            kernel: kernel.clone(),
            memory_mib: size.memory_mib,
            cpus: size.cpus,
            content: executable.digest.clone(),
            identity: own.identity.clone(),
        };
        if let Some(there) = store.template(&spec).ok().flatten() {
            return Ok(Some(there));
        }
        (self.options.remark)(&format!(
            "making a template of {} ({} MiB); later machines go on from it",
            image.name(),
            size.memory_mib
        ));
        let mut prepare = |machine: &Machine| {
            let to = own.destination(machine.ssh_port());
            let mut link = Link::open(&self.runtime, &to)?;
            link.install_only(&executable)?;
            Ok(link.prepare()?)
        };
        let made = store.make_template(&spec, Instant::now() + BOOT, interrupt, &mut prepare);
        match made {
            Ok(template) => Ok(Some(template)),
            Err(_) if interrupt.load(std::sync::atomic::Ordering::SeqCst) => {
                Err(ProviderError::Interrupted)
            }
            Err(error) => {
                (self.options.remark)(&format!(
                    "no template: failed to {error}; machines are booted instead"
                ));
                Ok(None)
            }
        }
    }

    /// What each machine is made from: of those of one size, one template.
    fn bases(
        &self,
        folder: &LabFolder,
        births: &[Birth<'_>],
        interrupt: &AtomicBool,
    ) -> Result<Vec<Base>, ProviderError> {
        let choice = self.choice(folder)?;
        let mut templates: BTreeMap<(u32, u32), Option<Template>> = BTreeMap::new();
        let mut bases = Vec::new();
        for birth in births {
            let size = (birth.spec.memory_mib, birth.spec.cpus);
            let template = match templates.get(&size) {
                Some(template) => template.clone(),
                None => {
                    let template = self.template(&choice, birth.spec, interrupt)?;
                    templates.entry(size).or_insert(template).clone()
                }
            };
            bases.push(match template {
                Some(template) => Base::Template(template),
                None => Base::Image(choice.1.clone(), choice.2.clone()),
            });
        }
        Ok(bases)
    }

    fn start(
        &self,
        folder: &LabFolder,
        birth: &Birth<'_>,
        base: Base,
        interrupt: &AtomicBool,
    ) -> Result<(), ProviderError> {
        let (lab, node) = (folder.lab(), birth.node);
        let mac = |interface| MacAddress::of(lab, node, interface).to_string();
        let identity = Identity {
            hostname: node.to_owned(),
            mac_eth0: mac(OUTSIDE_INTERFACE),
            mac_eth1: mac(SEGMENT_INTERFACE),
            ssh_host_key: keys::new_host_key(folder, node)?.private_text()?,
            authorized_key: keys::create(folder)?.public_line()?,
        };
        let spec = MachineSpec {
            lab: lab.to_owned(),
            name: node.to_owned(),
            folder: folder.node(node),
            base,
            memory_mib: birth.spec.memory_mib,
            cpus: birth.spec.cpus,
            segment: Some(segment_folder(folder)),
            identity,
        };
        let starting = machine::start(&spec)?;
        starting.wait_ready(Instant::now() + BOOT, interrupt)?;
        Ok(())
    }
}

impl Backend for Qemu {
    fn create_lab(&self, folder: &LabFolder) -> Result<(), ProviderError> {
        let (_, image, kernel) = self.choice(folder)?;
        let image = image.digest().to_string();
        let path = folder.path().join("qemu.json");
        let text = serde_json::to_vec(&Choice { image, kernel })
            .map_err(|error| ProviderError::file("write", &path, error.into()))?;
        write_whole(&path, &text)
    }

    fn machines(&self, folder: &LabFolder) -> Result<BTreeMap<String, Presence>, ProviderError> {
        let mut machines = BTreeMap::new();
        for name in folders_in(&folder.nodes())? {
            let presence = match Machine::open(&folder.node(&name))? {
                Some(_) => Presence::Running,
                None => Presence::Fault("its virtual machine is gone".to_owned()),
            };
            machines.insert(name, presence);
        }
        for process in machine::find(folder.path())? {
            let Found { name, .. } = process;
            if let Some(name) = name {
                let half = || Presence::Fault("its folder is gone".to_owned());
                machines.entry(name).or_insert_with(half);
            }
        }
        Ok(machines)
    }

    fn segment(&self, folder: &LabFolder) -> Result<Option<ObservedSegment>, ProviderError> {
        Ok(switches(folder)?.pop().map(|_| ObservedSegment::default()))
    }

    fn create_segment(&self, folder: &LabFolder) -> Result<(), ProviderError> {
        let path = segment_folder(folder);
        let log_path = folder.path().join("segment.log");
        let log = File::create(&log_path)
            .map_err(|source| ProviderError::file("create", &log_path, source))?;
        let mut command = Command::new(&self.options.labctl);
        command
            .args(["app", "segment"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // The terminal's ^C is not meant for it.
            .process_group(0);
        let mut child = command
            .spawn()
            .map_err(|source| ProviderError::file("start", &self.options.labctl, source))?;
        wait_for_line(&mut child, SWITCH).map_err(|how| ProviderError::NotReady {
            node: folder.lab().to_owned(),
            what: "switch",
            how,
            tail: fs::read_to_string(&log_path).unwrap_or_default(),
        })
    }

    fn delete_segment(&self, folder: &LabFolder) -> Result<(), ProviderError> {
        for switch in switches(folder)? {
            switch.kill()?;
        }
        remove_folder(&segment_folder(folder))
    }

    fn create(&self, folder: &LabFolder, births: &[Birth<'_>], interrupt: &AtomicBool) -> Outcomes {
        let prepared = self.bases(folder, births, interrupt);
        let bases = match prepared {
            Ok(bases) => bases,
            Err(error) => return vec![Err(error)],
        };
        let births = births.iter().zip(bases).collect();
        at_once(births, |(birth, base): (&Birth<'_>, Base)| {
            self.start(folder, birth, base, interrupt)
        })
    }

    fn delete(&self, folder: &LabFolder, nodes: &[&str]) -> Outcomes {
        at_once(nodes.to_vec(), |node| {
            let path = folder.node(node);
            for process in machine::find(&path)? {
                process.kill()?;
            }
            keys::forget_host(folder, node)?;
            remove_folder(&path)
        })
    }

    fn destination(&self, folder: &LabFolder, node: &str) -> Result<Destination, ProviderError> {
        let machine = Machine::open(&folder.node(node))?;
        let machine = machine.ok_or_else(|| ProviderError::NotRunning {
            target: node.to_owned(),
            why: "its virtual machine is gone; `labctl up` makes it anew".to_owned(),
        })?;
        Ok(keys::destination(folder, node, machine.ssh_port()))
    }

    fn await_up(
        &self,
        folder: &LabFolder,
        node: &str,
        interrupt: &AtomicBool,
    ) -> Result<(), ProviderError> {
        if let Some(mut machine) = Machine::open(&folder.node(node))? {
            machine.wait_ready(Instant::now() + BOOT, interrupt)?;
        }
        Ok(())
    }

    fn remove_lab(&self, folder: &LabFolder) -> Result<(), ProviderError> {
        for process in machine::find(folder.path())? {
            process.kill()?;
        }
        // What an `up` that was killed while it made a template left.
        Ok(Store::of_user()?.sweep()?)
    }
}

/// Keys for a machine that is only there to become a template.
struct ThrowAway {
    folder: tempfile::TempDir,
    identity: Identity,
}

impl ThrowAway {
    const NAME: &str = "template";

    fn new() -> Result<Self, ProviderError> {
        let folder = tempfile::tempdir().map_err(|source| {
            ProviderError::file("make a folder in", &std::env::temp_dir(), source)
        })?;
        let login = KeyPair::load_or_create(&folder.path().join("id_ed25519"), Self::NAME)?;
        let host = KeyPair::generate(Self::NAME);
        let on_file = [(Self::NAME.to_owned(), host.public())];
        known_hosts::record(&folder.path().join("known_hosts"), &on_file)?;
        let mac = |interface| MacAddress::of("", Self::NAME, interface).to_string();
        let identity = Identity {
            hostname: Self::NAME.to_owned(),
            mac_eth0: mac(OUTSIDE_INTERFACE),
            mac_eth1: mac(SEGMENT_INTERFACE),
            ssh_host_key: host.private_text()?,
            authorized_key: login.public_line()?,
        };
        Ok(Self { folder, identity })
    }

    fn destination(&self, port: u16) -> Destination {
        let mut destination = Destination::new(Self::NAME, "root", "127.0.0.1", port)
            .with_identity(self.folder.path().join("id_ed25519"))
            .with_known_hosts(self.folder.path().join("known_hosts"));
        destination.host_key_alias = Some(Self::NAME.to_owned());
        destination
    }
}

fn segment_folder(folder: &LabFolder) -> PathBuf {
    folder.path().join("segment")
}

/// Processes that are the lab's switch: one, or none.
fn switches(folder: &LabFolder) -> Result<Vec<Found>, ProviderError> {
    let mut found = machine::find(&segment_folder(folder))?;
    found.retain(|process| process.name.is_none());
    Ok(found)
}

/// Waits until a process has something to say on its standard output. Why not, else.
fn wait_for_line(child: &mut Child, patience: Duration) -> Result<(), String> {
    let Some(mut stdout) = child.stdout.take() else {
        return Err("it has no output".to_owned());
    };
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let mut waiting = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
    match poll(&mut waiting, timeout) {
        Err(errno) => return Err(format!("failed to wait for it: {errno}")),
        Ok(0) => return Err(format!("it was not ready after {} s", patience.as_secs())),
        Ok(_) => {}
    }
    match stdout.read(&mut [0; 64]) {
        Ok(1..) => Ok(()),
        _ => Err("it ended".to_owned()),
    }
}
