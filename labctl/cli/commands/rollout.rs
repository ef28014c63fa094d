//! `rollout restart`: the pods of an object start anew, one node after the other.

use std::collections::BTreeMap;
use std::io::Read as _;

use clap::ValueEnum as _;
use lab_cluster::PodPlacement;
use lab_providers::{Provider, Target};

use crate::args::{RestartArgs, RolloutCommand, Workloads};
use crate::exit::{Exit, Failure, OrExit};
use crate::labs::choose;
use crate::live::{allocations, sources_of};
use crate::output::print_line;

pub(crate) fn run(command: &RolloutCommand, quiet: bool) -> Result<Exit, Failure> {
    let RolloutCommand::Restart(args) = command;
    let (kind, name) = object(args)?;
    let (provider, lab) = choose(args.lab.lab.as_deref())?;
    let cluster = sources_of(&provider, &lab)?.cluster(&allocations(&provider, &lab)?)?;
    let is_one = |pod: &&PodPlacement| {
        pod.namespace == args.namespace
            && match kind {
                Workloads::Pod => pod.name == name,
                _ => pod.owner.as_deref() == Some(name),
            }
    };
    let mut of_node: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for pod in cluster.pods.iter().filter(is_one) {
        let key = format!("{}/{}", pod.namespace, pod.name);
        of_node.entry(&pod.node).or_default().push(key);
    }
    let word = kind.to_possible_value();
    let word = word.as_ref().map_or("object", |word| word.get_name());
    if of_node.is_empty() {
        let message = format!("lab {lab} has no {word} {name} in {}", args.namespace);
        return Err(Failure::usage(message).help("`labctl status` lists the pods"));
    }
    for (node, pods) in of_node {
        restart(&provider, &lab, node, &pods)?;
    }
    if !quiet {
        print_line(format!("{word}.apps/{name} restarted").replace("pod.apps", "pod"))?;
    }
    Ok(Exit::Success)
}

/// KIND and NAME, in one word or two.
fn object(args: &RestartArgs) -> Result<(Workloads, &str), Failure> {
    let (kind, name) = match args.of.as_slice() {
        [both] => both.split_once('/').unwrap_or((both, "")),
        [kind, name] => (kind.as_str(), name.as_str()),
        _ => ("", ""),
    };
    if name.is_empty() {
        let message = "say what is to be restarted: KIND NAME, or KIND/NAME";
        return Err(Failure::usage(message).help("such as `daemonset node-local-dns`"));
    }
    let kind = Workloads::from_str(kind, true)
        .map_err(|_| Failure::usage(format!("no pods are restarted of a `{kind}`")))
        .map_err(|failure| failure.help("kinds are deployment, daemonset and pod"))?;
    Ok((kind, name))
}

/// Has a node's agent do it: the command runs on the node, wherever that is.
fn restart(provider: &Provider, lab: &str, node: &str, pods: &[String]) -> Result<(), Failure> {
    let target = Target::Node {
        name: node.to_owned(),
    };
    // Between fork and exec the child is labctl itself, whatever its file is called.
    let mut argv: Vec<String> = ["/proc/self/exe", "node", "restart"]
        .map(str::to_owned)
        .into();
    argv.extend_from_slice(pods);
    let mut process = provider
        .start(lab, &target, &argv)
        .or_exit(Exit::LabFailed)?;
    let mut complaint = String::new();
    if let Some(stderr) = &mut process.stderr {
        // What cannot be read is not needed where it succeeds.
        let _ = stderr.read_to_string(&mut complaint);
    }
    let failed = |why: &str| {
        let message = format!("failed to restart pods on {node}: {}", why.trim());
        Failure::new(Exit::LabFailed, message)
    };
    match process.control().wait() {
        Ok(0) => Ok(()),
        Ok(_) => Err(failed(complaint.trim_start_matches("error: "))),
        Err(error) => Err(failed(&error.to_string())),
    }
}
