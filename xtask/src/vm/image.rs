//! The image of the matrix: one, with all its kernels, kept between runs.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, anyhow};
use lab_vm::build::{Options, Progress};
use lab_vm::recipe::Recipe;
use lab_vm::store::{Image, Store};

use super::KERNELS;
use crate::command::target_folder;

/// What the image is called in the store.
pub(super) const NAME: &str = "debian-12";

/// The data folder of matrix and benchmarks, as `XDG_DATA_HOME`: nothing of the user's is used.
pub(crate) fn data_home() -> PathBuf {
    target_folder().join("vm/data")
}

/// The images of that folder.
pub(crate) fn store() -> Result<Store> {
    let root = data_home().join("labctl/images");
    Store::at(&root).context("failed to open the images of the matrix")
}

/// The image, with all kernels of the matrix whichever are tested, so that there is one; built
/// if it is not there.
///
/// # Errors
/// Also when Debian's archive cannot be reached: the matrix is not passed by what was not run.
pub(crate) fn build(store: &Store) -> Result<Image> {
    let recipe = Recipe::debian_12()
        .with_kernels(KERNELS.split(','))
        .map_err(|kernel| anyhow!("there is no kernel `{kernel}` for {NAME}"))?;
    let mut tell = |progress: Progress| match progress {
        Progress::Waiting => eprintln!("vm: another process builds {NAME}; waiting"),
        Progress::Step(step) => eprintln!("vm: {NAME}: {step}"),
    };
    let never = AtomicBool::new(false);
    let built = store.build(&recipe, Options::default(), &never, &mut tell);
    let built = built.with_context(|| format!("failed to build {NAME} with kernels {KERNELS}"))?;
    Ok(built.into_image())
}
