//! This machine as a node of a lab: claimed, observed, changed, brought back after
//! a reboot, and released. `labctl node machine` does it for whoever speaks
//! [`api`] to it.
//!
//! ```text
//! /var/lib/labctl/            0700; /run/labctl leads here
//!   bin/labctl                this program, and links to it
//!   owner.json                whose node this is, and what was there before
//!   machine.json              what a reboot must bring back
//!   agent.sock, pods/, …      the node agent's, as anywhere
//!   units/                    what systemd runs, where it does
//! <cgroup2>/labctl.machine/<node>/{agent,serve,exec,pods}
//! ```
//!
//! What was there before the claim is not seen, not changed and not removed,
//! unless the lab asks for that very thing. A machine's cables are its own.

pub mod api;
mod base;
mod before;
mod boot;
mod claim;
mod conversation;
mod error;
mod etc_hosts;
mod files;
mod kept;
mod observe;
mod perform;
mod places;
mod prepare;
mod release;
pub mod run;
mod servers;
mod systemd;
#[cfg(test)]
mod tests;

pub use conversation::converse;
pub use error::MachineError;
pub use places::HOME;
pub use release::release;
pub use servers::Server;

use api::Owner;
use before::Claimed;
use places::Places;

/// A machine that a lab has claimed.
#[derive(Debug)]
pub struct Machine {
    places: Places,
    claimed: Claimed,
}

impl Machine {
    /// This machine, if it is claimed.
    ///
    /// # Errors
    /// When the record of the claim cannot be read, or cgroup2 is not mounted.
    pub fn open() -> Result<Option<Self>, MachineError> {
        let Some(claimed) = Claimed::read()? else {
            return Ok(None);
        };
        base::mount_cgroup2()?;
        let places = Places::of(&claimed.owner.node)?;
        Ok(Some(Self { places, claimed }))
    }

    /// Whose node it is.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        &self.claimed.owner
    }
}
