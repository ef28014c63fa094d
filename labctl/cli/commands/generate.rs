//! `completions` and `man`: written from the definition of the command line.

use std::fs;
use std::path::Path;

use clap::CommandFactory;

use crate::args::Cli;
use crate::exit::{Exit, Failure};
use crate::output::print;

/// Writes a shell's completion script to standard output.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "labctl", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}

/// Writes a man page for labctl and each command that users see into `folder`.
pub(crate) fn man(folder: &Path) -> Result<Exit, Failure> {
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(visible(Cli::command()), folder))
        .map_err(|error| {
            let folder = folder.display();
            Failure::usage(format_args!(
                "failed to write man pages into {folder}: {error}"
            ))
        })?;
    Ok(Exit::Success)
}

/// The command without those that only labctl itself calls.
fn visible(command: clap::Command) -> clap::Command {
    let seen: Vec<clap::Command> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .cloned()
        .collect();
    clap::Command::new("labctl")
        .version(env!("CARGO_PKG_VERSION"))
        .about(command.get_about().cloned().unwrap_or_default())
        .after_help(command.get_after_help().cloned().unwrap_or_default())
        .args(command.get_arguments().cloned())
        .subcommands(seen)
}
