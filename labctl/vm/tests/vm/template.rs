//! Machines that go on from a template share nothing of who they are.

use std::collections::BTreeSet;
use std::time::{Instant, UNIX_EPOCH};

use lab_vm::machine::{Base, start};
use lab_vm::template::TemplateSpec;

use super::support::{Lab, NEVER, image, soon, store};

/// What must differ between any two machines.
const WHO: &[&str] = &[
    "hostname",
    "cat /etc/machine-id",
    "cat /proc/sys/kernel/random/boot_id",
    "cat /sys/class/net/eth0/address",
    "cat /sys/class/net/eth1/address",
    "ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key",
    "dd if=/dev/urandom bs=32 count=1 2>/dev/null | base64",
];

/// Since 1970.
fn seconds() -> u64 {
    UNIX_EPOCH
        .elapsed()
        .expect("it is later than 1970")
        .as_secs()
}

#[test]
fn two_machines_of_one_template_share_nothing() {
    let lab = Lab::new();
    let spec = TemplateSpec {
        image: image(),
        kernel: None,
        memory_mib: 256,
        cpus: 1,
        content: format!("test {}", std::process::id()),
        identity: lab.identity("template"),
    };
    let mut prepared = 0;
    let began = Instant::now();
    let mut make = || {
        store().make_template(&spec, soon(), &NEVER, &mut |machine| {
            prepared += 1;
            lab.says(machine, "echo prepared > /root/note");
            Ok(())
        })
    };
    let template = make().expect("a template");
    make().expect("the same template");
    assert_eq!(prepared, 1, "made once");
    println!("made in {:.2} s", began.elapsed().as_secs_f64());

    let specs = ["one", "two"].map(|name| lab.spec(name, Base::Template(template.clone())));
    let began = Instant::now();
    let starting = specs.map(|spec| start(&spec).expect("QEMU starts"));
    let machines = starting.map(|starting| {
        assert_eq!(starting.why_cold(), None);
        starting.wait_ready(soon(), &NEVER).expect("it gets ready")
    });
    println!("both ready after {:.2} s", began.elapsed().as_secs_f64());
    // The first that each drew from its random numbers.
    assert_ne!(machines[0].boot(), machines[1].boot());
    for command in WHO {
        let said: BTreeSet<String> = machines
            .iter()
            .map(|machine| lab.says(machine, command))
            .collect();
        assert_eq!(said.len(), 2, "{command}: {said:?}");
    }
    for machine in &machines {
        assert_eq!(lab.says(machine, "cat /root/note"), "prepared");
        assert_eq!(
            lab.says(machine, "cat /root/.ssh/authorized_keys | wc -l"),
            "1"
        );
        let before = seconds();
        let clock: u64 = lab.says(machine, "date +%s").parse().unwrap();
        let right = before - 1..=seconds() + 1;
        assert!(
            right.contains(&clock),
            "its clock says {clock}, not {right:?}"
        );
    }

    let [mut one, two] = machines;
    lab.ssh(&one, "reboot");
    one.wait_rebooted(soon(), &NEVER)
        .expect("a restored machine reboots");
    assert_eq!(lab.says(&one, "hostname; cat /root/note"), "one\nprepared");
    drop(two);
}
