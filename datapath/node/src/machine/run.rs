//! `labctl node run`: commands on this machine, or in one of its pods.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, killpg};

use super::api::Owner;
use super::places::Kind;
use super::{Machine, MachineError};
use crate::process::{self, ChildSetup, PidFd, SpawnError, Spawned};

/// What is to be found in `PATH` everywhere.
const SYSTEM: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a process on a node finds in its environment.
pub(super) fn describe_node(command: &mut Command, owner: &Owner) {
    command
        .env("PATH", format!("{}/bin:{SYSTEM}", super::HOME))
        .env("HOSTNAME", &owner.node)
        .env("LABCTL_LAB", &owner.lab)
        .env("LABCTL_NODE", &owner.node)
        .env("LABCTL_NODE_DIR", super::places::RUN);
}

impl Machine {
    /// What makes `command` run on the node, or in the pod `namespace/name`: in
    /// its cgroup, its namespaces, and its environment.
    ///
    /// # Errors
    /// [`MachineError::NoPod`] when there is nothing to enter.
    pub fn enter(
        &self,
        command: &mut Command,
        pod: Option<&str>,
    ) -> Result<ChildSetup, MachineError> {
        let Some(pod) = pod else {
            describe_node(command, &self.claimed.owner);
            let cgroup = self.places.cgroup(Kind::Exec);
            cgroup.create()?;
            return Ok(ChildSetup::new().cgroup(&cgroup)?);
        };
        let missing = || MachineError::NoPod {
            pod: pod.to_owned(),
        };
        let (namespace, name) = pod.split_once('/').ok_or_else(missing)?;
        command
            .env("PATH", SYSTEM)
            .env("HOSTNAME", name)
            .env("LABCTL_POD", pod);
        let folder = format!("{namespace}_{name}");
        let cgroup = self.places.cgroup(Kind::Pods).child(folder);
        let pids = cgroup.pids()?;
        let process = pids.first().and_then(|pid| PidFd::open(*pid).ok());
        let kinds = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
        let setup = ChildSetup::new().cgroup(&cgroup)?;
        Ok(setup.enter(process.ok_or_else(missing)?.into(), kinds))
    }
}

/// A command that ends with the connection it was started over. Without a
/// terminal, sshd sends no signal when a connection breaks: what it started would
/// run on for ever.
#[derive(Debug)]
pub struct Leashed(Spawned);

impl Leashed {
    /// Starts `command` without standard input, in a process group of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(mut command: Command, setup: ChildSetup) -> Result<Self, SpawnError> {
        command.stdin(Stdio::null());
        process::spawn(command, setup.new_session()).map(Self)
    }

    /// Waits for the end of the command, and returns its exit code as shells do,
    /// with 128 and the number for a signal. Meanwhile lines of standard input
    /// such as `signal TERM` are signals to it, and the end of that kills its
    /// process group.
    ///
    /// # Errors
    /// When nothing can be waited for.
    pub fn hold(mut self) -> io::Result<u8> {
        let mut leash = Leash::default();
        loop {
            let ended = match self.wait(leash.held) {
                Err(Errno::EINTR) => continue,
                waited => waited?,
            };
            if ended {
                break;
            }
            for signal in leash.read()? {
                // It may have ended in this moment.
                let _ = self.0.pidfd.signal(signal);
            }
            if !leash.held {
                let _ = killpg(self.0.pid(), Signal::SIGKILL);
            }
        }
        let status = self.0.child.wait()?;
        // What it left behind in its group ends with it.
        let _ = killpg(self.0.pid(), Signal::SIGKILL);
        Ok(code(status))
    }

    /// Waits for an end, or for something on standard input; true for an end.
    fn wait(&self, held: bool) -> nix::Result<bool> {
        let input = io::stdin();
        let mut watched = vec![PollFd::new(self.0.pidfd.as_fd(), PollFlags::POLLIN)];
        if held {
            watched.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
        }
        poll(&mut watched, PollTimeout::NONE)?;
        Ok(watched[0].any().unwrap_or(false))
    }
}

/// The exit code that a shell gives a command that ended so.
#[must_use]
pub fn code(status: ExitStatus) -> u8 {
    let number = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, signal) => 128 + signal.unwrap_or(0),
    };
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Standard input, and whether anybody is at its other end.
#[derive(Debug)]
struct Leash {
    received: Vec<u8>,
    held: bool,
}

impl Default for Leash {
    fn default() -> Self {
        let (received, held) = (Vec::new(), true);
        Self { received, held }
    }
}

impl Leash {
    /// Reads what there is, and returns the signals that it asks for.
    fn read(&mut self) -> io::Result<Vec<Signal>> {
        let mut chunk = [0; 256];
        // `StdinLock` would keep what it read ahead from poll.
        let read = nix::unistd::read(io::stdin().as_fd(), &mut chunk);
        match read {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Ok(0) | Err(Errno::EIO) => self.held = false,
            Ok(length) => self.received.extend(&chunk[..length]),
            Err(errno) => return Err(errno.into()),
        }
        Ok(signals(&mut self.received))
    }
}

/// Takes the whole lines out of `received`; those that ask for no known signal
/// are nobody's.
fn signals(received: &mut Vec<u8>) -> Vec<Signal> {
    let mut asked = Vec::new();
    while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = received.drain(..=end).collect();
        let line = String::from_utf8_lossy(&line);
        let name = line.trim().strip_prefix("signal ");
        asked.extend(name.and_then(|name| format!("SIG{name}").parse::<Signal>().ok()));
    }
    asked
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Child, ChildStdin};
    use std::time::{Duration, Instant};

    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn lines_become_signals_when_they_are_whole() {
        let mut received = b"signal USR1\nsignal NONE\nhello\nsignal IN".to_vec();
        assert_eq!(signals(&mut received), [Signal::SIGUSR1]);
        received.extend(b"T\n");
        assert_eq!(signals(&mut received), [Signal::SIGINT]);
        assert_eq!(received, b"");
    }

    #[test]
    fn codes_are_those_of_shells() {
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
    }

    #[test]
    #[ignore = "holds a command for the other tests, in a process of its own"]
    fn holder() {
        let script = std::env::var("LABCTL_TEST_SCRIPT").expect("run by another test");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]);
        let leashed = Leashed::start(command, ChildSetup::new()).expect("start");
        std::process::exit(leashed.hold().expect("wait").into());
    }

    /// A process that holds a shell script, and the leash.
    fn hold(script: &str) -> (Child, ChildStdin) {
        let mut holder = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "--ignored", "--nocapture"])
            .arg("machine::run::tests::holder")
            .env("LABCTL_TEST_SCRIPT", script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start");
        let leash = holder.stdin.take().expect("piped");
        (holder, leash)
    }

    #[track_caller]
    fn assert_ends_with(mut holder: Child, expected: i32) {
        let status = holder.wait().expect("wait");
        assert_eq!(status.code(), Some(expected));
    }

    #[test]
    fn a_command_ends_with_its_own_code() {
        let (holder, _leash) = hold("exit 7");
        assert_ends_with(holder, 7);
    }

    #[test]
    fn a_signal_reaches_the_command() {
        let (holder, mut leash) = hold("exec sleep 1000");
        leash.write_all(b"signal TERM\n").expect("write");
        assert_ends_with(holder, 143);
    }

    #[test]
    fn a_command_and_its_children_end_with_the_leash() {
        let (mut holder, leash) = hold("sleep 1000 & echo child $!; sleep 1000");
        let said = BufReader::new(holder.stdout.take().expect("piped"));
        let mut lines = said.lines().map(|line| line.expect("read"));
        let child = lines.find_map(|line| line.strip_prefix("child ")?.parse().ok());
        let child = PidFd::open(Pid::from_raw(child.expect("a child"))).expect("it runs");
        drop(leash);
        assert_ends_with(holder, 137);
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(child.wait(deadline).expect("poll"), "the child runs on");
    }
}
