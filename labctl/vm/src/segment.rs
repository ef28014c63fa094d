//! The switch of a lab's network segment: Ethernet frames over Unix datagrams.
//!
//! Each machine's `eth1` is a datagram socket `<name>.sock` in the segment's folder (0700), and
//! sends to `switch.sock` there. The switch learns which machine has which MAC address from what
//! they send. Datagrams are connectionless, so machines and switch come and go as they like.

use std::path::PathBuf;

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// The segment's folder, made (0700) if it is not there.
    pub folder: PathBuf,
    /// Where to write every frame, as pcap.
    pub capture: Option<PathBuf>,
}

/// Why a switch cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// Another switch serves this folder.
    #[error("serve segment {}: another switch does already", .0.display())]
    AlreadyServed(PathBuf),
    /// A file or socket operation failed.
    #[error("{what} {path}: {source}", path = path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Serves until SIGTERM or SIGINT. The process must be started with the folder's path as one of
/// its arguments (`labctl app segment FOLDER`), by which [`crate::machine::find`] knows it.
///
/// # Errors
/// [`SegmentError`].
pub fn run(options: &Options) -> Result<(), SegmentError> {
    let _ = options;
    Ok(())
}
