//! A Vagrant box of labctl's own image.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

use lab_vm::build::Options;
use lab_vm::recipe::Recipe;
use lab_vm::store::{Image, Store};

const INIT: &str = include_str!("box-init");

/// Packs a box into `folder` and returns its file. Everything in it is this test's own: the
/// host key, and the key that logs in.
pub(crate) fn pack(folder: &Path) -> PathBuf {
    let image = image();
    let [login, host_key] = ["login", "host_key"].map(|name| folder.join(name));
    // Vagrant's net-ssh reads Ed25519 keys only where a gem that is not everywhere is, and
    // version 7.0.1, Debian 12's, cannot log in with an RSA key in OpenSSH's own format.
    keygen(&login, "rsa");
    keygen(&host_key, "ed25519");
    let disk = folder.join("disk.raw");
    run(Command::new("cp")
        .args(["--sparse=always", "--no-preserve=mode"])
        .args([&image.disk().0, &disk]));
    // Vagrant restarts eth1 too, before it has configured it.
    let interfaces = "\
        auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\niface eth1 inet manual\n";
    let files = [
        ("etc/ssh/ssh_host_ed25519_key", read(&host_key), 0o600),
        ("etc/ssh/ssh_host_ed25519_key.pub", public(&host_key), 0o644),
        ("root/.ssh/authorized_keys", public(&login), 0o600),
        ("etc/network/interfaces", interfaces.into(), 0o644),
        ("etc/hostname", "box\n".into(), 0o644),
        (
            "etc/hosts",
            "127.0.0.1 localhost\n127.0.1.1 box\n".into(),
            0o644,
        ),
        ("usr/sbin/box-init", INIT.into(), 0o755),
        ("etc/resolv.conf", String::new(), 0o644),
    ];
    put(&disk, folder, &files);
    run(Command::new("qemu-img")
        .args(["convert", "-O", "qcow2"])
        .args([&disk, &folder.join("box.img")]));
    let size = fs::metadata(&disk)
        .expect("the disk")
        .len()
        .div_ceil(1 << 30);
    let metadata =
        serde_json::json!({"provider": "libvirt", "format": "qcow2", "virtual_size": size});
    fs::write(folder.join("metadata.json"), metadata.to_string()).expect("write metadata");
    fs::write(folder.join("Vagrantfile"), vagrantfile(&image, &login)).expect("write settings");
    let packed = folder.join("labctl.box");
    run(Command::new("tar")
        .arg("-C")
        .arg(folder)
        .arg("-cf")
        .arg(&packed)
        .args(["metadata.json", "Vagrantfile", "box.img"]));
    packed
}

/// The image, in the store that the tests of `lab-vm` use too.
fn image() -> Image {
    let binary = std::env::current_exe().expect("a test has a path");
    let target = binary.ancestors().nth(3).expect("target/debug/deps/test");
    let given = std::env::var_os("LABCTL_TEST_IMAGES").map(PathBuf::from);
    let store = Store::at(&given.unwrap_or_else(|| target.join("vm/data/labctl/images")));
    let recipe = Recipe {
        name: "debian-12-box".to_owned(),
        ..Recipe::debian_12()
    };
    // What Vagrant configures Debian's interfaces with.
    let recipe = recipe.with_packages(["ifupdown", "isc-dhcp-client"].map(str::to_owned));
    let never = AtomicBool::new(false);
    let built = store
        .expect("a store")
        .build(&recipe, Options::default(), &never, &mut |_| ());
    built
        .unwrap_or_else(|error| panic!("failed to {error}"))
        .into_image()
}

/// The box's own settings: what is of this test and not of a lab.
fn vagrantfile(image: &Image, login: &Path) -> String {
    let kernel = image.kernel(None).expect("the image has a kernel");
    let kernel = image.kernel_folder(kernel);
    format!(
        r#"Vagrant.configure("2") do |config|
  config.ssh.username = "root"
  config.ssh.sudo_command = "%c"
  config.ssh.private_key_path = "{login}"
  config.ssh.insert_key = false
  # Four machines at once under TCG, beside whatever else this host does.
  config.vm.boot_timeout = 900
  config.vm.provider "libvirt" do |libvirt|
    libvirt.kernel = "{kernel}/vmlinux"
    libvirt.initrd = "{kernel}/initramfs"
    libvirt.cmd_line = "root=/dev/vda rw init=/usr/sbin/box-init net.ifnames=0 quiet mitigations=off nokaslr audit=0 apparmor=0 nowatchdog random.trust_cpu=on"
    libvirt.machine_type = "q35"
    libvirt.cpu_mode = "custom"
    libvirt.cpu_model = "qemu64"
    libvirt.graphics_type = "none"
    libvirt.video_type = "none"
  end
end
"#,
        login = login.display(),
        kernel = kernel.display(),
    )
}

/// Puts files into an ext4 file system without mounting it.
fn put(disk: &Path, folder: &Path, files: &[(&str, String, u32)]) {
    let mut script = String::new();
    for (index, (path, content, mode)) in files.iter().enumerate() {
        let source = folder.join(format!("file-{index}"));
        fs::write(&source, content).expect("write a file");
        fs::set_permissions(&source, fs::Permissions::from_mode(*mode)).expect("its mode");
        // debugfs(8): `write` keeps the mode, and refuses to replace.
        script.push_str(&format!("rm /{path}\nwrite {} /{path}\n", source.display()));
    }
    let mut debugfs = Command::new("debugfs")
        .args(["-w", "-f", "-"])
        .arg(disk)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("debugfs is installed (e2fsprogs)");
    let mut input = debugfs.stdin.take().expect("it is piped");
    input.write_all(script.as_bytes()).expect("debugfs reads");
    drop(input);
    assert!(debugfs.wait().expect("debugfs is ours").success());
    for (path, content, _) in files {
        let there = Command::new("debugfs")
            .args(["-R", &format!("cat /{path}")])
            .arg(disk)
            .output()
            .expect("debugfs starts");
        assert_eq!(String::from_utf8_lossy(&there.stdout), *content, "/{path}");
    }
}

fn keygen(file: &Path, kind: &str) {
    run(Command::new("ssh-keygen")
        .args([
            "-q",
            "-t",
            kind,
            "-m",
            "PEM",
            "-N",
            "",
            "-C",
            "labctl test",
            "-f",
        ])
        .arg(file));
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn public(key: &Path) -> String {
    read(&key.with_extension("pub"))
}

#[track_caller]
pub(crate) fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
