//! `cargo xtask demo`: from a clone to a lab that is up and has proved itself.

use anyhow::Result;

use crate::command::{command, run};
use crate::setup;

/// Sets up, installs `labctl` with cargo, brings up the study lab and runs its checks.
pub(crate) fn bring_up() -> Result<()> {
    setup::install_missing(&setup::Options::default())?;
    run(command("cargo").args(["install", "--path", ".", "--locked"]))?;
    run(command("labctl").args(["up", "labs/study.yaml", "--check"]))?;
    println!("{LOOK_AROUND}");
    Ok(())
}

const LOOK_AROUND: &str = "
The lab is up. Look around:
  labctl status
  labctl exec curl-pod -- curl -s 192.168.10.200
  labctl exec k8s-ctr -- ip -br -c -4 addr
  labctl exec k8s-ctr -- cilium-dbg bpf nat list
  labctl shell router
  labctl check --twins
Take it down:
  labctl down";
