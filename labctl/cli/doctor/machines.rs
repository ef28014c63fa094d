//! What labs on virtual machines need. Without it those in namespaces work.

use lab_vm::accel;
use lab_vm::machine::QEMU;

use super::{Finding, Need, find};

/// Looks at the programs, and tries KVM.
pub(super) fn examine() -> Vec<Need> {
    let program = |name: &'static str, why, mend| Need {
        name,
        why,
        mend,
        finding: match find(name) {
            Some(path) => Finding::Ok {
                detail: path.display().to_string(),
            },
            None => Finding::Degraded {
                detail: "not on PATH".to_owned(),
            },
        },
    };
    let mut needs = vec![
        program(
            QEMU,
            "virtual machines (--provider qemu)",
            "apt-get install -y qemu-system-x86",
        ),
        program(
            "qemu-img",
            "disks of virtual machines",
            "apt-get install -y qemu-utils",
        ),
        program(
            "mmdebstrap",
            "images of virtual machines",
            "apt-get install -y mmdebstrap fakeroot fakechroot uidmap",
        ),
    ];
    if matches!(needs[0].finding, Finding::Ok { .. }) {
        needs.push(kvm());
    }
    needs
}

fn kvm() -> Need {
    let choice = accel::choose();
    Need {
        name: "kvm",
        why: "virtual machines some ten times as fast",
        mend: "usermod -aG kvm $USER, where there is a /dev/kvm",
        finding: match &choice.why_not_kvm {
            None => Finding::Ok {
                detail: choice.accelerator.to_string(),
            },
            Some(why) => Finding::Degraded {
                detail: format!("{}: {why}", choice.accelerator),
            },
        },
    }
}
