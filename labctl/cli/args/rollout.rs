//! The command line of `rollout`, which is kubectl's.

use clap::{Args, Subcommand, ValueEnum};

use super::LabArgs;

/// `rollout`.
#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Start pods anew: KIND NAME, or KIND/NAME
    Restart(RestartArgs),
}

/// `rollout restart`.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// KIND NAME, or KIND/NAME; kinds are deployment, daemonset and pod
    #[arg(required = true, num_args = 1..=2, value_name = "KIND NAME")]
    pub(crate) of: Vec<String>,

    /// Kubernetes namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,

    #[command(flatten)]
    pub(crate) lab: LabArgs,
}

/// What pods are restarted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workloads {
    /// The pods of a Deployment
    #[value(aliases = ["deploy", "deployments", "deployment.apps"])]
    Deployment,
    /// The pods of a DaemonSet
    #[value(aliases = ["ds", "daemonsets", "daemonset.apps"])]
    Daemonset,
    /// One pod
    #[value(aliases = ["po", "pods"])]
    Pod,
}
