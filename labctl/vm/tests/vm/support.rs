//! One image for all tests of a target folder, machines that end with their test, and OpenSSH's
//! client to look inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab_vm::build::Options;
use lab_vm::machine::{self, Base, Identity, Machine, MachineSpec};
use lab_vm::recipe::Recipe;
use lab_vm::store::{Image, Store};

pub(crate) static NEVER: AtomicBool = AtomicBool::new(false);

/// Every test's store, in the target folder of the test binary: that of `cargo xtask test --vm`,
/// so that suites share what they build.
pub(crate) fn store() -> Store {
    let binary = std::env::current_exe().expect("a test has a path");
    let target = binary.ancestors().nth(3).expect("target/debug/deps/test");
    let root = std::env::var_os("LABCTL_TEST_IMAGES").map(PathBuf::from);
    Store::at(&root.unwrap_or_else(|| target.join("vm/data/labctl/images"))).expect("a store")
}

/// The image of the kernel matrix: with every kernel that there is, the first being the default.
pub(crate) fn image() -> Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    let built = IMAGE.get_or_init(|| {
        let kernels = Recipe::debian_12().with_kernels(["6.1", "6.12", "sid"]);
        let recipe = kernels.expect("kernels that are known");
        let built = store().build(&recipe, Options::default(), &NEVER, &mut |_| ());
        built.expect("the image can be built").into_image()
    });
    built.clone()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A folder of machines, all of which are ended with it.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    pub(crate) key: PathBuf,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = folder.path().join("key");
        keygen(&key);
        Self { folder, key }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An identity, and a known_hosts line for it in `known_hosts.NAME`.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let host_key = self.folder().join(format!("host-key.{name}"));
        if !host_key.exists() {
            keygen(&host_key);
        }
        let public =
            fs::read_to_string(host_key.with_extension(format!("{name}.pub"))).expect("a key");
        let known = format!("{name} {public}");
        fs::write(self.folder().join(format!("known_hosts.{name}")), known).expect("known hosts");
        Identity {
            hostname: name.to_owned(),
            mac_eth0: format!("52:54:00:10:{:02x}:{:02x}", number >> 8, number & 0xff),
            mac_eth1: format!("52:54:00:11:{:02x}:{:02x}", number >> 8, number & 0xff),
            ssh_host_key: fs::read_to_string(&host_key).expect("a key"),
            authorized_key: fs::read_to_string(self.key.with_extension("pub")).expect("a key"),
        }
    }

    pub(crate) fn spec(&self, name: &str, base: Base) -> MachineSpec {
        MachineSpec {
            lab: "test".to_owned(),
            name: name.to_owned(),
            folder: self.folder().join(name),
            base,
            memory_mib: 256,
            cpus: 1,
            segment: None,
            identity: self.identity(name),
        }
    }

    pub(crate) fn start(&self, spec: &MachineSpec) -> Machine {
        let starting = machine::start(spec).expect("QEMU starts");
        starting
            .wait_ready(soon(), &NEVER)
            .expect("the machine gets ready")
    }

    pub(crate) fn ssh(&self, machine: &Machine, command: &str) -> Output {
        let known = self
            .folder()
            .join(format!("known_hosts.{}", machine.name()));
        let options = [
            "StrictHostKeyChecking=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "BatchMode=yes".to_owned(),
            format!(
                "User={}",
                if machine.is_seeded() {
                    "labctl"
                } else {
                    "root"
                }
            ),
            format!("HostKeyAlias={}", machine.name()),
            format!("UserKnownHostsFile={}", known.display()),
        ];
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none"])
            .args(options.iter().flat_map(|option| ["-o", option]));
        ssh.arg("-i")
            .arg(&self.key)
            .args(["-p", &machine.ssh_port().to_string()]);
        ssh.args(["127.0.0.1", command])
            .output()
            .expect("ssh is installed")
    }

    /// What a command prints on a machine; it must succeed.
    pub(crate) fn says(&self, machine: &Machine, command: &str) -> String {
        let output = self.ssh(machine, command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{command}: {said}\n{}",
            machine.serial_tail(20)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for found in machine::find(self.folder()).unwrap_or_default() {
            let _ended = found.kill();
        }
    }
}

fn keygen(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path);
    assert!(command.status().expect("ssh-keygen is installed").success());
}
