//! Who may change a lab.
//!
//! The lock belongs to the open file, which children share until they exec: when
//! a run is killed, its half-born children keep the lock until they are in
//! their cgroup and executing. Whoever gets the lock therefore sees them all.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::error::ProviderError;
use crate::lab_folder::LabFolder;

/// How often a wait for the lock looks at the interrupt flag.
const GLANCE: Duration = Duration::from_millis(50);

/// The right to change one lab, for as long as it is not dropped.
#[derive(Debug)]
pub struct LabLock {
    pub(crate) folder: LabFolder,
    _file: File,
}

impl LabLock {
    /// Name of the lab.
    #[must_use]
    pub fn lab(&self) -> &str {
        self.folder.lab()
    }
}

impl Drop for LabLock {
    /// Of a lab that was not made, or is gone, the lock is the last trace.
    fn drop(&mut self) {
        if self.folder.is_bare() {
            // Nothing is lost when it stays: the next `up` or `down` takes it.
            let _ = self.folder.remove();
        }
    }
}

/// What to do when another process changes the lab.
pub enum Wait<'a> {
    /// Fail with [`ProviderError::Locked`].
    No,
    /// Wait until it is done, or until the flag is set.
    Until {
        /// Set by an interrupt.
        interrupt: &'a AtomicBool,
        /// Called once before waiting, with the other process, if that is known.
        waiting: &'a mut dyn FnMut(Option<i32>),
    },
}

impl LabLock {
    /// Takes the lock of the lab, which need not exist.
    ///
    /// # Errors
    /// [`ProviderError::Locked`], [`ProviderError::Interrupted`], or when the
    /// lab's folder cannot be made.
    pub(crate) fn take(folder: LabFolder, mut wait: Wait<'_>) -> Result<Self, ProviderError> {
        loop {
            let file = open(&folder)?;
            let file = acquire(file, &folder, &mut wait)?;
            // `down` removes the file while it holds the lock on it.
            if is_still_there(&file, &folder)? {
                write_pid(&file)
                    .map_err(|source| ProviderError::file("write", &folder.lock(), source))?;
                return Ok(Self {
                    folder,
                    _file: file,
                });
            }
        }
    }
}

/// Opens the lock file; the folder may vanish between the two, with another's `down`.
fn open(folder: &LabFolder) -> Result<File, ProviderError> {
    loop {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder.path())
            .map_err(|source| ProviderError::file("create", folder.path(), source))?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        match options.open(folder.lock()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => {
                return file.map_err(|source| ProviderError::file("open", &folder.lock(), source));
            }
        }
    }
}

fn acquire(file: File, folder: &LabFolder, wait: &mut Wait<'_>) -> Result<File, ProviderError> {
    let fault = |source| ProviderError::file("lock", &folder.lock(), source);
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::Error(source)) => return Err(fault(source)),
        Err(TryLockError::WouldBlock) => {}
    }
    let pid = read_pid(&file);
    let Wait::Until { interrupt, waiting } = wait else {
        return Err(ProviderError::Locked {
            lab: folder.lab().to_owned(),
            pid,
        });
    };
    waiting(pid);
    // flock(2) has no deadline. The thread that waits in it may outlive an
    // interrupted wait; it ends with the process, or as soon as it has the lock.
    let (sender, locked) = mpsc::channel();
    thread::spawn(move || sender.send(file.lock().map(|()| file)));
    loop {
        match locked.recv_timeout(GLANCE) {
            Ok(file) => return file.map_err(fault),
            Err(RecvTimeoutError::Timeout) if interrupt.load(Ordering::SeqCst) => {
                return Err(ProviderError::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(fault(io::Error::other(
                    "the thread that waited for it is gone",
                )));
            }
        }
    }
}

fn is_still_there(file: &File, folder: &LabFolder) -> Result<bool, ProviderError> {
    let fault = |source| ProviderError::file("examine", &folder.lock(), source);
    let held = file.metadata().map_err(fault)?;
    match fs::metadata(folder.lock()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => {
            let found = found.map_err(fault)?;
            Ok((held.dev(), held.ino()) == (found.dev(), found.ino()))
        }
    }
}

fn write_pid(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(mut file: &File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
