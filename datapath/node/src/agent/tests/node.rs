//! A node to test on.

use std::io::Read as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lab_model::node_state::{NodeState, Peer};
use nix::sched::CloneFlags;

use crate::agent::tests::document;
use crate::agent::{self, AgentOptions};
use crate::api::{AttachMode, Client, SOCKET, Status};
use crate::cgroup::{self, Cgroup};
use crate::namespace;
use crate::netlink::{LinkChange, LinkEnd, Netlink, Request, Scope};
use crate::node_mounts;
use crate::process::{self, ChildSetup, PidFd, Spawned};

const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a condition.
#[track_caller]
pub(super) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::yield_now();
    }
}

/// A pause process with a node's namespaces and mounts, and an agent in it.
pub(super) struct TestNode {
    name: &'static str,
    number: u8,
    attach_mode: AttachMode,
    folder: tempfile::TempDir,
    cgroup: Cgroup,
    netns: OwnedFd,
    pause: Spawned,
    agent: Option<(JoinHandle<Result<(), agent::AgentError>>, UnixStream)>,
}

impl TestNode {
    /// A node with an `eth1` that leads nowhere, and its agent.
    pub(super) fn start(name: &'static str, number: u8) -> Self {
        Self::start_with(AttachMode::of_kernel(), name, number)
    }

    /// The same, with programs attached in a certain way.
    pub(super) fn start_with(mode: AttachMode, name: &'static str, number: u8) -> Self {
        let mut node = Self::make(mode, name, number);
        let mut netlink = Netlink::open_in(&node.netns).expect("open");
        let end = LinkEnd::named("eth1").index(3);
        let peer = LinkEnd::named("wire").index(4);
        let veth = Request::AddVeth {
            end,
            master: None,
            peer,
        };
        let up = Request::SetLink {
            name: "wire".into(),
            change: LinkChange::up(),
        };
        netlink.execute_all(&[veth, up]).expect("eth1");
        node.give_address(&mut netlink);
        node.start_agent();
        node
    }

    /// Two nodes whose `eth1` are the ends of one wire.
    pub(super) fn pair() -> (Self, Self) {
        Self::pair_with(AttachMode::of_kernel())
    }

    /// The same, with programs attached in a certain way.
    pub(super) fn pair_with(mode: AttachMode) -> (Self, Self) {
        let mut one = Self::make(mode, "k8s-ctr", 0);
        let mut two = Self::make(mode, "k8s-w1", 1);
        let mut first = Netlink::open_in(&one.netns).expect("open");
        let mut second = Netlink::open_in(&two.netns).expect("open");
        let end = LinkEnd::named("eth1").index(3).in_netns(one.netns.as_fd());
        let peer = LinkEnd::named("eth1").index(3).in_netns(two.netns.as_fd());
        first
            .execute(&Request::AddVeth {
                end,
                master: None,
                peer,
            })
            .expect("eth1");
        one.give_address(&mut first);
        two.give_address(&mut second);
        one.start_agent();
        two.start_agent();
        (one, two)
    }

    fn give_address(&self, netlink: &mut Netlink) {
        let address = ipnet::Ipv4Net::new(self.address(), 24).expect("legal");
        netlink
            .execute_all(&[
                Request::SetLink {
                    name: "lo".into(),
                    change: LinkChange::up(),
                },
                Request::SetLink {
                    name: "eth1".into(),
                    change: LinkChange::up(),
                },
                Request::AddAddress {
                    device: 3,
                    address,
                    scope: Scope::Universe,
                },
            ])
            .expect("address");
    }

    fn make(attach_mode: AttachMode, name: &'static str, number: u8) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().expect("make a folder");
        std::fs::create_dir_all(folder.path().join("etc")).expect("make");
        for file in node_mounts::ETC_FILES {
            std::fs::write(folder.path().join("etc").join(file), "").expect("write");
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let group = format!("labctl-test-{}-agent-{count}", std::process::id());
        let cgroup = Cgroup::at(
            cgroup::mount_point()
                .expect("cgroup2 is mounted")
                .join(group),
        );
        cgroup.child("pause").create().expect("create as root");
        let netns = namespace::create_unnamed().expect("create as root");
        let setup = ChildSetup::new()
            .cgroup(&cgroup.child("pause"))
            .expect("open")
            .new_session()
            .enter(netns.try_clone().expect("clone"), CloneFlags::CLONE_NEWNET)
            .unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
            .mounts(node_mounts::node(folder.path(), &[]).expect("no zero byte"))
            .host_name(name)
            .expect("no zero byte");
        let mut command = Command::new("sleep");
        command
            .arg("infinity")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let pause = process::spawn(command, setup).expect("start");
        workload_program(folder.path());
        Self {
            name,
            number,
            attach_mode,
            folder,
            cgroup,
            netns,
            pause,
            agent: None,
        }
    }

    /// Runs an agent on a thread inside the node.
    pub(super) fn start_agent(&mut self) {
        let (stop, on_stop) = UnixStream::pair().expect("pair");
        let (ready, on_ready) = UnixStream::pair().expect("pair");
        let entry = self.entry();
        // Not by its path on the node: pods do not see the node's /run.
        let labctl = self.folder.path().join("workload");
        let options = AgentOptions {
            dir: "/run/labctl".into(),
            bpffs: "/sys/fs/bpf".into(),
            datapath_object: None,
            attach_mode: self.attach_mode,
            ready: Some(on_ready.into()),
            labctl,
            cgroup: self.cgroup_inside(),
        };
        let thread = thread::spawn(move || {
            enter(&entry);
            agent::serve(options, on_stop)
        });
        ready.set_read_timeout(Some(DEADLINE)).expect("set");
        let started = (&ready).read(&mut [0; 1]);
        assert!(matches!(started, Ok(1)), "{started:?}");
        self.agent = Some((thread, stop));
    }

    /// Stops the agent and waits for its end.
    pub(super) fn stop_agent(&mut self) {
        if let Some((thread, stop)) = self.agent.take() {
            drop(stop);
            let ended = thread.join();
            if !thread::panicking() {
                ended.expect("no panic").expect("no error");
            }
        }
    }

    fn entry(&self) -> PidFd {
        PidFd::open(self.pause.pid()).expect("running")
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 10, 100 + self.number)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// As the node sees it, where cgroup2 is at the usual place.
    fn cgroup_inside(&self) -> Cgroup {
        let name = self
            .cgroup
            .path()
            .file_name()
            .expect("the cgroup has a name");
        Cgroup::at(Path::new("/sys/fs/cgroup").join(name))
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(&self.folder.path().join(SOCKET)).expect("connect")
    }

    #[track_caller]
    pub(super) fn apply(&self, state: &NodeState) -> Status {
        self.client()
            .apply(state)
            .unwrap_or_else(|error| panic!("failed to {error}"))
    }

    /// The output of a shell command on the node.
    #[track_caller]
    pub(super) fn run(&self, script: &str) -> String {
        shell(self.entry(), script)
    }

    /// The output of a shell command in a pod.
    #[track_caller]
    pub(super) fn run_in(&self, pod: &str, script: &str) -> String {
        let pids = self
            .cgroup
            .child("pods")
            .child(pod)
            .own_pids()
            .expect("read");
        let pid = pids.first().unwrap_or_else(|| panic!("{pod} does not run"));
        shell(PidFd::open(*pid).expect("running"), script)
    }

    /// The output of a program that belongs to the node, or to a pod, in every respect:
    /// namespaces and cgroup.
    #[track_caller]
    pub(super) fn run_program(
        &self,
        pod: Option<&str>,
        program: &Path,
        arguments: &[&str],
        (variable, value): (&str, &str),
    ) -> String {
        let mut command = Command::new(program);
        command.args(arguments).env(variable, value);
        let (entry, cgroup) = match pod {
            None => (self.entry(), self.cgroup.child("exec")),
            Some(pod) => {
                let cgroup = self.cgroup.child("pods").child(pod);
                let pids = cgroup.own_pids().expect("read");
                let pid = pids.first().unwrap_or_else(|| panic!("{pod} does not run"));
                (PidFd::open(*pid).expect("running"), cgroup)
            }
        };
        cgroup.create().expect("create as root");
        let setup = ChildSetup::new().cgroup(&cgroup).expect("open");
        output(command, setup.enter(entry.into(), CloneFlags::CLONE_NEWNET))
    }

    /// Runs `work` on a thread in the node's namespaces.
    pub(super) fn as_node<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entry = self.entry();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&entry);
                work()
            });
            thread.join().expect("no panic")
        })
    }

    /// Runs `work` on a thread in the node's network namespace.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        namespace::in_netns(&self.netns, work).expect("enter")
    }

    /// Runs `work` on a thread in a pod's network namespace.
    pub(super) fn inside_pod<T: Send>(&self, pod: &str, work: impl FnOnce() -> T + Send) -> T {
        let pids = self
            .cgroup
            .child("pods")
            .child(pod)
            .own_pids()
            .expect("read");
        let pid = pids.first().unwrap_or_else(|| panic!("{pod} does not run"));
        let netns = std::fs::File::open(format!("/proc/{pid}/ns/net")).expect("open");
        namespace::in_netns(&netns, work).expect("enter")
    }

    pub(super) fn peer(&self, name: &str, number: u8) -> Peer {
        Peer {
            name: name.into(),
            address: Ipv4Addr::new(192, 168, 10, 100 + number),
            pod_cidr: format!("10.244.{number}.0/24").parse().expect("legal"),
            cilium_host: Ipv4Addr::new(10, 244, number, 1),
        }
    }

    /// Two pods, `pod-a` with the address .10 and `pod-b` with .11.
    pub(super) fn state(&self) -> NodeState {
        document(self.name, self.number)
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.stop_agent();
        let _ = self.cgroup.kill();
        let _ = self.cgroup.wait_empty(Instant::now() + DEADLINE);
        let _ = self.pause.child.wait();
        let _ = self.cgroup.remove();
    }
}

/// Takes the calling thread into a node's namespaces.
fn enter(node: &PidFd) {
    let kinds = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    // Threads share a root and a working directory until told otherwise.
    nix::sched::unshare(CloneFlags::CLONE_FS).expect("unshare as root");
    nix::sched::setns(node, kinds).expect("enter as root");
}

/// Stands for `labctl app …`: says that it is ready where it is asked to, and idles.
fn workload_program(folder: &Path) {
    let path = folder.join("workload");
    let script =
        "#!/bin/sh\nif [ \"$6\" ]; then echo > /proc/self/fd/$6; fi\nexec sleep infinity\n";
    std::fs::write(&path, script).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
}

#[track_caller]
fn shell(entry: PidFd, script: &str) -> String {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    let kinds = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    output(command, ChildSetup::new().enter(entry.into(), kinds))
}

#[track_caller]
fn output(mut command: Command, setup: ChildSetup) -> String {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let what = format!("{command:?}");
    let mut spawned = process::spawn(command, setup).expect("start");
    let (mut output, mut errors) = (String::new(), String::new());
    let (stdout, stderr) = (spawned.stdout.take(), spawned.stderr.take());
    thread::scope(|scope| {
        scope.spawn(|| stderr.expect("piped").read_to_string(&mut errors));
        stdout
            .expect("piped")
            .read_to_string(&mut output)
            .expect("read");
    });
    let status = spawned.child.wait().expect("reap");
    assert!(status.success(), "{what}: {status}: {output}{errors}");
    output
}
