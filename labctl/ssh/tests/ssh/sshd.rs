//! Debian's sshd with a configuration, keys and a port of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab_ssh::keys::KeyPair;
use lab_ssh::{Destination, Session, known_hosts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, getuid};
use tempfile::TempDir;

/// What a server of a test is to be like; [`Setup::start`] makes it.
pub(crate) struct Setup {
    options: Vec<String>,
    host_key: KeyPair,
    rsa_host_key: bool,
    user: String,
}

impl Setup {
    /// One more line of `sshd_config`; the first of several for an option counts.
    pub(crate) fn option(mut self, line: &str) -> Self {
        self.options.push(line.to_owned());
        self
    }

    /// With an RSA host key beside the Ed25519 one.
    pub(crate) fn rsa_host_key(mut self) -> Self {
        self.rsa_host_key = true;
        self
    }

    /// For logins as `user`, instead of the one who runs the tests; that needs root.
    pub(crate) fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// Starts the server, and waits until it listens.
    pub(crate) fn start(self) -> Sshd {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let identity = KeyPair::load_or_create(&path("id_ed25519"), "test").expect("a key");
        let line = identity.public_line().expect("a line");
        fs::write(path("authorized_keys"), line).expect("writable");
        let host_key = path("ssh_host_ed25519_key");
        let text = self.host_key.private_text().expect("a key");
        fs::write(&host_key, text).expect("writable");
        fs::set_permissions(
            &host_key,
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .expect("ours");
        if self.rsa_host_key {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
                .arg(path("ssh_host_rsa_key"))
                .status();
            assert!(made.expect("ssh-keygen is there").success());
        }
        // sshd reads authorized_keys as the user who logs in.
        fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o711),
        )
        .expect("ours");
        // A port that was free may be taken by another test before sshd has it.
        for _ in 0..20 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("an address").port();
            drop(listener);
            self.write_config(folder.path(), port);
            if let Some(child) = listening(&path("sshd_config")) {
                let sshd = Sshd {
                    user: self.user,
                    host_key: self.host_key,
                    folder,
                    port,
                    child,
                };
                let name = known_hosts::host_name("127.0.0.1", port);
                let known = [(name, sshd.host_key.public())];
                known_hosts::record(&sshd.path("known_hosts"), &known).expect("recorded");
                return sshd;
            }
        }
        panic!("sshd found no port in twenty attempts");
    }

    fn write_config(&self, folder: &Path, port: u16) {
        let path = |name: &str| folder.join(name).display().to_string();
        let mut defaults = vec![
            format!("Port {port}"),
            "ListenAddress 127.0.0.1".to_owned(),
            format!("HostKey {}", path("ssh_host_ed25519_key")),
            format!("AuthorizedKeysFile {}", path("authorized_keys")),
            // The folder lies in /tmp, which others may write.
            "StrictModes no".to_owned(),
            "UsePAM no".to_owned(),
            // A shell that sshd starts reads ~/.bashrc, whatever the user has in there.
            format!("SetEnv HOME={}", path("home")),
            "PasswordAuthentication no".to_owned(),
            "KbdInteractiveAuthentication no".to_owned(),
            "PermitRootLogin prohibit-password".to_owned(),
            "MaxSessions 100".to_owned(),
            "MaxStartups 100".to_owned(),
            "PidFile none".to_owned(),
            "Subsystem sftp internal-sftp".to_owned(),
        ];
        if self.rsa_host_key {
            defaults.push(format!("HostKey {}", path("ssh_host_rsa_key")));
        }
        // For most options the first line counts, but a second Subsystem is an error.
        let keyword = |line: &str| line.split(' ').next().map(str::to_owned);
        let given: Vec<_> = self.options.iter().map(|line| keyword(line)).collect();
        let kept = defaults
            .iter()
            .filter(|line| !given.contains(&keyword(line)));
        let lines: Vec<&str> = self
            .options
            .iter()
            .chain(kept)
            .map(String::as_str)
            .collect();
        let text = lines.join("\n") + "\n";
        fs::write(folder.join("sshd_config"), text).expect("writable");
    }
}

/// A server that runs until dropped.
pub(crate) struct Sshd {
    user: String,
    pub(crate) host_key: KeyPair,
    folder: TempDir,
    pub(crate) port: u16,
    child: Child,
}

impl Sshd {
    /// A server to change before it starts.
    pub(crate) fn setup() -> Setup {
        let user = User::from_uid(getuid()).expect("users are readable");
        Setup {
            options: Vec::new(),
            host_key: KeyPair::generate("host"),
            rsa_host_key: false,
            user: user.expect("this user has a name").name,
        }
    }

    /// A server as most tests need it.
    pub(crate) fn start() -> Self {
        Self::setup().start()
    }

    /// A file of the server's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where it is, with the keys of both sides.
    pub(crate) fn destination(&self) -> Destination {
        Destination::new("k8s-w1", &self.user, "127.0.0.1", self.port)
            .with_identity(self.path("id_ed25519"))
            .with_known_hosts(self.path("known_hosts"))
    }

    /// A session on it.
    pub(crate) async fn session(&self) -> Session {
        let connected = Session::connect(self.destination(), soon()).await;
        connected.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Kills the processes that serve connections, not the one that listens, nor commands.
    pub(crate) fn cut_connections(&self) {
        self.signal_connections(Signal::SIGKILL);
    }

    /// Sends a signal to the processes that serve connections.
    pub(crate) fn signal_connections(&self, signal: Signal) {
        let mut parents = vec![self.child.id()];
        while let Some(parent) = parents.pop() {
            for child in children(parent) {
                let comm = fs::read_to_string(format!("/proc/{child}/comm"));
                if comm.is_ok_and(|comm| comm == "sshd\n") {
                    parents.push(child);
                    // It may have ended by itself.
                    let _ = kill(Pid::from_raw(child as i32), signal);
                }
            }
        }
    }

    /// Cuts the connections and listens no more, as a machine that goes down.
    pub(crate) fn go_down(&mut self) {
        // The children first: they are found by their parent.
        self.cut_connections();
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Listens again on the same port with the same keys.
    pub(crate) fn restart(&mut self) {
        let config = self.path("sshd_config");
        self.child = listening(&config).expect("the port is still free");
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.go_down();
    }
}

fn children(parent: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Starts sshd; `None` when its port was taken.
fn listening(config: &Path) -> Option<Child> {
    if getuid().is_root() {
        // Debian's unit makes it; sshd wants it for privilege separation.
        fs::create_dir_all("/run/sshd").expect("root may");
    }
    let mut child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(config)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssh-server is installed");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut log = String::new();
    while stderr.read_line(&mut log).expect("sshd logs text") > 0 {
        if log.contains("Server listening") {
            // Keep the pipe empty, or sshd would wait for a reader.
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
            return Some(child);
        }
    }
    let status = child.wait().expect("it is our child");
    assert!(log.contains("Cannot bind"), "sshd {status}: {log}");
    None
}

/// A deadline far enough for a busy machine.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}
