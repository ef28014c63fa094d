//! A machine that boots as a cloud image does: systemd, and cloud-init with our seed.
//!
//! No cloud image is in Debian's archive, so one is built from its packages; it lacks a boot
//! loader alone, in whose place QEMU starts the kernel.

use std::time::{Duration, Instant};

use lab_vm::build::Options;
use lab_vm::machine::{Base, Ended, start};
use lab_vm::recipe::Recipe;
use lab_vm::store::Boot;

use super::support::{Lab, NEVER, store};

#[test]
fn cloud_init_tells_a_machine_who_it_is() {
    let name = "debian-12-cloud".to_owned();
    let recipe = Recipe {
        name,
        cloud_init: true,
        ..Recipe::debian_12()
    };
    let built = store().build(&recipe, Options::default(), &NEVER, &mut |_| ());
    let image = built.expect("the image can be built").into_image();
    assert_eq!(
        (image.boot(), image.ssh_user()),
        (Boot::BootLoader, "labctl")
    );

    let lab = Lab::new();
    let mut spec = lab.spec("cloud", Base::Image(image, None));
    spec.memory_mib = 512;
    let deadline = Instant::now() + Duration::from_secs(600);
    let machine = start(&spec)
        .expect("QEMU starts")
        .wait_ready(deadline, &NEVER)
        .unwrap();
    assert_eq!(lab.says(&machine, "hostname; whoami"), "cloud\nlabctl");
    lab.says(&machine, "sudo -n true");
    assert_eq!(
        lab.says(&machine, "cat /sys/class/net/eth1/address"),
        spec.identity.mac_eth1
    );
    assert!(
        lab.says(&machine, "ip -4 -o address show eth0")
            .contains("10.0.2.15/24")
    );
    assert_eq!(
        lab.says(&machine, "ls /etc/ssh/ssh_host_*_key"),
        "/etc/ssh/ssh_host_ed25519_key"
    );
    let shadow = lab.says(&machine, "sudo -n getent shadow labctl root");
    assert!(
        shadow
            .lines()
            .all(|line| line.split(':').nth(1).unwrap().starts_with(['!', '*']))
    );
    assert_eq!(
        machine
            .shutdown(Instant::now() + Duration::from_secs(60))
            .unwrap(),
        Ended::Clean
    );
}
