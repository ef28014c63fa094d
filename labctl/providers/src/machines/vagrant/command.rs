//! Runs of the `vagrant` command, in a lab's own folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::folder::VagrantFolder;
use crate::error::ProviderError;

/// How soon an interrupt is heard.
const HEARD: Duration = Duration::from_millis(100);

/// How long an interrupted vagrant may take to leave its machines whole, and then to end.
/// It finishes the step it is at after the first SIGINT, and stops at once after the second.
const PATIENCE: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(60)),
    (Signal::SIGINT, Duration::from_secs(10)),
    (Signal::SIGKILL, Duration::MAX),
];

/// Lines of its output that an error shows. The log itself goes with the lab, when what was
/// begun is taken back.
const TAIL: usize = 25;

/// What can go wrong with Vagrant; the text follows "failed to".
#[derive(Debug, thiserror::Error)]
pub enum VagrantError {
    /// It is not there.
    #[error(
        "run vagrant: it is not installed; `apt install vagrant vagrant-libvirt`, \
         or see https://developer.hashicorp.com/vagrant/install"
    )]
    Missing,
    /// It did not start, or its end could not be waited for.
    #[error("run vagrant: {0}")]
    Start(io::Error),
    /// It failed.
    #[error("{command}: it ended with {status}; the end of its output:\n{tail}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        tail: String,
    },
    /// A new machine showed no host key.
    #[error("read the SSH host key of {node}: its file has no Ed25519 key, but {said:?}")]
    HostKey {
        /// The machine.
        node: String,
        /// What there was instead.
        said: String,
    },
}

/// Vagrant, for one lab.
#[derive(Debug)]
pub(super) struct Vagrant<'a> {
    lab: &'a str,
    folder: &'a VagrantFolder,
}

impl<'a> Vagrant<'a> {
    pub(super) const fn new(lab: &'a str, folder: &'a VagrantFolder) -> Self {
        Self { lab, folder }
    }

    /// Has it make machines, and returns when they take SSH connections.
    ///
    /// # Errors
    /// With the end of its output; [`ProviderError::Interrupted`] when `interrupt` was set
    /// before it ended, which may leave machines.
    pub(super) fn up(&self, nodes: &[&str], interrupt: &AtomicBool) -> Result<(), ProviderError> {
        self.logged(&["up"], nodes, interrupt)
    }

    /// Has it remove machines.
    ///
    /// # Errors
    /// With the end of its output.
    pub(super) fn destroy(&self, nodes: &[&str]) -> Result<(), ProviderError> {
        self.logged(&["destroy", "--force"], nodes, &AtomicBool::new(false))
    }

    /// How all machines that there are can be reached, as an ssh_config.
    ///
    /// # Errors
    /// With what it said.
    pub(super) fn ssh_config(&self) -> Result<String, ProviderError> {
        let machines = self.folder.machines()?;
        let mut words = vec!["ssh-config"];
        words.extend(machines.iter().map(String::as_str));
        self.output(&words)
    }

    /// The output of a shell's command line on a machine, through Vagrant's own connection.
    ///
    /// # Errors
    /// With what it said.
    pub(super) fn on_machine(&self, node: &str, line: &str) -> Result<String, ProviderError> {
        self.output(&["ssh", node, "--no-tty", "--command", line])
    }

    fn logged(
        &self,
        words: &[&str],
        nodes: &[&str],
        interrupt: &AtomicBool,
    ) -> Result<(), ProviderError> {
        let path = self.folder.log();
        let fault = |source| ProviderError::file("write", &path, source);
        let open = |path| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)
        };
        let log: File = open(&path).map_err(fault)?;
        let words: Vec<_> = words.iter().chain(nodes).copied().collect();
        let mut command = self.command(&words);
        command
            .stdout(log.try_clone().map_err(fault)?)
            .stderr(log)
            // The terminal's ^C is not meant for it: what is begun is taken back in order.
            .process_group(0);
        let child = command.spawn().map_err(at_start)?;
        let status = ended(child, interrupt)?;
        if interrupt.load(Ordering::SeqCst) {
            return Err(ProviderError::Interrupted);
        }
        let said = fs::read(&path).map_err(fault)?;
        check(&words, status, &said)
    }

    fn output(&self, words: &[&str]) -> Result<String, ProviderError> {
        let output = self.command(words).output().map_err(at_start)?;
        check(words, output.status, &output.stderr)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("vagrant");
        command
            .args(words)
            .stdin(Stdio::null())
            .env("VAGRANT_CWD", self.folder.path())
            .env("VAGRANT_DOTFILE_PATH", self.folder.state())
            .env("VAGRANT_NO_COLOR", "1")
            // No question to its maker whether there is a newer one.
            .env("VAGRANT_CHECKPOINT_DISABLE", "1")
            .env("LAB", self.folder.lab_file())
            .env("LABCTL_NAME", self.lab)
            // Names of another Vagrantfile would be looked for here.
            .env_remove("VAGRANT_VAGRANTFILE");
        command
    }
}

fn at_start(error: io::Error) -> VagrantError {
    match error.kind() {
        io::ErrorKind::NotFound => VagrantError::Missing,
        _ => VagrantError::Start(error),
    }
}

fn check(words: &[&str], status: ExitStatus, said: &[u8]) -> Result<(), ProviderError> {
    if status.success() {
        return Ok(());
    }
    let command = format!("vagrant {}", words.join(" "));
    let tail = tail(&String::from_utf8_lossy(said));
    Err(VagrantError::Failed {
        command,
        status,
        tail,
    }
    .into())
}

/// The last lines, those left out that only show progress.
fn tail(said: &str) -> String {
    let lines = said
        .lines()
        .map(|line| line.rsplit('\r').next().unwrap_or(line));
    let lines: Vec<_> = lines.filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// Waits for the end of a process that leads a group; an interrupt is passed on to the group.
fn ended(mut child: Child, interrupt: &AtomicBool) -> Result<ExitStatus, VagrantError> {
    let group = i32::try_from(child.id())
        .map(Pid::from_raw)
        .map_err(io::Error::other);
    let group = group.map_err(VagrantError::Start)?;
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || tell.send(child.wait()));
        loop {
            if let Some(status) = within(&told, HEARD) {
                return status.map_err(VagrantError::Start);
            }
            if interrupt.load(Ordering::SeqCst) {
                return stop(group, &told).map_err(VagrantError::Start);
            }
        }
    })
}

fn stop(group: Pid, told: &Receiver<io::Result<ExitStatus>>) -> io::Result<ExitStatus> {
    for (signal, patience) in PATIENCE {
        // None of the group is left: its end is about to be told.
        let _ = killpg(group, signal);
        if let Some(status) = within(told, patience) {
            return status;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// What is told within that time; none when nothing is.
fn within<T>(told: &Receiver<io::Result<T>>, time: Duration) -> Option<io::Result<T>> {
    let told = match Instant::now().checked_add(time) {
        Some(_) => told.recv_timeout(time),
        None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match told {
        Ok(told) => Some(told),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Err(io::ErrorKind::BrokenPipe.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_end_of_its_output_is_without_progress() {
        let said = "==> k8s-w1: Booting\n\n    k8s-w1: 10%\r    k8s-w1: 100%\nTimed out\n";
        assert_eq!(
            tail(said),
            "==> k8s-w1: Booting\n    k8s-w1: 100%\nTimed out"
        );
        let many: String = (0..40).map(|line| format!("{line}\n")).collect();
        assert_eq!(tail(&many).lines().count(), TAIL);
        assert!(tail(&many).ends_with("39"));
    }

    #[test]
    fn an_interrupt_reaches_the_whole_group() {
        // What a shell starts in the background ignores SIGINT, tests too, and hands that on.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", "sh", "-c"]);
        // The shell goes on when its child ends, as Vagrant's launcher does with Ruby. That
        // both are there, and the trap is set, is what the child's line says.
        command
            .arg("trap : INT; sh -c 'echo; exec sleep 600'; exit 7")
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().expect("a shell");
        let mut line = [0];
        let mut stdout = child.stdout.take().expect("piped");
        stdout.read_exact(&mut line).expect("a line");
        let status = ended(child, &AtomicBool::new(true)).expect("its end");
        assert_eq!(status.code(), Some(7));
    }

    #[test]
    fn its_end_is_told_without_an_interrupt() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]).process_group(0);
        let child = command.spawn().expect("a shell");
        let status = ended(child, &AtomicBool::new(false)).expect("its end");
        assert_eq!(status.code(), Some(3));
    }
}
