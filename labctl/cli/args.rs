//! The command line, as typed: every command, its flags and its examples.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use lab_model::lab::ProviderKind;

use crate::app::App;
use crate::output::Format;
use crate::probe::Probe;

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

    /// Show what a node's services, or a pod, have written
    #[command(after_help = "\
Examples:
  labctl logs k8s-ctr
  labctl logs curl-pod")]
    Logs(LogsArgs),

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

    /// The built-in workloads; started by `up` and by the node agent
    #[command(hide = true, subcommand)]
    App(App),

    /// Probes that no stock tool answers exactly; run by `check` inside nodes and pods
    #[command(hide = true, subcommand)]
    Probe(Probe),
}

/// Which lab file, and under which name.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The lab file
    #[arg(env = "LABCTL_FILE")]
    pub(crate) file: PathBuf,

    /// Name of the lab, instead of the one in the file
    #[arg(long, env = "LABCTL_NAME")]
    pub(crate) name: Option<String>,
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

/// Where the lab is made, and from what.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ProviderArgs {
    /// Where the lab is made, instead of what its file says: in namespaces of this kernel, as
    /// virtual machines on QEMU or by Vagrant, or on hosts that are there already
    #[arg(long, env = "LABCTL_PROVIDER", value_parser = provider_kind())]
    pub(crate) provider: Option<ProviderKind>,

    /// Image of the virtual machines [default: debian-12]
    #[arg(long, value_name = "IMAGE", env = "LABCTL_IMAGE")]
    pub(crate) image: Option<String>,

    /// Kernel of the image, by version [default: its first]
    #[arg(long, value_name = "VERSION", env = "LABCTL_KERNEL")]
    pub(crate) kernel: Option<String>,

    /// Boot virtual machines even where they could go on from a template
    #[arg(long, env = "LABCTL_COLD")]
    pub(crate) cold: bool,
}

fn provider_kind() -> impl TypedValueParser<Value = ProviderKind> {
    PossibleValuesParser::new(ProviderKind::ALL.map(ProviderKind::as_str)).map(|word| {
        let all = ProviderKind::ALL.into_iter();
        { all }
            .find(|kind| kind.as_str() == word)
            .unwrap_or_default()
    })
}

/// The eBPF object that nodes load.
#[derive(Debug, Args)]
pub(crate) struct DatapathArgs {
    /// Load this eBPF object on the nodes instead of the built-in one
    #[arg(long, value_name = "FILE", env = "LABCTL_DATAPATH_OBJECT")]
    pub(crate) datapath_object: Option<PathBuf>,
}

/// `validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Lab files
    #[arg(required = true, env = "LABCTL_FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) lab: FileArgs,

    /// End with 10 when there is something to do
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,

    #[command(flatten)]
    pub(crate) provider: ProviderArgs,

    #[command(flatten)]
    pub(crate) datapath: DatapathArgs,

    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// `up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) lab: FileArgs,

    /// Run the lab's checks when it is up
    #[arg(long)]
    pub(crate) check: bool,

    #[command(flatten)]
    pub(crate) provider: ProviderArgs,

    #[command(flatten)]
    pub(crate) datapath: DatapathArgs,
}

/// `down`.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    pub(crate) lab: LabArgs,

    /// Every lab on this host
    #[arg(long, conflicts_with = "lab")]
    pub(crate) all: bool,
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

/// `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// A node or a pod
    pub(crate) target: String,

    #[command(flatten)]
    pub(crate) lab: LabArgs,
}

/// `ssh`.
#[derive(Debug, Args)]
pub(crate) struct SshArgs {
    /// A node
    pub(crate) node: String,

    #[command(flatten)]
    pub(crate) lab: LabArgs,

    /// The command and its arguments; a shell when absent
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// `cp`.
#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// A path, or NODE:PATH
    pub(crate) from: String,

    /// A path, or NODE:PATH
    pub(crate) to: String,

    #[command(flatten)]
    pub(crate) lab: LabArgs,
}

/// `image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image from Debian's packages; needs no root
    Build(ImageBuildArgs),
    /// Take a cloud image (qcow2) in
    Import(ImageImportArgs),
    /// List images
    List(FormatArgs),
    /// Remove an image that nothing is based on
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or digest
        image: String,
    },
    /// Remove the templates that no machine is based on
    Prune,
}

/// `image build`.
#[derive(Debug, Args)]
pub(crate) struct ImageBuildArgs {
    /// Name of the recipe: debian-12
    pub(crate) name: String,

    /// Kernels to put in, the first being the default: 6.1, 6.12, sid
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    pub(crate) kernel: Vec<String>,

    /// Further packages
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    pub(crate) include: Vec<String>,

    /// Build anew what is there already: the archive has moved on
    #[arg(long)]
    pub(crate) rebuild: bool,
}

/// `image import`.
#[derive(Debug, Args)]
pub(crate) struct ImageImportArgs {
    /// Name that it is to have
    pub(crate) name: String,

    /// A path, or an https:, http: or file: URL
    pub(crate) from: String,

    /// What the file must hash to: sha256:… or sha512:…
    #[arg(long, required = true)]
    pub(crate) checksum: String,
}

/// `node`: the agent, unless something else is asked.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    pub(crate) command: Option<NodeCommand>,

    #[command(flatten)]
    pub(crate) agent: AgentArgs,
}

/// The node agent.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The agent's folder
    #[arg(long, default_value = "/run/labctl")]
    pub(crate) dir: PathBuf,

    /// The node's bpffs
    #[arg(long, default_value = "/sys/fs/bpf")]
    pub(crate) bpffs: PathBuf,

    #[command(flatten)]
    pub(crate) datapath: DatapathArgs,

    /// File descriptor that one byte is written to when the socket answers
    #[arg(long, value_name = "FD")]
    pub(crate) ready_fd: Option<i32>,
}

/// What labctl does on a machine that is a node.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Answer requests about this machine: JSON, one a line
    Machine,
    /// Bring back what the machine had before it was rebooted
    Boot,
    /// Start a server of this node, and end when it is ready
    Start {
        /// Which
        server: NodeServer,
    },
    /// Remove everything of labctl from this machine
    Release {
        /// Whosever lab it carries
        #[arg(long, required = true)]
        force: bool,
    },
    /// Run a command on this machine, or in one of its pods
    Run {
        /// The pod
        #[arg(long, value_name = "NAMESPACE/NAME")]
        pod: Option<String>,

        /// End the command with standard input, on which `signal TERM` and the like are
        /// signals to it
        #[arg(long)]
        leash: bool,

        /// The command and its arguments
        #[arg(required = true, last = true, value_name = "COMMAND")]
        command: Vec<std::ffi::OsString>,
    },
}

/// A server of a node.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NodeServer {
    /// The node agent
    Agent,
    /// What the lab file has the node serve
    Serve,
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
