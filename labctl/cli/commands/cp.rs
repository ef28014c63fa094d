//! `cp`: files to and from machines, over SFTP.

use std::path::Path;

use super::exec::find;
use super::ssh::on_machines;
use crate::args::CpArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::labs::choose;
use crate::progress::Progress;

/// One side of a copy.
enum Side<'a> {
    Here(&'a Path),
    There { node: &'a str, path: &'a str },
}

impl<'a> Side<'a> {
    /// As scp has it: what has a colon before any slash is on a machine.
    fn parse(text: &'a str) -> Self {
        match text.split_once(':') {
            Some((node, path)) if !node.is_empty() && !node.contains('/') => {
                Self::There { node, path }
            }
            _ => Self::Here(Path::new(text)),
        }
    }
}

pub(crate) fn run(args: &CpArgs, quiet: bool) -> Result<Exit, Failure> {
    let (from, to) = (Side::parse(&args.from), Side::parse(&args.to));
    let node = match (&from, &to) {
        (Side::There { node, .. }, Side::Here(_)) | (Side::Here(_), Side::There { node, .. }) => {
            *node
        }
        _ => {
            return Err(
                Failure::usage("one side of a copy is on a machine, the other here")
                    .help("write NODE:PATH for the one on a machine"),
            );
        }
    };
    let (provider, lab) = choose(args.lab.lab.as_deref())?;
    let machines = on_machines(&provider, &lab)?;
    let target = find(&provider, &lab, node)?;
    let connection = machines
        .connection(&lab, target.node())
        .or_exit(Exit::LabFailed)?;
    let progress = Progress::endless(quiet);
    progress.doing(format!("{} to {}", args.from, args.to));
    let copied = match (from, to) {
        (Side::Here(from), Side::There { path, .. }) => connection.copy_to(from, path, None),
        (Side::There { path, .. }, Side::Here(to)) => connection.copy_from(path, to, None),
        _ => Ok(()),
    };
    copied.or_exit(Exit::LabFailed)?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_a_machine_has_a_colon_before_any_slash() {
        for (text, there) in [
            ("k8s-w1:/tmp/x", true),
            ("k8s-w1:", true),
            ("./a:b", false),
            ("/tmp/a:b", false),
            (":x", false),
            ("file", false),
        ] {
            assert_eq!(
                matches!(Side::parse(text), Side::There { .. }),
                there,
                "{text}"
            );
        }
    }
}
