//! The command line, as typed: every command, its flags and its examples.

mod dns;
mod lifecycle;
mod machines;
mod rollout;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app::App;
use crate::output::Format;
use crate::probe::Probe;
pub(crate) use dns::DnsArgs;
pub(crate) use lifecycle::{DatapathArgs, DownArgs, PlanArgs, UpArgs, ValidateArgs};
pub(crate) use machines::{
    AgentArgs, CpArgs, ImageBuildArgs, ImageCommand, ImageImportArgs, NodeArgs, NodeCommand,
    NodeServer, ProviderArgs, SshArgs,
};
pub(crate) use rollout::{RestartArgs, RolloutCommand, Workloads};

/// Kubernetes networking labs from one YAML file, with checks that judge packet captures.
#[derive(Debug, Parser)]
#[command(
    name = "labctl",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "\
Examples:
  labctl up labs/study.yaml --check     bring the study lab up and run its checks
  labctl status                         what runs where
  labctl exec curl-pod -- curl -s 192.168.10.200
  labctl down                           take it down again

Exit codes: 0 done, 1 a check failed, 2 usage, 3 invalid file, 4 this host lacks something,
5 the lab could not be made or reached, 10 changes pending (plan), 130 interrupted.")]
pub(crate) struct Cli {
    /// Say only what was asked for: no progress, no summary
    #[arg(short, long, global = true, env = "LABCTL_QUIET")]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read a lab file, its manifests and its check files, and report every fault
    #[command(after_help = "\
Examples:
  labctl validate labs/study.yaml
  labctl validate labs/*.yaml

Every fault comes at once, with file:line:column. Nothing is made; no root needed.")]
    Validate(ValidateArgs),

    /// Show what `up` would do, and why
    #[command(after_help = "\
Examples:
  labctl plan labs/study.yaml
  labctl plan labs/study.yaml -o json
  labctl plan labs/study.yaml --detailed-exitcode || echo pending")]
    Plan(PlanArgs),

    /// Bring a lab up, or change the one that is up into what its file says
    #[command(after_help = "\
Examples:
  labctl up labs/study.yaml
  labctl up labs/study.yaml --check
  labctl up labs/study.yaml --name mine     a second lab from the same file

Run it again after editing the file: only what differs is changed. Run it again after
breaking something: it is repaired. Where a step fails, what this run did is undone.")]
    Up(UpArgs),

    /// Take a lab down, leaving nothing
    #[command(after_help = "\
Examples:
  labctl down
  labctl down --lab mine
  labctl down --all

Needs no lab file: everything a lab made carries its name.")]
    Down(DownArgs),

    /// Show nodes and pods of a lab that is up
    #[command(after_help = "\
Examples:
  labctl status
  labctl status --lab study -o json")]
    Status(ListArgs),

    /// Show everything labctl knows about a lab, a node or a pod
    #[command(after_help = "\
Examples:
  labctl inspect
  labctl inspect k8s-w1
  labctl inspect curl-pod -o json")]
    Inspect(InspectArgs),

    /// Say what this host lacks for labs, why it matters, and the command that mends it
    #[command(after_help = "\
Examples:
  sudo labctl doctor
  sudo labctl doctor -o json")]
    Doctor(DoctorArgs),

    /// Run the checks of a lab that is up
    #[command(after_help = "\
Examples:
  labctl check
  labctl check masquerade
  labctl check --only pod-to-router-takes-the-node-address
  labctl check --twins        each check must pass, and fail under its twin
  labctl check --list

A failed check says what was expected, what was seen, and the first hop that is wrong.")]
    Check(CheckArgs),

    /// Run a command on a node or in a pod
    #[command(after_help = "\
Examples:
  labctl exec curl-pod -- curl -s 192.168.10.200
  labctl exec k8s-ctr -- cilium-dbg bpf nat list
  labctl exec webpod-5577b5fd6c-x7k2p -- ip addr

Ends with the command's own exit code.")]
    Exec(ExecArgs),

    /// Open a shell on a node or in a pod
    #[command(after_help = "\
Examples:
  labctl shell router
  labctl shell curl-pod --lab mine")]
    Shell(ShellArgs),

    /// Open a terminal on a machine, or run a command there, over SSH
    #[command(after_help = "\
Examples:
  labctl ssh k8s-w1
  labctl ssh k8s-w1 -- journalctl -b

For labs on machines. Window size and signals are passed on; ends with the command's own exit
code. `labctl ssh-config` makes the machines known to ssh, scp and rsync as well.")]
    Ssh(SshArgs),

    /// Print what OpenSSH needs to reach a lab's machines
    #[command(after_help = "\
Examples:
  labctl ssh-config > lab.conf && ssh -F lab.conf k8s-w1
  labctl ssh-config >> ~/.ssh/config")]
    SshConfig(LabArgs),

    /// Copy files to or from a machine
    #[command(after_help = "\
Examples:
  labctl cp trace.sh k8s-w1:/root/
  labctl cp k8s-w1:/tmp/eth1.pcap .

One side is NODE:PATH. Folders are copied with all that is in them.")]
    Cp(CpArgs),

    /// Make, list and remove what virtual machines are made from
    #[command(subcommand)]
    #[command(after_help = "\
Examples:
  labctl image build debian-12
  labctl image import noble noble.qcow2 --checksum sha256:0f1e…
  labctl image list")]
    Image(ImageCommand),

    /// Show the flows that the lab's nodes saw, in Hubble's words
    #[command(after_help = "\
Examples:
  labctl observe --pod curl-pod
  labctl observe -f --protocol tcp --not --from-ip 10.0.2.15
  labctl observe --verdict DROPPED -o json
  labctl observe --from-file flows.json --port 53

As `hubble observe` on a node: of one flag any value fits, of different flags all must.")]
    Observe(Box<ObserveArgs>),

    /// Show what a node's services, or a pod, have written
    #[command(after_help = "\
Examples:
  labctl logs k8s-ctr
  labctl logs curl-pod")]
    Logs(LogsArgs),

    /// Start the pods of a Deployment or DaemonSet anew
    #[command(subcommand)]
    #[command(after_help = "\
Examples:
  labctl rollout restart ds node-local-dns -n kube-system
  labctl rollout restart deploy/coredns -n kube-system
  labctl rollout restart pod curl-pod

DNS servers hand their sockets over to the next one, so that no query is lost.")]
    Rollout(RolloutCommand),

    /// Write the completion script of a shell
    #[command(after_help = "\
Examples:
  labctl completions bash > /etc/bash_completion.d/labctl
  labctl completions zsh > \"${fpath[1]}/_labctl\"")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Write man pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder; made when it isn't there
        folder: PathBuf,
    },

    /// The node agent; started by `up` on each cluster node
    #[command(hide = true)]
    Node(NodeArgs),

    /// The DNS server: cluster DNS, or the cache of a node; started by the node agent
    #[command(hide = true)]
    Dns(DnsArgs),

    /// The built-in workloads; started by `up` and by the node agent
    #[command(hide = true, subcommand)]
    App(App),

    /// Probes that no stock tool answers exactly; run by `check` inside nodes and pods
    #[command(hide = true, subcommand)]
    Probe(Probe),
}

/// Which of the labs that are up.
#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    /// The lab; by default the only one that is up
    #[arg(long, env = "LABCTL_LAB")]
    pub(crate) lab: Option<String>,
}

/// How listings are written.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct FormatArgs {
    /// Format
    #[arg(short, long, value_enum, default_value_t, env = "LABCTL_OUTPUT")]
    pub(crate) output: Format,
}

/// Commands that list something of one lab.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) lab: LabArgs,

    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A node or a pod; the whole lab when absent
    pub(crate) target: Option<String>,

    #[command(flatten)]
    pub(crate) lab: LabArgs,

    /// Format
    #[arg(short, long, value_enum, default_value = "yaml", env = "LABCTL_OUTPUT")]
    pub(crate) output: Format,
}

/// `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Suites to run; all of the lab's when absent
    pub(crate) suites: Vec<String>,

    #[command(flatten)]
    pub(crate) lab: LabArgs,

    /// Run only the checks of that name
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,

    /// Run each check twice: as it is, when it must pass, and under its twin, when it must fail
    #[arg(long)]
    pub(crate) twins: bool,

    /// List the checks instead of running them
    #[arg(long, conflicts_with = "twins")]
    pub(crate) list: bool,

    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// `exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// A node or a pod
    pub(crate) target: String,

    #[command(flatten)]
    pub(crate) lab: LabArgs,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// `shell`.
#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// A node or a pod
    pub(crate) target: String,

    #[command(flatten)]
    pub(crate) lab: LabArgs,
}

/// `observe`.
#[derive(Debug, Args)]
pub(crate) struct ObserveArgs {
    #[command(flatten)]
    pub(crate) lab: LabArgs,

    #[command(flatten)]
    pub(crate) observe: lab_node::hubble::ObserveArguments,
}

/// The command line, with what `observe --not` is about marked.
pub(crate) fn typed() -> Vec<std::ffi::OsString> {
    let words: Vec<_> = std::env::args_os().collect();
    let flag = |word: &std::ffi::OsString| word.to_string_lossy().starts_with('-');
    let command = words.iter().skip(1).find(|word| !flag(word));
    if command.is_some_and(|command| command == "observe") {
        return lab_node::hubble::mark_negated(words);
    }
    words
}

/// `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// A node or a pod
    pub(crate) target: String,

    #[command(flatten)]
    pub(crate) lab: LabArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_that_users_see_has_examples() {
        for command in Cli::command()
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("Examples:"),
                "{} has no examples",
                command.get_name()
            );
        }
    }
}
