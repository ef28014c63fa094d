//! Which labs are up, and the provider of each.

use std::path::PathBuf;

use lab_model::lab::{Lab, ProviderKind};
use lab_providers::Provider;
use lab_providers::machines::{self, Machines};
use lab_providers::netns::{self, Netns};
use nix::unistd::geteuid;

use crate::args::{DatapathArgs, ProviderArgs};
use crate::exit::{Exit, Failure, OrExit};

const UP: &str = "`labctl up FILE` brings one up";

/// The provider for a lab that is to be brought up: what the command line says, or
/// the lab file. A lab that is up elsewhere has to go down first.
pub(crate) fn provider_for(
    lab: &Lab,
    asked: &ProviderArgs,
    datapath: DatapathArgs,
) -> Result<Provider, Failure> {
    let kind = asked.provider.unwrap_or(lab.provider);
    let there = all()?.into_iter().find(|(name, _)| *name == lab.name);
    if let Some((name, other)) = there.filter(|(_, other)| *other != kind) {
        let message = format!("lab {name} is up on {other}, and cannot be on {kind} as well");
        return Err(Failure::usage(message).help(format!(
            "`labctl down --lab {name}` first, or give this one another name with --name"
        )));
    }
    provider(kind, asked, datapath.datapath_object)
}

fn provider(
    kind: ProviderKind,
    asked: &ProviderArgs,
    datapath_object: Option<PathBuf>,
) -> Result<Provider, Failure> {
    let labctl = std::env::current_exe().map_err(|error| {
        Failure::new(
            Exit::LabFailed,
            format_args!("failed to find labctl itself: {error}"),
        )
    })?;
    if kind == ProviderKind::Netns {
        return namespaces(labctl, datapath_object);
    }
    if datapath_object.is_some() {
        let message = format!("--datapath-object works with provider netns, not with {kind}");
        return Err(Failure::usage(message));
    }
    let options = machines::Options {
        kind,
        labctl,
        image: asked.image.clone(),
        kernel: asked.kernel.clone(),
        cold: asked.cold,
        remark: |remark| eprintln!("{remark}"),
    };
    Machines::new(options)
        .map(Provider::Machines)
        .or_exit(Exit::HostLacks)
}

fn namespaces(labctl: PathBuf, datapath_object: Option<PathBuf>) -> Result<Provider, Failure> {
    if !geteuid().is_root() {
        return Err(Failure::new(Exit::HostLacks, "labs in namespaces need root")
            .help("run the same command with sudo, or choose --provider qemu; `labctl doctor` says what else is needed"));
    }
    let options = netns::Options {
        labctl,
        datapath_object,
    };
    Netns::new(options)
        .map(Provider::Netns)
        .or_exit(Exit::HostLacks)
}

/// All labs of this user, and root's in namespaces if this is root.
pub(crate) fn all() -> Result<Vec<(String, ProviderKind)>, Failure> {
    let mut labs = machines::labs_of_user().or_exit(Exit::LabFailed)?;
    if geteuid().is_root() {
        let netns = open(ProviderKind::Netns)?;
        let own = netns.labs().or_exit(Exit::LabFailed)?;
        labs.extend(own.into_iter().map(|lab| (lab, ProviderKind::Netns)));
    }
    labs.sort();
    Ok(labs)
}

/// The provider of labs that are up.
pub(crate) fn open(kind: ProviderKind) -> Result<Provider, Failure> {
    provider(kind, &ProviderArgs::default(), None)
}

/// The lab that a command is about: `asked`, or the only one that is up.
pub(crate) fn choose(asked: Option<&str>) -> Result<(Provider, String), Failure> {
    let labs = all()?;
    let names: Vec<_> = labs.iter().map(|(name, _)| name.as_str()).collect();
    let (name, kind) = match (asked, &labs[..]) {
        (Some(name), _) if names.contains(&name) => {
            let found = labs.iter().find(|(lab, _)| lab == name);
            found.cloned().unwrap_or_default()
        }
        (None, [lab]) => lab.clone(),
        (Some(name), []) => return Err(none(&format!("no lab {name} is up"))),
        (Some(name), _) => {
            return Err(Failure::usage(format_args!("no lab {name} is up"))
                .help(format!("labs that are up: {}", names.join(", "))));
        }
        (None, []) => return Err(none("no lab is up")),
        (None, _) => {
            return Err(
                Failure::usage(format_args!("several labs are up: {}", names.join(", ")))
                    .help("choose one with --lab NAME or LABCTL_LAB"),
            );
        }
    };
    Ok((open(kind)?, name))
}

fn none(message: &str) -> Failure {
    let help = if geteuid().is_root() {
        UP.to_owned()
    } else {
        format!("{UP}; labs in namespaces are seen with sudo")
    };
    Failure::usage(message).help(help)
}
