//! What a lab could leave on the host: interfaces, namespaces, cgroups, mounts, files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The host as far as labs could change it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Host {
    links: BTreeSet<String>,
    namespaces: String,
}

impl Host {
    /// Looks.
    pub(crate) fn now() -> Self {
        let links = output("ip", &["-o", "link"]);
        let name = |line: &str| line.split(':').nth(1).unwrap_or(line).trim().to_owned();
        Self {
            links: links.lines().map(name).collect(),
            namespaces: output("ip", &["netns"]),
        }
    }
}

/// Everything that carries the lab's name: state, mounts, cgroups, processes.
pub(crate) fn left_of(lab: &str) -> Vec<String> {
    let mut left = Vec::new();
    if Path::new("/run/labctl").join(lab).exists() {
        left.push(format!("/run/labctl/{lab}"));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    left.extend(
        mounts
            .lines()
            .filter(|line| names(line, lab))
            .map(|line| format!("mount {line}")),
    );
    left.extend(
        cgroup_mounts(&mounts)
            .map(|mount| Path::new(mount).join("labctl").join(lab))
            .filter(|folder| folder.exists())
            .map(|folder| format!("cgroup {}", folder.display())),
    );
    left.extend(processes_of(lab));
    left
}

/// Processes of the lab, by their cgroups. Those that have ended and wait for init to
/// take note are nobody's any more.
pub(crate) fn processes_of(lab: &str) -> impl Iterator<Item = String> {
    let processes = fs::read_dir("/proc").expect("/proc");
    processes.filter_map(Result::ok).filter_map(move |process| {
        let cgroups = fs::read_to_string(process.path().join("cgroup")).ok()?;
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        // proc_pid_stat(5): the state follows the command's closing parenthesis.
        let ended = stat
            .rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
        let ours = !ended && cgroups.lines().any(|line| names(line, lab));
        ours.then(|| format!("process {}", process.file_name().to_string_lossy()))
    })
}

/// A process of a lab that a test may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(nix::unistd::Pid);

/// The agent of a node.
#[track_caller]
pub(crate) fn agent_of(lab: &str, node: &str) -> Process {
    Process::first_in(&cgroup_of(lab, node).join("agent"))
}

/// The process of a pod of `kube-system` whose name begins like that.
#[track_caller]
pub(crate) fn system_pod_of(lab: &str, node: &str, begin: &str) -> Process {
    let pods = fs::read_dir(cgroup_of(lab, node).join("pods")).expect("the pods' cgroups");
    let begin = format!("kube-system_{begin}");
    let is_it = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(&begin);
    let mut pods = pods.filter_map(Result::ok);
    let pod = pods.find(|pod| is_it(&pod.file_name()));
    Process::first_in(&pod.expect("a pod of that name").path())
}

fn cgroup_of(lab: &str, node: &str) -> std::path::PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let mount = cgroup_mounts(&mounts).next().expect("cgroup2 is mounted");
    Path::new(mount).join("labctl").join(lab).join(node)
}

impl Process {
    #[track_caller]
    fn first_in(cgroup: &Path) -> Self {
        let processes = fs::read_to_string(cgroup.join("cgroup.procs")).expect("a cgroup");
        let first = processes.lines().next().expect("a process that runs");
        Self(nix::unistd::Pid::from_raw(first.parse().expect("a pid")))
    }

    /// Ends it without a chance to tidy up, and waits until it is gone.
    #[track_caller]
    pub(crate) fn kill(self) {
        use nix::sys::signal::{Signal, kill};
        kill(self.0, Signal::SIGKILL).expect("it is there");
        let folder = format!("/proc/{}", self.0);
        crate::user::wait_until(
            "the process is gone",
            std::time::Duration::from_secs(10),
            || {
                // A zombie has no memory map, and no program.
                fs::read_link(format!("{folder}/exe")).is_err()
            },
        );
    }
}

/// Whether `…/labctl/LAB` or `…/labctl/LAB/…` is in the line.
fn names(line: &str, lab: &str) -> bool {
    let Some((_, rest)) = line.split_once(&format!("/labctl/{lab}")) else {
        return false;
    };
    rest.is_empty() || rest.starts_with(['/', ' '])
}

fn cgroup_mounts(mountinfo: &str) -> impl Iterator<Item = &str> {
    mountinfo
        .lines()
        .filter(|line| line.contains(" - cgroup2 "))
        .filter_map(|line| line.split(' ').nth(4))
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .expect("iproute2 is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
