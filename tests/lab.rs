//! The builder: labctl with arguments, and labs that are taken down at the end.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use assert_cmd::Command;

use crate::host::left_of;

/// The folder of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `labctl` with arguments, in the repository's folder, without the caller's settings.
pub(crate) fn labctl(args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("labctl"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LABCTL_") {
            command.env_remove(name);
        }
    }
    command.current_dir(root()).args(args);
    command
}

/// Runs `labctl` and returns its exit code, standard output and standard error.
pub(crate) fn run(args: &[&str]) -> Ran {
    Ran::from(labctl(args).output().expect("labctl starts"))
}

/// What a run of labctl came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status;
        Self {
            exit: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
            stdout: String::from_utf8(output.stdout).expect("labctl writes UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("labctl writes UTF-8"),
        }
    }
}

impl Ran {
    /// Asserts the exit code, showing everything when it is another.
    #[track_caller]
    pub(crate) fn exits(self, exit: i32) -> Self {
        assert_eq!(
            self.exit, exit,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Asserts that standard output contains `text`.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "no {text:?} in stdout:\n{}",
            self.stdout
        );
        self
    }

    /// Asserts that standard error contains `text`.
    #[track_caller]
    pub(crate) fn complains(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in stderr:\n{}",
            self.stderr
        );
        self
    }
}

/// A lab of this test's own: a name, a folder for edited files, and a guard.
pub(crate) struct Lab {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    folder: tempfile::TempDir,
}

impl Lab {
    /// The shipped study lab under a name of its own. Needs root.
    #[track_caller]
    pub(crate) fn study() -> Self {
        Self::shipped("study")
    }

    /// `labs/<lab>.yaml` under a name of its own. Needs root.
    #[track_caller]
    pub(crate) fn shipped(lab: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes namespaces and loads eBPF programs: run it as root"
        );
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            name: format!("t{}-{number}", std::process::id()),
            file: root().join("labs").join(lab).with_extension("yaml"),
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// Copies the lab's files into the test's folder and edits the lab file there.
    pub(crate) fn edit(&mut self, edit: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(&self.file).expect("the lab file");
        let labs = self.folder.path().join("labs");
        if !labs.exists() {
            copy_files(&root().join("labs"), &labs);
            copy_files(&root().join("checks"), &self.folder.path().join("checks"));
        }
        self.file = labs.join(self.file.file_name().expect("a file"));
        let edited = edit(text.clone());
        assert_ne!(edited, text, "the edit changed nothing");
        std::fs::write(&self.file, edited).expect("write the lab file");
    }

    /// `labctl COMMAND FILE --name NAME ARGS…`, for commands that read the file.
    pub(crate) fn with_file(&self, command: &str, args: &[&str]) -> Ran {
        let file = self.file.to_string_lossy();
        let mut all = vec![command, &*file, "--name", &self.name];
        all.extend(args);
        run(&all)
    }

    /// Brings the lab up, which must succeed.
    #[track_caller]
    pub(crate) fn up(&self) -> Ran {
        self.with_file("up", &[]).exits(0)
    }

    /// `labctl COMMAND --lab NAME ARGS…`.
    pub(crate) fn run(&self, command: &str, args: &[&str]) -> Ran {
        let mut all = vec![command, "--lab", &self.name];
        all.extend(args);
        run(&all)
    }

    /// Runs a command on a node or in a pod.
    pub(crate) fn exec(&self, target: &str, argv: &[&str]) -> Ran {
        let mut args = vec![target, "--"];
        args.extend(argv);
        self.run("exec", &args)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = self.run("down", &["--quiet"]);
        let left = left_of(&self.name);
        if !left.is_empty() && !std::thread::panicking() {
            panic!(
                "labctl down --lab {} left {left:?}: {}",
                self.name, down.stderr
            );
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a folder");
    for entry in std::fs::read_dir(from).expect("a folder of the repository") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy a file");
        }
    }
}
