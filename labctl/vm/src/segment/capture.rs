//! Every frame of a segment, as pcap (draft-ietf-opsawg-pcap).

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{SegmentError, in_file};

#[derive(Debug)]
pub(super) struct Capture {
    path: PathBuf,
    writer: BufWriter<File>,
}

/// Nanoseconds, version 2.4, frames whole, Ethernet.
const HEADER: [u32; 6] = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 65536 + 18, 1];

impl Capture {
    pub(super) fn create(path: &Path) -> Result<Self, SegmentError> {
        let file = File::create(path).map_err(in_file("create", path))?;
        let mut capture = Self {
            path: path.to_owned(),
            writer: BufWriter::new(file),
        };
        capture.words(&HEADER)?;
        capture.flush()?;
        Ok(capture)
    }

    pub(super) fn write(&mut self, frame: &[u8]) -> Result<(), SegmentError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        // The format's seconds have 32 bits, good until 2106.
        let seconds = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        self.words(&[seconds, now.subsec_nanos(), length, length])?;
        self.writer
            .write_all(frame)
            .map_err(in_file("write", &self.path))
    }

    /// Called after each batch of frames, so that a reader sees whole ones soon.
    pub(super) fn flush(&mut self) -> Result<(), SegmentError> {
        self.writer.flush().map_err(in_file("write", &self.path))
    }

    fn words(&mut self, words: &[u32]) -> Result<(), SegmentError> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.writer
            .write_all(&bytes)
            .map_err(in_file("write", &self.path))
    }
}
