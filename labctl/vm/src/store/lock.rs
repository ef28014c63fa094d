//! Locks between processes: flock(2) on a file, released when its holder ends.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StoreError;

/// How often a wait for a lock looks at the interrupt flag.
const LOOK: Duration = Duration::from_millis(100);

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: File,
}

/// Takes the lock of that file, calling `waiting` once if somebody else has it. None when
/// `interrupt` is set while waiting.
pub(crate) fn acquire(
    path: &Path,
    interrupt: &AtomicBool,
    waiting: &mut dyn FnMut(),
) -> Result<Option<Lock>, StoreError> {
    let fault = |source| StoreError::File {
        what: "lock",
        path: path.to_owned(),
        source,
    };
    let file = open(path).map_err(fault)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(Some(Lock { _held: file })),
        Err(Errno::WOULDBLOCK) => waiting(),
        Err(errno) => return Err(fault(errno.into())),
    }
    // flock has no timeout, so a thread waits for it; when the wait is interrupted the thread
    // ends with the process, or as soon as it has the lock.
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let taken = flock(&file, FlockOperation::LockExclusive).map(|()| file);
        let _nobody_waits = sender.send(taken);
    });
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(Ok(held)) => return Ok(Some(Lock { _held: held })),
            Ok(Err(errno)) => return Err(fault(errno.into())),
            Err(RecvTimeoutError::Timeout) if interrupt.load(Ordering::SeqCst) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(fault(Errno::INTR.into())),
        }
    }
}

/// Takes the lock of that file if nobody has it.
pub(crate) fn try_acquire(path: &Path) -> Result<Option<Lock>, StoreError> {
    let fault = |source| StoreError::File {
        what: "lock",
        path: path.to_owned(),
        source,
    };
    let file = open(path).map_err(fault)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock { _held: file })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(fault(errno.into())),
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}
