//! What a lab file becomes: `validate`, `plan`, `up` and `down`.

use std::path::PathBuf;

use clap::Args;

use super::{FormatArgs, LabArgs, ProviderArgs};

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
