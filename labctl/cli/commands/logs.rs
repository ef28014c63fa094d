//! `logs`: what a node's services, or a pod, have written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lab_providers::netns::Target;

use super::exec::find;
use crate::args::LogsArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::live::{choose, provider};
use crate::output::print;

pub(crate) fn run(args: &LogsArgs) -> Result<Exit, Failure> {
    let netns = provider(None)?;
    let lab = choose(&netns, args.lab.lab.as_deref())?;
    let target = find(&netns, &lab, &args.target)?;
    let folder = netns
        .node_folder(&lab, target.node())
        .or_exit(Exit::LabFailed)?;
    let logs: Vec<PathBuf> = match &target {
        Target::Node { .. } => ["agent.log", "serve.log"]
            .map(|log| folder.join(log))
            .into(),
        Target::Pod {
            namespace, name, ..
        } => {
            vec![
                folder
                    .join("pods")
                    .join(format!("{namespace}_{name}"))
                    .join("log"),
            ]
        }
    };
    let mut written = Vec::new();
    for log in &logs {
        written.extend(read(log)?.map(|text| (log, text)));
    }
    // As tail(1) does, a head only where there are several.
    let several = written.len() > 1;
    for (log, text) in written {
        let name = log.file_name().unwrap_or_default().to_string_lossy();
        let head = if several {
            format!("==> {name} <==\n")
        } else {
            String::new()
        };
        print(&format!("{head}{text}"))?;
    }
    Ok(Exit::Success)
}

/// A log; none when nothing was started that would write it.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let message = format!("failed to read {}: {error}", path.display());
            Err(Failure::new(Exit::LabFailed, message))
        }
    }
}
