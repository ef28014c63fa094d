//! Prints, one program a line: its name, the instructions that this kernel's verifier went
//! through, and the ways in which it can be attached here (`tcx`, `clsact`).
//!
//! Attached for real, to the loopback of a network namespace that ends with this process.

#[path = "../tests/kernel/datapath.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod datapath;

use aya::Ebpf;
use aya::programs::links::LinkOrder;
use aya::programs::tc::{NlOptions, TcAttachOptions, qdisc_add_clsact};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use lab_datapath_common::programs;
use nix::sched::{CloneFlags, unshare};

const OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/datapath.bpf.o");
const INTERFACE: &str = "lo";

fn main() {
    let mut ebpf = datapath::load(OBJECT);
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace, as root");
    qdisc_add_clsact(INTERFACE).expect("every kernel since 4.5 has clsact");
    for name in programs::ALL {
        let program = program(&mut ebpf, name);
        let info = program.info().expect("the kernel knows its program");
        let verified = info
            .verified_instruction_count()
            .expect("kernels since 5.16 tell");
        let tcx = attach(program, TcAttachOptions::TcxOrder(LinkOrder::default()));
        let clsact = attach(program, TcAttachOptions::Netlink(NlOptions::default()));
        let modes = [("tcx", tcx), ("clsact", clsact)];
        let modes: Vec<_> = modes
            .iter()
            .filter_map(|(mode, attached)| attached.is_ok().then_some(*mode))
            .collect();
        println!("{name} {verified} {}", modes.join(" "));
    }
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> &'e mut SchedClassifier {
    let program = ebpf.program_mut(name).expect("the object has the program");
    program.try_into().expect("every program is a classifier")
}

/// Attaches the program and takes it off again.
fn attach(program: &mut SchedClassifier, options: TcAttachOptions) -> Result<(), ProgramError> {
    program
        .attach_with_options(INTERFACE, TcAttachType::Ingress, options)
        .and_then(|link| program.detach(link))
}
