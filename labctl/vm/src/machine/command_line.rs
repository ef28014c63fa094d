//! QEMU's arguments for a machine: pure.
//!
//! The process's working directory is the machine's folder, so that sockets' paths are short
//! (sun_path has 108 bytes) and no option is split at a comma of a folder's name.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::accel::Accelerator;

/// The virtio-serial port a machine is told by who it is.
pub(crate) const IDENTITY_PORT: &str = "org.labctl.identity";

/// What QEMU is started with.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine<'a> {
    pub(crate) lab: &'a str,
    pub(crate) name: &'a str,
    pub(crate) folder: &'a Path,
    pub(crate) accelerator: Accelerator,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    pub(crate) boot: BootFrom,
    pub(crate) memory: Memory<'a>,
    /// The segment's folder as seen from the machine's.
    pub(crate) segment: Option<PathBuf>,
    /// MAC addresses of `eth0` and `eth1`, where the machine does not set them itself.
    pub(crate) macs: Option<(&'a str, &'a str)>,
    /// Whether cloud-init finds its identity on `seed.iso`, and process 1 is the image's own.
    pub(crate) seeded: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum BootFrom {
    /// A folder with `vmlinux` or `vmlinuz`, and `initramfs`.
    Kernel { image: PathBuf, initramfs: PathBuf },
    /// The disk's boot loader.
    Disk,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory<'a> {
    Anonymous,
    /// A template being made: memory is that file.
    Recorded(&'a Path),
    /// Going on from a template: memory is a private copy of that file, made page by page.
    Restored(&'a Path),
}

/// As measured: with it, a kernel of 6.12 starts 0.9 s sooner under TCG.
const KERNEL_PARAMETERS: &str = "console=ttyS0 quiet loglevel=3 mitigations=off nokaslr tsc=reliable no_timer_check audit=0 apparmor=0 nowatchdog \
    random.trust_cpu=on 8250.nr_uarts=1 rcupdate.rcu_expedited=1 cryptomgr.notests i8042.noaux \
    net.ifnames=0 panic=-1";

/// The MAC addresses the devices have. A machine sets its own from its identity, so that all
/// copies of a template have the device state they were saved with.
const UNTOLD_MACS: (&str, &str) = ("52:54:00:00:00:00", "52:54:00:00:00:01");

/// The argument by which a machine's process is recognized.
pub(crate) fn pid_file(folder: &Path) -> PathBuf {
    folder.join("qemu.pid")
}

impl CommandLine<'_> {
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: OsString| all.extend([name.into(), value]);
        option(
            "-name",
            format!("guest=labctl:{}:{}", doubled(self.lab), doubled(self.name)).into(),
        );
        option("-pidfile", pid_file(self.folder).into());
        option("-accel", self.accelerator.argument().into());
        option("-cpu", self.accelerator.cpu().into());
        option("-smp", self.cpus.to_string().into());
        option("-m", self.memory_mib.to_string().into());
        self.memory_options(&mut option);
        for device in self.devices() {
            let (name, value) = device;
            option(name, value.into());
        }
        if let BootFrom::Kernel { image, initramfs } = &self.boot {
            option("-kernel", image.into());
            option("-initrd", initramfs.into());
            let init = if self.seeded {
                "/sbin/init"
            } else {
                "/usr/lib/labctl/init"
            };
            option("-append", format!("{KERNEL_PARAMETERS} init={init}").into());
        }
        let flags = ["-nodefaults", "-no-user-config"].map(OsString::from);
        flags
            .into_iter()
            .chain(["-display".into(), "none".into()])
            .chain(all)
            .collect()
    }

    fn memory_options(&self, option: &mut dyn FnMut(&str, OsString)) {
        let (file, share) = match self.memory {
            Memory::Anonymous => return option("-machine", "q35".into()),
            Memory::Recorded(file) => (file, "on"),
            Memory::Restored(file) => (file, "off"),
        };
        let size = self.memory_mib;
        let path = doubled(&file.display().to_string());
        let backend =
            format!("memory-backend-file,id=memory,size={size}M,share={share},mem-path={path}");
        option("-object", backend.into());
        option("-machine", "q35,memory-backend=memory".into());
        if matches!(self.memory, Memory::Restored(_)) {
            option("-incoming", "defer".into());
        }
    }

    fn devices(&self) -> Vec<(&'static str, String)> {
        let (eth0, eth1) = self.macs.unwrap_or(UNTOLD_MACS);
        let segment = self.segment.as_ref().map(|folder| {
            let at = |name: &str| doubled(&folder.join(name).display().to_string());
            let (local, remote) = (at(&format!("{}.sock", self.name)), at("switch.sock"));
            format!("dgram,id=segment,local.type=unix,local.path={local},remote.type=unix,remote.path={remote}")
        });
        let mut devices = vec![
            // QEMU takes the listening socket that is its standard input.
            (
                "-chardev",
                "socket,id=qmp,fd=0,server=on,wait=off".to_owned(),
            ),
            ("-mon", "chardev=qmp,mode=control".to_owned()),
            ("-chardev", "file,id=serial,path=serial.log".to_owned()),
            ("-serial", "chardev:serial".to_owned()),
            // The disk's safety is the lab's: what a power cut loses, `up` makes anew.
            (
                "-drive",
                "if=none,id=disk,file=disk.qcow2,format=qcow2,cache=unsafe,discard=unmap"
                    .to_owned(),
            ),
            ("-device", "virtio-blk-pci,drive=disk".to_owned()),
            // Port 0: the kernel picks one that is free; `info usernet` tells which.
            (
                "-netdev",
                "user,id=outside,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22".to_owned(),
            ),
            (
                "-device",
                format!("virtio-net-pci,netdev=outside,romfile=,mac={eth0}"),
            ),
            // A hub with one port leads nowhere.
            (
                "-netdev",
                segment.unwrap_or_else(|| "hubport,id=segment,hubid=0".to_owned()),
            ),
            (
                "-device",
                format!("virtio-net-pci,netdev=segment,romfile=,mac={eth1}"),
            ),
            ("-device", "virtio-rng-pci".to_owned()),
            // A new generation at each restore: the kernel reseeds its random numbers by itself.
            ("-device", "vmgenid,guid=auto".to_owned()),
        ];
        devices.extend([
            ("-device", "virtio-serial-pci".to_owned()),
            // Pipes are open on the host's side at all times, so that the machine's reads wait.
            ("-chardev", "pipe,id=identity,path=identity".to_owned()),
            (
                "-device",
                format!("virtserialport,chardev=identity,name={IDENTITY_PORT}"),
            ),
        ]);
        if self.seeded {
            let seed = "if=none,id=seed,file=seed.iso,format=raw,readonly=on";
            devices.push(("-drive", seed.to_owned()));
            devices.push(("-device", "virtio-blk-pci,drive=seed".to_owned()));
        }
        devices
    }
}

/// QEMU's options end a value at a comma, unless there are two.
fn doubled(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(memory: Memory<'_>, segment: Option<PathBuf>) -> Vec<String> {
        let command = CommandLine {
            lab: "study",
            name: "k8s,w1",
            folder: Path::new("/labs/study/k8s,w1"),
            accelerator: Accelerator::Tcg,
            memory_mib: 256,
            cpus: 1,
            boot: BootFrom::Kernel {
                image: "/i/vmlinux".into(),
                initramfs: "/i/initramfs".into(),
            },
            memory,
            segment,
            macs: None,
            seeded: false,
        };
        command
            .arguments()
            .into_iter()
            .map(|argument| argument.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_comma_in_a_name_ends_no_option() {
        let all = arguments(Memory::Anonymous, Some("../segment".into()));
        assert!(all.contains(&"guest=labctl:study:k8s,,w1".to_owned()));
        assert!(
            all.iter()
                .any(|argument| argument.contains("local.path=../segment/k8s,,w1.sock,"))
        );
        // A whole argument is not split.
        assert!(all.contains(&"/labs/study/k8s,w1/qemu.pid".to_owned()));
    }

    #[test]
    fn a_template_and_its_copies_differ_in_how_memory_is_shared_only() {
        let recorded = arguments(Memory::Recorded(Path::new("/t/ram")), None);
        let restored = arguments(Memory::Restored(Path::new("/t/ram")), None);
        let differing: Vec<_> = restored
            .iter()
            .filter(|argument| !recorded.contains(argument))
            .collect();
        assert_eq!(
            differing,
            [
                "memory-backend-file,id=memory,size=256M,share=off,mem-path=/t/ram",
                "-incoming",
                "defer"
            ]
        );
    }

    #[test]
    fn ssh_is_forwarded_on_loopback_only() {
        let all = arguments(Memory::Anonymous, None);
        let user = all
            .iter()
            .find(|argument| argument.starts_with("user,"))
            .unwrap();
        assert!(user.contains("restrict=on") && user.contains("hostfwd=tcp:127.0.0.1:0-:22"));
    }
}
