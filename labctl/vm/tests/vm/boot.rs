//! A machine booted from the image, through its life.

use std::time::{Duration, Instant};

use lab_vm::machine::{Base, Ended, Machine, MachineError, find, start};

use crate::support::{Lab, NEVER, image, soon};

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

    lab.says(&machine, "echo kept > /root/note; reboot");
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
    let error = starting
        .wait_ready(Instant::now() + Duration::from_millis(50), &NEVER)
        .unwrap_err();
    assert!(matches!(error, MachineError::NoAnswer { .. }), "{error}");
}
