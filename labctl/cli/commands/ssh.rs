//! `ssh` and `ssh-config`: the machines of a lab, for people and for OpenSSH.

use lab_providers::machines::Machines;
use lab_providers::{Provider, Target};
use lab_ssh::config::ssh_config_text;
use lab_ssh::{Command, terminal};

use super::exec::find;
use crate::args::{LabArgs, SshArgs};
use crate::exit::{Exit, Failure, OrExit};
use crate::labs::choose;
use crate::output::print;

pub(crate) fn run(args: &SshArgs) -> Result<Exit, Failure> {
    let (provider, lab) = choose(args.lab.lab.as_deref())?;
    let machines = on_machines(&provider, &lab)?;
    let target = find(&provider, &lab, &args.node)?;
    let Target::Node { name } = &target else {
        return Err(Failure::usage(format_args!("{target} is a pod"))
            .help(format!("`labctl exec {target} -- sh` opens a shell in it")));
    };
    let command = (!args.command.is_empty()).then(|| args.command.clone());
    over_ssh(machines, &lab, name, command)
}

/// Runs a command on a machine, or a shell, in the place of labctl: its streams, its
/// terminal and its exit code.
pub(super) fn over_ssh(
    machines: &Machines,
    lab: &str,
    node: &str,
    command: Option<Vec<String>>,
) -> Result<Exit, Failure> {
    let connection = machines.connection(lab, node).or_exit(Exit::LabFailed)?;
    let command = command.map_or_else(Command::shell, Command::new);
    let exit = machines
        .block_on(terminal::run(connection.session(), command))
        .or_exit(Exit::LabFailed)?;
    Ok(Exit::OfCommand(
        u8::try_from(exit.code()).unwrap_or(u8::MAX),
    ))
}

pub(crate) fn config(args: &LabArgs) -> Result<Exit, Failure> {
    let (provider, lab) = choose(args.lab.as_deref())?;
    let machines = on_machines(&provider, &lab)?;
    let record = crate::live::record_of(&provider, &lab)?;
    let mut hosts = Vec::new();
    for node in &record.nodes {
        let to = machines
            .destination(&lab, &node.name)
            .or_exit(Exit::LabFailed)?;
        hosts.push(to);
    }
    print(&ssh_config_text(&hosts))?;
    Ok(Exit::Success)
}

/// The provider, if its labs are reached over SSH.
pub(super) fn on_machines<'a>(provider: &'a Provider, lab: &str) -> Result<&'a Machines, Failure> {
    match provider {
        Provider::Machines(machines) => Ok(machines),
        Provider::Netns(_) => Err(Failure::usage(format_args!(
            "lab {lab} is in namespaces, where no SSH server runs"
        ))
        .help("`labctl shell NODE` and `labctl exec NODE -- COMMAND` work in any lab")),
    }
}
