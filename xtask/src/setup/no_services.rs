//! Packages of servers are installed for their programs: none of them is to start, now
//! or when the machine boots.

use std::path::Path;

use anyhow::{Context, Result};

use super::as_root;
use crate::command::{find, run, target_folder};

/// Where Debian's packages ask whether they may start their services (invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// "Action forbidden by policy."
const FORBIDDEN: &str = "#!/bin/sh\nexit 101\n";

/// Packages that bring a server along, and its unit.
const UNITS: [(&str, &str); 4] = [
    ("unbound", "unbound.service"),
    ("nsd", "nsd.service"),
    ("pdns-recursor", "pdns-recursor.service"),
    ("knot-resolver", "kresd@1.service"),
];

/// Services are forbidden while this lives.
pub(super) struct Forbidden {
    ours: bool,
}

/// Forbids services, as images of containers do; a machine that has a policy of its own
/// keeps it.
pub(super) fn forbid() -> Result<Forbidden> {
    if Path::new(POLICY).exists() {
        return Ok(Forbidden { ours: false });
    }
    std::fs::create_dir_all(target_folder())?;
    let policy = target_folder().join("policy-rc.d");
    std::fs::write(&policy, FORBIDDEN).context("write a policy for services")?;
    run(as_root("install")
        .args(["--mode=755"])
        .arg(&policy)
        .arg(POLICY))?;
    Ok(Forbidden { ours: true })
}

impl Drop for Forbidden {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        if let Err(error) = run(as_root("rm").arg(POLICY)) {
            eprintln!("setup: {error:#}: remove {POLICY} by hand, or no service starts any more");
        }
    }
}

/// Has the services of these packages, which are new here, stay off at boot.
pub(super) fn disable(packages: &[&str]) -> Result<()> {
    let units: Vec<&str> = UNITS
        .iter()
        .filter(|(package, _)| packages.contains(package))
        .map(|(_, unit)| *unit)
        .collect();
    if units.is_empty() || find("systemctl").is_none() {
        return Ok(());
    }
    run(as_root("systemctl").arg("disable").args(units))
}
