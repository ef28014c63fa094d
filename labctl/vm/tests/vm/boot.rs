//! A machine booted from the image, through its life.

use std::time::{Duration, Instant};

use lab_vm::machine::{Base, Ended, Machine, MachineError, find, start};

use super::support::{Lab, NEVER, image, soon};

#[test]
fn a_machine_boots_reboots_from_inside_and_shuts_down() {
    let lab = Lab::new();
    let spec = lab.spec("k8s-w1", Base::Image(image(), None));
    let began = Instant::now();
    let mut machine = lab.start(&spec);
    println!("ready after {:.2} s", began.elapsed().as_secs_f64());
    assert_eq!(lab.says(&machine, "hostname"), "k8s-w1");
    println!("first command after {:.2} s", began.elapsed().as_secs_f64());
    assert_eq!(
        lab.says(&machine, "cat /sys/class/net/eth1/address"),
        spec.identity.mac_eth1
    );
    assert_eq!(lab.says(&machine, "uname -r"), machine.kernel().unwrap());
    assert!(
        lab.says(&machine, "ip -4 -o address show eth0")
            .contains("10.0.2.15/24")
    );

    lab.says(&machine, "echo kept > /root/note; sync");
    // The connection ends with the machine.
    lab.ssh(&machine, "reboot");
    machine
        .wait_rebooted(soon(), &NEVER)
        .expect("it comes up again");
    assert_eq!(
        lab.says(&machine, "cat /root/note; hostname"),
        "kept\nk8s-w1"
    );

    let mut found = Machine::open(&spec.folder).unwrap().expect("it runs");
    found.wait_ready(soon(), &NEVER).expect("it is ready");
    assert_eq!(found.ssh_port(), machine.ssh_port());
    assert_eq!(
        found
            .shutdown(Instant::now() + Duration::from_secs(20))
            .unwrap(),
        Ended::Clean
    );
    assert!(machine.has_ended().unwrap());
    assert!(Machine::open(&spec.folder).unwrap().is_none());
    assert!(find(lab.folder()).unwrap().is_empty());

    // The same disk again: who it is, it knows.
    let machine = lab.start(&spec);
    assert_eq!(lab.says(&machine, "cat /root/note"), "kept");
}

#[test]
fn a_machine_that_never_answers_is_reported_with_its_console() {
    let lab = Lab::new();
    let spec = lab.spec("mute", Base::Image(image(), None));
    let starting = start(&spec).unwrap();
    let soon = Instant::now() + Duration::from_millis(50);
    let error = starting.wait_ready(soon, &NEVER).unwrap_err();
    assert!(matches!(error, MachineError::NoAnswer { .. }), "{error}");
    // It runs on, and can be found and ended.
    assert!(matches!(start(&spec), Err(MachineError::Runs { .. })));
    let machine = Machine::open(&spec.folder).unwrap().expect("it runs");
    machine.power_off().unwrap();

    // With an empty disk its initramfs says why it gives up.
    let disk = spec.folder.join("disk.qcow2");
    std::fs::remove_file(&disk).unwrap();
    let mut create = std::process::Command::new("qemu-img");
    create
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&disk)
        .arg("16M");
    assert!(create.status().unwrap().success());
    let error = start(&spec)
        .unwrap()
        .wait_ready(super::support::soon(), &NEVER)
        .unwrap_err();
    assert!(
        matches!(&error, MachineError::Died { serial, .. } if serial.contains("cannot mount /dev/vda")),
        "{error}"
    );
}

#[test]
fn a_machine_that_is_killed_is_told_at_once() {
    let lab = Lab::new();
    let spec = lab.spec("victim", Base::Image(image(), None));
    let starting = start(&spec).unwrap();
    let found = find(&spec.folder).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].name.as_deref(), Some("victim"));
    let began = Instant::now();
    found.into_iter().for_each(|found| found.kill().unwrap());
    let error = starting.wait_ready(soon(), &NEVER).unwrap_err();
    assert!(matches!(error, MachineError::Died { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10));
    // The journal of its disk was open; it boots again.
    let machine = lab.start(&spec);
    machine.power_off().unwrap();
    let machine = lab.start(&spec);
    assert_eq!(lab.says(&machine, "hostname"), "victim");
}

#[test]
fn each_kernel_of_an_image_boots() {
    let image = image();
    assert_eq!(image.kernels().len(), 3);
    for kernel in image.kernels() {
        let lab = Lab::new();
        let spec = lab.spec(
            "node",
            Base::Image(image.clone(), Some(kernel.name.clone())),
        );
        let began = Instant::now();
        let machine = lab.start(&spec);
        println!(
            "{}: ready after {:.2} s",
            kernel.release,
            began.elapsed().as_secs_f64()
        );
        assert_eq!(lab.says(&machine, "uname -r"), kernel.release);
        // Modules of this kernel, and what they depend on, are found.
        lab.says(
            &machine,
            "modprobe dummy && modprobe vxlan && modprobe cls_bpf",
        );
    }
}
