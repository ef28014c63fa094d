//! What a machine is to be.

use std::path::{Path, PathBuf};

use super::Identity;
use crate::store::Image;
use crate::template::Template;

/// What a machine is made from.
#[derive(Clone, Debug)]
pub enum Base {
    /// An image, booted by its kernel of that name or release (default: its first).
    Image(Image, Option<String>),
    /// A template: it goes on from there.
    Template(Template),
}

impl Base {
    /// The image a disk is based on, at first or second hand.
    #[must_use]
    pub fn image(&self) -> &Image {
        match self {
            Self::Image(image, _) => image,
            Self::Template(template) => &template.image,
        }
    }

    pub(super) fn kernel(&self) -> Option<&str> {
        match self {
            Self::Image(_, kernel) => kernel.as_deref(),
            Self::Template(template) => Some(&template.document.kernel),
        }
    }

    /// The disk to base an overlay on, and its format.
    pub(super) fn disk(&self) -> (PathBuf, &'static str) {
        match self {
            Self::Image(image, _) => image.disk(),
            Self::Template(template) => (template.disk(), "qcow2"),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Image(image, _) => &image.folder,
            Self::Template(template) => &template.folder,
        }
    }

    /// Memory in MiB and processors, where they are not free to choose.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        match self {
            Self::Image(..) => None,
            Self::Template(template) => {
                Some((template.document.memory_mib, template.document.cpus))
            }
        }
    }
}

/// A machine to start.
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// The lab, for people and for [`find`]: part of the process's arguments.
    pub lab: String,
    /// The machine's name, unique in its lab.
    pub name: String,
    /// Its own folder: absolute; made (0700) if it is not there.
    pub folder: PathBuf,
    /// What it is made from. A disk that is in the folder already is kept and booted.
    pub base: Base,
    /// Memory in MiB; as the template's if there is one.
    pub memory_mib: u32,
    /// Virtual processors; as the template's if there is one.
    pub cpus: u32,
    /// The folder of the segment `eth1` is on (see [`crate::segment`]).
    pub segment: Option<PathBuf>,
    /// Who it is to be.
    pub identity: Identity,
}
