//! The Vagrantfile, and labs on machines that Vagrant makes.

mod boxes;
mod hypervisor;

use std::path::PathBuf;
use std::process::Command;

use crate::lab::{Ran, labctl, root};

/// Files in `labs/` that are labs, and not manifests.
fn shipped_labs() -> Vec<PathBuf> {
    let files = std::fs::read_dir(root().join("labs")).expect("the labs");
    let files = files.map(|file| file.expect("an entry").path());
    let is_lab = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).expect("a text");
        file.extension().is_some_and(|it| it == "yaml") && text.contains("\nnetwork:")
    };
    files.filter(is_lab).collect()
}

/// `vagrant validate`, without anything of the caller's.
fn validate(lab: &std::path::Path) -> Ran {
    let home = tempfile::tempdir().expect("a folder");
    let output = Command::new("vagrant")
        .args(["validate", "--no-color"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("VAGRANT_CWD", root())
        .env("VAGRANT_DOTFILE_PATH", home.path().join("state"))
        .env("VAGRANT_CHECKPOINT_DISABLE", "1")
        .env("LAB", lab)
        .output()
        .expect("vagrant is installed (apt install vagrant vagrant-libvirt)");
    Ran::from(output)
}

#[test]
fn every_shipped_lab_is_valid_for_vagrant() {
    let labs = shipped_labs();
    assert!(!labs.is_empty());
    for lab in labs {
        validate(&lab)
            .exits(0)
            .prints("Vagrantfile validated successfully");
    }
}

#[test]
fn faults_of_a_lab_file_are_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lab.yaml");
    for (text, fault) in [
        ("name: [\n", "lab.yaml): did not find expected node content"),
        ("- a list\n", "this is no lab file"),
        ("network: 192.168.10.0/24\n", "`name` is missing"),
        ("name: x\nnetwork: 192.168.10\n", "`network` must be like"),
        (
            "name: x\nnetwork: 10.0.0.0/8\nnodes: {}\n",
            "`nodes` must name",
        ),
        (
            "name: x\nnetwork: 10.0.0.0/8\nnodes: {one: {role: worker}}\n",
            "node `one` has no `address`",
        ),
    ] {
        std::fs::write(&file, text).expect("write a file");
        let ran = validate(&file).exits(1).complains(fault);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
    std::fs::remove_file(&file).expect("remove it");
    validate(&file).exits(1).complains("cannot be read");
}

const UP: [&str; 4] = ["up", "--provider", "vagrant", "labs/study.yaml"];

/// `labctl up` with state of its own and one setting; the lab does not come up.
fn up_with(variable: &str, value: &str) -> Ran {
    let home = tempfile::tempdir().expect("a folder");
    let mut up = labctl(&UP);
    up.env("XDG_STATE_HOME", home.path())
        .env("VAGRANT_HOME", home.path().join("vagrant.d"))
        .env(variable, value);
    let ran = Ran::from(up.output().expect("labctl starts")).exits(5);
    let left = home.path().join("labctl/labs/study");
    assert!(!left.exists(), "{} is left: {}", left.display(), ran.stderr);
    ran
}

#[test]
fn without_vagrant_it_is_said_what_to_install() {
    let empty = tempfile::tempdir().expect("a folder");
    up_with("PATH", &empty.path().to_string_lossy())
        .complains("failed to")
        .complains("vagrant: it is not installed; `apt install vagrant vagrant-libvirt`");
}

#[test]
fn what_vagrant_says_is_in_the_error() {
    up_with("VAGRANT_DEFAULT_PROVIDER", "none-such")
        .complains("vagrant up k8s-ctr k8s-w1 k8s-w2 router: it ended with exit status: 1")
        .complains("The provider 'none-such' could not be found");
}

mod as_root {
    use super::UP;
    use super::hypervisor::Hypervisor;

    /// One hypervisor and one set of machines: they take minutes to boot without KVM.
    #[test]
    #[ignore = "takes a quarter of an hour without KVM: `cargo xtask test --vagrant` runs it"]
    fn the_study_lab_on_machines_of_vagrant_and_libvirt() {
        let hypervisor = Hypervisor::new();
        all_checks_hold(&hypervisor);
        nothing_is_left_to_do(&hypervisor);
        machines_are_reached(&hypervisor);
        a_machine_that_is_gone_is_made_anew(&hypervisor);
        down_leaves_the_box_alone(&hypervisor);
    }

    fn all_checks_hold(hypervisor: &Hypervisor) {
        let mut up = UP.to_vec();
        up.push("--check");
        hypervisor
            .labctl(&up)
            .exits(0)
            .prints("lab study is up: 4 nodes")
            .prints("15 checks: 15 passed");
    }

    fn nothing_is_left_to_do(hypervisor: &Hypervisor) {
        hypervisor.labctl(&UP).exits(0).prints("nothing to do");
    }

    fn machines_are_reached(hypervisor: &Hypervisor) {
        hypervisor
            .labctl(&[
                "exec", "router", "--", "ip", "-br", "addr", "show", "dev", "eth1",
            ])
            .exits(0)
            .prints("192.168.10.200/24");
        // Machines of Vagrant's own naming, on a segment of the lab's own.
        hypervisor
            .virsh(&["list", "--name"])
            .exits(0)
            .prints("labctl-study-k8s-ctr");
        hypervisor
            .virsh(&["net-list", "--name"])
            .exits(0)
            .prints("labctl-study");
    }

    fn a_machine_that_is_gone_is_made_anew(hypervisor: &Hypervisor) {
        let name = "labctl-study-k8s-w2";
        hypervisor.virsh(&["destroy", name]).exits(0);
        hypervisor
            .labctl(&["plan", "--provider", "vagrant", "labs/study.yaml"])
            .exits(0)
            .prints("k8s-w2 cannot be mended");
        hypervisor.labctl(&UP).exits(0);
        hypervisor
            .labctl(&["check", "routing"])
            .exits(0)
            .prints("6 passed");
    }

    fn down_leaves_the_box_alone(hypervisor: &Hypervisor) {
        hypervisor
            .labctl(&["down"])
            .exits(0)
            .prints("lab study is down");
        let left = hypervisor.virsh(&["list", "--all", "--name"]).exits(0);
        assert_eq!(left.stdout.trim(), "");
        let networks = hypervisor.virsh(&["net-list", "--all", "--name"]).exits(0);
        assert!(!networks.stdout.contains("labctl"), "{}", networks.stdout);
        let disks = hypervisor.virsh(&["vol-list", "default"]).exits(0);
        assert!(!disks.stdout.contains("labctl-study"), "{}", disks.stdout);
        assert!(!hypervisor.labs().join("study").exists());
    }
}
