//! labctl called as `hubble`, on a node; and `observe`, which has a node of a lab run it.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::Path;

use clap::Parser as _;
use lab_node::hubble::{self, Arguments, Command, HubbleError, mark_negated};

use super::cilium::NODE_FOLDER;
use super::exec::become_command;
use crate::args::ObserveArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::labs::choose;
use crate::live::record_of;

/// Runs the command that the arguments ask for.
pub(crate) fn run() -> Result<Exit, Failure> {
    let args = mark_negated(std::env::args_os());
    run_arguments(Arguments::parse_from(args))
}

fn run_arguments(arguments: Arguments) -> Result<Exit, Failure> {
    let folder = std::env::var_os("LABCTL_NODE_DIR").unwrap_or_else(|| NODE_FOLDER.into());
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    match hubble::run(arguments, Path::new(&folder), &mut out, &mut err) {
        Ok(()) => Ok(Exit::Success),
        // `hubble observe | head -1`: what was not read was not wanted.
        Err(HubbleError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => {
            Ok(Exit::Success)
        }
        Err(HubbleError::Usage(text)) => Err(Failure::usage(text)),
        Err(error) => Err(Failure::new(
            Exit::LabFailed,
            format_args!("failed to {error}"),
        )),
    }
}

/// `observe`: a file is read here; flows are what `hubble observe` on a cluster node says,
/// which sees all nodes.
pub(crate) fn observe(args: ObserveArgs) -> Result<Exit, Failure> {
    if args.observe.reads_file() {
        return run_arguments(Arguments {
            command: Command::Observe(Box::new(args.observe)),
        });
    }
    let lab = args.lab.lab.as_deref();
    let (provider, name) = choose(lab)?;
    let record = record_of(&provider, &name)?;
    let runs_pods = |role: &str| role == "control-plane" || role == "worker";
    let node = record.nodes.iter().find(|node| runs_pods(&node.role));
    let Some(node) = node else {
        let message = format!("lab {name} has no cluster node, and so no flows");
        return Err(Failure::new(Exit::LabFailed, message));
    };
    provider.agent(&name, &node.name).or_exit(Exit::LabFailed)?;
    let mut command = vec![OsString::from("hubble"), OsString::from("observe")];
    command.extend(own_words(std::env::args_os()));
    become_command(Some(&name), &node.name, &command)
}

/// The words of `labctl [FLAGS] observe [--lab LAB] …` that are hubble's.
fn own_words(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut args = args.skip_while(|word| word != "observe").skip(1);
    while let Some(word) = args.next() {
        match word.to_str() {
            Some("--lab") => {
                args.next();
            }
            Some("-q" | "--quiet") => {}
            Some(text) if text.starts_with("--lab=") => {}
            _ => words.push(word),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubble_gets_its_own_words_as_they_were_typed() {
        let typed = "labctl -q observe --lab mine --not --from-ip 10.0.0.1 -f --lab=x --pod a";
        let words = own_words(typed.split(' ').map(OsString::from));
        assert_eq!(
            words,
            ["--not", "--from-ip", "10.0.0.1", "-f", "--pod", "a"]
        );
    }
}
