//! Machines on one segment, and the switch between them.

use std::process::{Child, Command};
use std::time::Instant;

use lab_vm::machine::{Base, Machine, find};

use super::support::{Lab, image};

/// The switch of a lab's segment; it ends with the lab.
fn switch(lab: &Lab) -> Child {
    let binary = std::env::current_exe().unwrap();
    let example = binary.ancestors().nth(2).unwrap().join("examples/switch");
    let mut command = Command::new(example);
    command
        .arg("segment")
        .arg(lab.folder().join("segment"))
        .arg(lab.folder().join("segment.pcap"));
    command.spawn().expect("the example is built")
}

fn pair(lab: &Lab) -> [Machine; 2] {
    let starting = [("a", "10.9.0.1/24"), ("b", "10.9.0.2/24")].map(|(name, address)| {
        let mut spec = lab.spec(name, Base::Image(image(), None));
        spec.segment = Some(lab.folder().join("segment"));
        (lab_vm::machine::start(&spec).expect("QEMU starts"), address)
    });
    starting.map(|(starting, address)| {
        let machine = starting
            .wait_ready(super::support::soon(), &super::support::NEVER)
            .unwrap();
        lab.says(&machine, &format!("ip address add {address} dev eth1"));
        machine
    })
}

#[test]
fn machines_reach_each_other_though_the_switch_is_killed_and_started_again() {
    let lab = Lab::new();
    let mut killed = switch(&lab);
    let [a, b] = pair(&lab);
    println!("{}", lab.says(&a, "ping -c 5 -i 0.2 10.9.0.2"));

    lab.says(
        &b,
        "setsid busybox nc -l -p 5000 >/dev/null 2>&1 </dev/null &",
    );
    let began = Instant::now();
    lab.says(
        &a,
        "dd if=/dev/zero bs=64k count=800 2>/dev/null | busybox nc 10.9.0.2 5000",
    );
    let seconds = began.elapsed().as_secs_f64();
    println!("TCP: {:.0} Mbit/s", 50.0 * 1.048_576 * 8.0 / seconds);

    let found = find(&lab.folder().join("segment")).unwrap();
    assert_eq!(
        found.iter().map(|found| found.pid()).collect::<Vec<_>>(),
        [killed.id()]
    );
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!lab.ssh(&a, "ping -c 1 -W 1 10.9.0.2").status.success());
    let mut again = switch(&lab);
    lab.says(&a, "ping -c 3 -i 0.2 -W 2 10.9.0.2");

    // Machine b again: another socket of the same name.
    b.power_off().unwrap();
    let mut spec = lab.spec("b", Base::Image(image(), None));
    spec.segment = Some(lab.folder().join("segment"));
    let b = lab.start(&spec);
    lab.says(&b, "ip address add 10.9.0.2/24 dev eth1");
    lab.says(
        &a,
        "ip neighbour flush dev eth1; ping -c 3 -i 0.2 -W 2 10.9.0.2",
    );
    again.kill().unwrap();
    again.wait().unwrap();
    let capture = std::fs::read(lab.folder().join("segment.pcap")).unwrap();
    assert!(capture.len() > 24 + 6 * 98, "the pings are in it");
}
