//! `exec` and `shell`: this process becomes the command, on a node or in a pod.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;

use lab_providers::{Provider, ProviderError, Target};

use super::ssh::over_ssh;
use crate::args::{ExecArgs, ShellArgs};
use crate::exit::{Exit, Failure, OrExit};
use crate::labs::choose;

pub(crate) fn run(args: &ExecArgs) -> Result<Exit, Failure> {
    become_command(args.lab.lab.as_deref(), &args.target, &args.command)
}

pub(crate) fn shell(args: &ShellArgs) -> Result<Exit, Failure> {
    let own = std::env::var_os("SHELL").filter(|shell| Path::new(shell).is_file());
    let shell = own.unwrap_or_else(|| OsString::from("/bin/sh"));
    become_command(args.lab.lab.as_deref(), &args.target, &[shell])
}

/// Executes the command in the place of labctl: signals, the terminal and the exit
/// code are then its own. Returns only when it cannot.
pub(super) fn become_command(
    lab: Option<&str>,
    target: &str,
    argv: &[impl AsRef<OsStr>],
) -> Result<Exit, Failure> {
    let (provider, lab) = choose(lab)?;
    let target = find(&provider, &lab, target)?;
    let netns = match &provider {
        Provider::Netns(netns) => netns,
        Provider::Machines(machines) => {
            let argv: Vec<String> = argv
                .iter()
                .map(|word| word.as_ref().to_string_lossy().into_owned())
                .collect();
            let line = machines.command_line(&target, &argv);
            return over_ssh(machines, &lab, target.node(), Some(line));
        }
    };
    let error = netns
        .command(&lab, &target, argv)
        .or_exit(Exit::LabFailed)?
        .exec();
    let program = argv
        .first()
        .map(|program| program.as_ref().to_string_lossy().into_owned());
    let message = format!(
        "failed to run {} on {target}: {error}",
        program.unwrap_or_default()
    );
    // As shells have it (POSIX 2.8.2): 127 not found, 126 found and not executable.
    Err(match error.kind() {
        ErrorKind::NotFound => Failure::NotExecuted { code: 127, message },
        ErrorKind::PermissionDenied => Failure::NotExecuted { code: 126, message },
        _ => Failure::new(Exit::LabFailed, message),
    })
}

/// The node or pod of that name; one that isn't there is an error of usage.
pub(super) fn find(provider: &Provider, lab: &str, name: &str) -> Result<Target, Failure> {
    provider.find(lab, name).map_err(|error| {
        let exit = match error {
            ProviderError::NoTarget { .. } | ProviderError::Ambiguous { .. } => Exit::Usage,
            _ => Exit::LabFailed,
        };
        Failure::new(exit, format_args!("failed to {error}"))
    })
}
