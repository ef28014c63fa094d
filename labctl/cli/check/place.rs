//! Where a check's commands run, in the provider's terms.

use std::ffi::OsStr;
use std::process::Command;

use lab_checks::check_file::Target;
use lab_providers::netns;

use super::command::CommandError;
use crate::live::LiveLab;

/// `argv` as a command on a node or in a pod of the lab.
pub(super) fn command_in(
    live: &LiveLab,
    on: &Target,
    argv: &[impl AsRef<OsStr>],
) -> Result<Command, CommandError> {
    let target = match on {
        Target::Node(name) => netns::Target::Node { name: name.clone() },
        Target::Pod {
            namespace,
            name,
            node,
        } => netns::Target::Pod {
            node: node.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
        },
    };
    Ok(live.netns.command(&live.sources.lab.name, &target, argv)?)
}
