//! systemd, where it is the init process: the units that bring a node back after
//! a reboot, and start its servers again when they fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lab_model::plan::SEGMENT_INTERFACE;
use minijinja::{Environment, UndefinedBehavior, context};

use super::api::Owner;
use super::places::{HOME, home, program};
use super::{MachineError, files};

/// A unit.
#[derive(Debug)]
pub(super) struct Unit {
    name: &'static str,
    template: &'static str,
}

/// Runs `labctl node boot`.
pub(super) const BOOT: Unit = Unit {
    name: "labctl-boot.service",
    template: include_str!("../../../../templates/systemd/labctl-boot.service"),
};
/// The node agent.
pub(super) const AGENT: Unit = Unit {
    name: "labctl-agent.service",
    template: include_str!("../../../../templates/systemd/labctl-agent.service"),
};
/// The node's server.
pub(super) const SERVE: Unit = Unit {
    name: "labctl-serve.service",
    template: include_str!("../../../../templates/systemd/labctl-serve.service"),
};

impl Unit {
    fn file(&self) -> PathBuf {
        home("units").join(self.name)
    }

    fn text(&self, owner: &Owner) -> Result<String, MachineError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let values = context! {
            node => owner.node.as_str(),
            lab => owner.lab.as_str(),
            home => HOME,
            labctl => program().to_string_lossy(),
            interface => SEGMENT_INTERFACE,
        };
        let rendered = environment.render_str(self.template, values);
        let text = rendered.map_err(|source| MachineError::Unit {
            unit: self.name,
            source,
        })?;
        // Rendering takes off the template's last line break.
        Ok(text + "\n")
    }
}

/// Whether systemd is the init process (sd_booted(3)).
pub(super) fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Writes a unit and has systemd start it at each boot.
pub(super) fn install(unit: &Unit, owner: &Owner) -> Result<(), MachineError> {
    files::make_folder(&home("units"))?;
    files::rewrite(&unit.file(), &unit.text(owner)?)?;
    // A path links the unit, and enables it.
    systemctl(&["enable", "--quiet", &unit.file().to_string_lossy()])
}

/// Starts a unit that does not run, and waits until it has started.
pub(super) fn start(unit: &Unit) -> Result<(), MachineError> {
    systemctl(&["start", unit.name])
}

/// Starts a unit, or starts it again, and waits until its server is ready.
pub(super) fn restart(unit: &Unit) -> Result<(), MachineError> {
    // One that never failed has nothing to be reset.
    let _ = systemctl(&["reset-failed", unit.name]);
    systemctl(&["restart", unit.name])
}

/// Stops a unit, and has systemd forget it.
pub(super) fn uninstall(unit: &Unit) -> Result<(), MachineError> {
    if !unit.file().exists() {
        return Ok(());
    }
    systemctl(&["disable", "--quiet", "--now", unit.name])?;
    files::remove(&unit.file())?;
    systemctl(&["daemon-reload"])
}

fn systemctl(arguments: &[&str]) -> Result<(), MachineError> {
    let fault = |why: String| MachineError::Systemctl {
        arguments: arguments.join(" "),
        why,
    };
    let mut command = Command::new("systemctl");
    let ran = command.args(arguments).stdin(Stdio::null()).output();
    let output = ran.map_err(|error| fault(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let why = if said.is_empty() {
        output.status.to_string()
    } else {
        said
    };
    Err(fault(why))
}

#[cfg(test)]
mod tests {
    use lab_model::lab::Role;

    use super::*;

    fn owner() -> Owner {
        Owner {
            lab: "study".to_owned(),
            node: "k8s-w1".to_owned(),
            role: Role::Worker,
            owner: "alice@laptop".to_owned(),
        }
    }

    #[test]
    fn units_say_what_they_run_and_for_whom() {
        let text = AGENT.text(&owner()).expect("render");
        for line in [
            "Description=labctl: node agent of k8s-w1 in lab study",
            "PIDFile=/var/lib/labctl/agent.pid",
            "ExecStart=/var/lib/labctl/bin/labctl node start agent",
            "KillMode=process",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line:?} in\n{text}");
        }
        let boot = BOOT.text(&owner()).expect("render");
        let after = "After=network.target sys-subsystem-net-devices-eth1.device";
        assert!(boot.lines().any(|it| it == after), "{boot}");
        assert!(boot.ends_with("WantedBy=multi-user.target\n"), "{boot}");
    }
}
