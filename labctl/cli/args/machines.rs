//! The command line of labs on machines: where they are made, how they are reached,
//! what runs on them.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use lab_model::lab::ProviderKind;

use super::{DatapathArgs, FormatArgs, LabArgs};

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
    /// Have this node's agent start the workloads of pods anew
    Restart {
        /// NAMESPACE/NAME of each
        #[arg(required = true)]
        pods: Vec<String>,
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
