//! Prints, one program a line: its name, the instructions that this kernel's verifier went
//! through, and the ways in which it can be attached here (`tcx`, `clsact`, `cgroup`).
//!
//! Attached for real: to the loopback of a network namespace that ends with this process, and to
//! a cgroup that is removed at the end.

#[path = "../tests/kernel/datapath.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod datapath;

use std::fs::{self, File};
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::links::LinkOrder;
use aya::programs::tc::{NlOptions, TcAttachOptions, qdisc_add_clsact};
use aya::programs::{
    CgroupAttachMode, Program, ProgramError, ProgramInfo, SchedClassifier, TcAttachType,
};
use lab_datapath_common::programs;
use nix::sched::{CloneFlags, unshare};

const OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/datapath.bpf.o");
const SOCKETS: &[u8] = aya::include_bytes_aligned!("../../prebuilt/sock.bpf.o");
const ANSWERS: &[u8] = aya::include_bytes_aligned!("../../prebuilt/dns.bpf.o");
const INTERFACE: &str = "lo";

fn main() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace, as root");
    qdisc_add_clsact(INTERFACE).expect("every kernel since 4.5 has clsact");
    let names = programs::ALL.into_iter().chain(programs::CALLED);
    classifiers(&mut datapath::load(OBJECT), names);
    socket_programs();
    let mut answers = Ebpf::load(ANSWERS).expect("the object's maps");
    let loaded = program(&mut answers, programs::DNS_CACHED).load();
    loaded.expect("this kernel's verifier takes it");
    classifiers(&mut answers, [programs::DNS_CACHED]);
}

fn classifiers(ebpf: &mut Ebpf, names: impl IntoIterator<Item = &'static str>) {
    for name in names {
        let program = program(ebpf, name);
        let verified = verified(program.info());
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

fn socket_programs() {
    let mut ebpf = Ebpf::load(SOCKETS).expect("the object's maps");
    let folder = cgroup2().join(format!("attach-modes-{}", std::process::id()));
    fs::create_dir(&folder).expect("a cgroup, as root");
    let cgroup = File::open(&folder).expect("the cgroup");
    let mut lines = Vec::new();
    for name in programs::sock::ALL {
        let mode = CgroupAttachMode::Single;
        let (attached, info) = match ebpf.program_mut(name).expect("the object has the program") {
            Program::CgroupSockAddr(it) => {
                it.load().expect("this kernel's verifier takes it");
                (it.attach(&cgroup, mode).map(drop), it.info())
            }
            Program::CgroupSock(it) => {
                it.load().expect("this kernel's verifier takes it");
                (it.attach(&cgroup, mode).map(drop), it.info())
            }
            _ => unreachable!("every program is one of sockets"),
        };
        attached.expect("a cgroup takes programs");
        lines.push(format!("{name} {} cgroup", verified(info)));
    }
    // The programs go with the object, and the cgroup is free to go.
    drop(ebpf);
    fs::remove_dir(&folder).expect("the cgroup is this process's own");
    println!("{}", lines.join("\n"));
}

fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let folder = mount.and_then(|line| line.split(' ').nth(4));
    folder.expect("cgroup2 is mounted").into()
}

fn verified(info: Result<ProgramInfo, ProgramError>) -> u32 {
    info.expect("the kernel knows its program")
        .verified_instruction_count()
        .expect("kernels since 5.16 tell")
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
