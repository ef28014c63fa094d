//! A libvirtd of a test's own, with Vagrant and labctl beside it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::lab::{Ran, root};
use crate::user::wait_until;
use crate::vagrant::boxes;

/// How long libvirtd may take to serve.
const PATIENCE: Duration = Duration::from_secs(60);

const BOX: &str = "labctl-test";

/// libvirtd in namespaces of its own. All that runs there ends with it.
pub(crate) struct Hypervisor {
    folder: tempfile::TempDir,
    /// unshare(1); its child is process 1 of the namespaces.
    unshare: Child,
    init: String,
}

impl Hypervisor {
    /// Starts it, and gives Vagrant a box. Needs root.
    #[track_caller]
    pub(crate) fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test starts libvirtd in namespaces of its own: run it as root"
        );
        let folder = tempfile::Builder::new()
            .prefix("vagrant-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a folder");
        let log = std::fs::File::create(folder.path().join("libvirtd.log")).expect("a log");
        let unshare = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
            ])
            .arg(root().join("tests/vagrant/libvirtd.sh"))
            .arg(folder.path().join("libvirt"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("unshare starts (util-linux)");
        let id = unshare.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let init = || std::fs::read_to_string(&children).unwrap_or_default();
        wait_until("unshare has a child", PATIENCE, || !init().is_empty());
        let init = init().trim().to_owned();
        let hypervisor = Self {
            folder,
            unshare,
            init,
        };
        wait_until("libvirtd serves", PATIENCE, || {
            hypervisor.virsh(&["list"]).exit == 0
        });
        hypervisor.add_box();
        hypervisor
    }

    fn add_box(&self) {
        let folder = self.folder.path().join("box");
        std::fs::create_dir(&folder).expect("a folder");
        let packed = boxes::pack(&folder);
        let add = ["box", "add", "--name", BOX];
        boxes::run(self.command("vagrant").args(add).arg(packed));
    }

    /// The folder of the labs' state.
    pub(crate) fn labs(&self) -> std::path::PathBuf {
        self.folder.path().join("state/labctl/labs")
    }

    /// Any program beside libvirtd, in the repository's folder.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--net", "--mount", "--pid", "--target", &self.init, "env", "-C",
            ])
            .arg(root())
            .arg(program.as_ref())
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env("VAGRANT_HOME", self.folder.path().join("vagrant.d"))
            .env("VAGRANT_CHECKPOINT_DISABLE", "1")
            .env("VAGRANT_DEFAULT_PROVIDER", "libvirt")
            .env("LIBVIRT_DEFAULT_URI", "qemu:///system")
            // Other tests' labs may be up beside this one.
            .env("LABCTL_LAB", "study")
            .env("LABCTL_BOX", BOX)
            .env("LABCTL_LIBVIRT_DRIVER", "qemu");
        command
    }

    /// Runs `labctl` to its end.
    pub(crate) fn labctl(&self, args: &[&str]) -> Ran {
        let mut labctl = self.command(assert_cmd::cargo::cargo_bin!("labctl"));
        Ran::from(labctl.args(args).output().expect("nsenter starts"))
    }

    /// Asks libvirt.
    pub(crate) fn virsh(&self, args: &[&str]) -> Ran {
        Ran::from(
            self.command("virsh")
                .args(args)
                .output()
                .expect("nsenter starts"),
        )
    }
}

impl Drop for Hypervisor {
    fn drop(&mut self) {
        // Its child is killed with it, and all processes of the namespaces with that.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
