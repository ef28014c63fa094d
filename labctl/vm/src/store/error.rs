//! Why the store could not do what was asked.

use std::path::PathBuf;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// What was being done: `create`, `read`, `rename`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// No folder for data: neither `XDG_DATA_HOME` nor `HOME` is set.
    #[error("find a folder for images: neither XDG_DATA_HOME nor HOME is set")]
    NoHome,
    /// No image has that name or digest.
    #[error("find image {0}: none of that name here; labctl image list shows those there are")]
    NoSuchImage(String),
    /// An image has no such kernel.
    #[error("find kernel {kernel} in image {image}: it has {}", there.join(", "))]
    NoSuchKernel {
        /// What was asked for.
        kernel: String,
        /// The image.
        image: String,
        /// The kernels there are.
        there: Vec<String>,
    },
    /// Disks or templates are based on it.
    #[error("remove image {image}: {} based on it: {}", if users.len() == 1 { "this is" } else { "these are" }, list(users))]
    InUse {
        /// The image.
        image: String,
        /// What is based on it.
        users: Vec<PathBuf>,
    },
    /// A file of the store is not what it should be.
    #[error("read {path}: {reason}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
