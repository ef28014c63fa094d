//! The identity port: lines to and from process 1 of a machine, through two FIFOs that QEMU
//! holds open (`-chardev pipe`), so that lines wait for whoever reads next.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use rustix::io::Errno;

use super::process::{Process, timespec};

/// How often a wait looks at the interrupt flag.
const LOOK: Duration = Duration::from_millis(100);

/// QEMU's names for the pair: it reads `.in` and writes `.out`.
pub(super) const TO_MACHINE: &str = "identity.in";
pub(super) const FROM_MACHINE: &str = "identity.out";

/// The host's end.
#[derive(Debug)]
pub(super) struct Port {
    to: File,
    from: File,
    /// What was read and is no whole line yet.
    partial: Vec<u8>,
}

/// What process 1 says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It was not told yet who it is.
    WhoAmI,
    /// sshd listens, in this boot.
    Ready { boot: String },
    /// It forgot who it is.
    Waiting,
    /// The answer to a question of that number.
    State { number: u32, boot: Option<String> },
    /// It failed.
    Error(String),
}

/// How a wait ended.
#[derive(Debug)]
pub(super) enum Heard {
    Said(Said),
    Died,
    Deadline,
    Interrupted,
}

/// Makes the FIFOs anew in a machine's folder.
pub(super) fn create(folder: &Path) -> io::Result<()> {
    for name in [TO_MACHINE, FROM_MACHINE] {
        let path = folder.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?,
        }
    }
    Ok(())
}

impl Port {
    /// Opens the port of a machine whose QEMU runs.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.custom_flags(nonblocking);
        let from = options.clone().read(true).open(folder.join(FROM_MACHINE))?;
        // ENXIO when QEMU does not have it open.
        let to = options.write(true).open(folder.join(TO_MACHINE))?;
        Ok(Self {
            to,
            from,
            partial: Vec::new(),
        })
    }

    /// Writes a line; it waits in the FIFO (64 KiB) until the machine reads.
    pub(super) fn say(&mut self, line: &str) -> io::Result<()> {
        self.to.write_all(line.as_bytes())
    }

    /// Waits for what the machine says next.
    pub(super) fn hear(
        &mut self,
        process: &Process,
        deadline: Instant,
        interrupt: &AtomicBool,
    ) -> io::Result<Heard> {
        loop {
            if let Some(said) = self.line()?.as_deref().and_then(parse) {
                return Ok(Heard::Said(said));
            }
            if interrupt.load(Ordering::SeqCst) {
                return Ok(Heard::Interrupted);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Heard::Deadline);
            }
            let process = process.as_fd();
            let mut watched = [
                PollFd::new(&self.from, PollFlags::IN),
                PollFd::new(&process, PollFlags::IN),
            ];
            match poll(&mut watched, Some(&timespec(left.min(LOOK)))) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            // What it said before its end was read above in an earlier round, or is here now.
            if !watched[1].revents().is_empty() && !watched[0].revents().contains(PollFlags::IN) {
                return Ok(Heard::Died);
            }
        }
    }

    /// The next whole line, if one is there.
    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim().to_owned()));
            }
            let mut buffer = [0; 4096];
            match self.from.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => self.partial.extend(buffer.iter().take(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn parse(line: &str) -> Option<Said> {
    let mut words = line.split(' ');
    let said = match words.next()? {
        "identity?" => Said::WhoAmI,
        "ready" => Said::Ready {
            boot: words.next()?.to_owned(),
        },
        "waiting" => Said::Waiting,
        "state" => {
            let number = words.next()?.parse().ok()?;
            Said::State {
                number,
                boot: words.next().map(str::to_owned),
            }
        }
        "error" => Said::Error(line.strip_prefix("error ")?.to_owned()),
        _ => return None,
    };
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::{Said, parse};

    #[test]
    fn what_process_1_says_is_told_apart() {
        assert_eq!(parse("identity?"), Some(Said::WhoAmI));
        assert_eq!(
            parse("ready b-1"),
            Some(Said::Ready {
                boot: "b-1".to_owned()
            })
        );
        assert_eq!(
            parse("state 7"),
            Some(Said::State {
                number: 7,
                boot: None
            })
        );
        let ready = Said::State {
            number: 7,
            boot: Some("b-1".to_owned()),
        };
        assert_eq!(parse("state 7 b-1"), Some(ready));
        assert_eq!(
            parse("error no disk"),
            Some(Said::Error("no disk".to_owned()))
        );
        assert_eq!(parse("reboot"), None);
        assert_eq!(parse(""), None);
    }
}
