//! Images from Debian's packages, without root and without mounting anything.

use std::sync::atomic::AtomicBool;

use crate::recipe::Recipe;
use crate::store::{Image, Store, StoreError};

/// What goes into every image, by its path in it.
pub(crate) const IMAGE_FILES: &[(&str, &str)] = &[];

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A program the build needs is not installed.
    #[error("run {program}: {source}; it is in Debian's package {package}")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{what}: {program} ended with {status}: {said}")]
    Program {
        /// What it was run for.
        what: String,
        /// The program.
        program: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it wrote to its standard error.
        said: String,
    },
    /// The caller asked to stop.
    #[error("build: interrupted")]
    Interrupted,
}

/// What a build is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process builds the same image; its end is waited for.
    Waiting,
    /// A step began: `kernel 6.12`, `packages`, `disk`.
    Step(String),
}

/// Whether an image had to be built.
#[derive(Clone, Debug)]
pub enum Built {
    /// It was there.
    Already(Image),
    /// It was made now.
    New(Image),
}

impl Built {
    /// The image.
    #[must_use]
    pub fn into_image(self) -> Image {
        match self {
            Self::Already(image) | Self::New(image) => image,
        }
    }
}

/// How to build.
#[derive(Debug, Default, Clone, Copy)]
pub struct Options {
    /// Build anew though the image is there (the archive has moved on).
    pub rebuild: bool,
}

impl Store {
    /// Builds the image of a recipe, or says that it is there. An interrupted or failed build
    /// leaves nothing.
    ///
    /// # Errors
    /// When a program fails or is missing, the store cannot be written, or `interrupt` is set.
    pub fn build(
        &self,
        recipe: &Recipe,
        options: Options,
        interrupt: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Built, BuildError> {
        let _ = (options, interrupt, progress);
        Err(StoreError::NoSuchImage(recipe.name.clone()).into())
    }
}
