//! A pod's process: its command line, and the namespaces and mounts around it.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lab_model::node_state::{NodeCache, Workload as App};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::unistd::pipe2;

use super::pods::Places;
use super::sandbox::Sandbox;
use super::workload::{Process, Readiness};
use super::{AgentError, dns_files, network};
use crate::node_mounts::{self, POD_DNS_FOLDER};
use crate::process::{self, ChildSetup};

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts the process of `pod`: in its own network namespace, or in the node's.
pub(super) fn spawn(
    places: &Places,
    pod: &Sandbox,
    netns: Option<&OwnedFd>,
) -> Result<Process, AgentError> {
    let folder = places.folder.join(pod.folder_name());
    let pipe = |errno: Errno| AgentError::file("make a pipe for", &folder)(errno.into());
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(pipe)?;
    let (command, serves) = command(places, pod, &folder, &writer)?;
    let mut setup = ChildSetup::new()
        .cgroup(&places.cgroup.child(pod.folder_name()))?
        .new_session()
        .pass_fd(writer);
    if let Some(netns) = netns {
        let netns = netns
            .try_clone()
            .map_err(AgentError::file("open", &folder))?;
        let dns = pod.workload().serves_dns().then_some(dns_files::FOLDER);
        let mounts = node_mounts::pod(&folder.join("etc"), dns)
            .map_err(AgentError::file("mount", &folder))?;
        setup = setup
            .enter(netns, CloneFlags::CLONE_NEWNET)
            .unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
            .mounts(mounts)
            .host_name(pod.host_name())?;
    }
    let spawned = process::spawn(command, setup)?;
    Ok(Process {
        pid: spawned.pid(),
        pidfd: spawned.pidfd,
        child: Some(spawned.child),
        readiness: if serves {
            Readiness::Pending(reader)
        } else {
            Readiness::Ready
        },
    })
}

/// `labctl app …` or `labctl dns …`, and whether it is a server, which tells when it is
/// ready.
fn command(
    places: &Places,
    pod: &Sandbox,
    folder: &Path,
    ready: &OwnedFd,
) -> Result<(Command, bool), AgentError> {
    let path = folder.join("log");
    let open = || {
        let log = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok((log.try_clone()?, log))
    };
    let (out, err) = open().map_err(AgentError::file("open", &path))?;
    let mut command = Command::new(&places.labctl);
    let port = |command: &mut Command, port: u16| {
        command.args(["--port", &port.to_string()]);
    };
    match pod.workload() {
        App::Netshoot => {
            command.args(["app", "netshoot"]);
        }
        App::Whoami { port: number } => port(command.args(["app", "whoami"]), *number),
        App::Nginx { port: number } => port(command.args(["app", "nginx"]), *number),
        App::Coredns => dns(&mut command, pod, folder, None),
        App::NodeCache(cache) => dns(&mut command, pod, folder, Some(cache)),
    }
    let serves = *pod.workload() != App::Netshoot;
    if serves {
        command.args(["--ready-fd", &ready.as_raw_fd().to_string()]);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| SYSTEM_PATH.into());
    command
        .env_clear()
        .env("PATH", path)
        .env("HOSTNAME", pod.host_name())
        .env("HOME", "/root")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    Ok((command, serves))
}

fn dns(command: &mut Command, pod: &Sandbox, folder: &Path, cache: Option<&NodeCache>) {
    let folder = match pod {
        Sandbox::Own(_) => PathBuf::from(POD_DNS_FOLDER),
        Sandbox::Host(_) => folder.join(dns_files::FOLDER),
    };
    command.arg("dns");
    command.arg("--conf").arg(folder.join(dns_files::COREFILE));
    command.arg("--handover").arg(folder.join("handover.sock"));
    // Clients of a pod come through its interface; those of a server on the node's network
    // come from anywhere.
    if matches!(pod, Sandbox::Own(_)) {
        command.args(["--answer-in-kernel", network::POD_DEVICE]);
    }
    let Some(cache) = cache else {
        let records = folder.join(dns_files::RECORDS);
        command.arg("--kubernetes").arg(records);
        return;
    };
    let addresses: Vec<_> = cache.local_ips.iter().map(ToString::to_string).collect();
    command.args(["--local-ip", &addresses.join(",")]);
    if let Some(upstream) = cache.upstream {
        command.args(["--upstream-service", &upstream.to_string()]);
    }
    if cache.setup_interface {
        command.args(["--setup-interface", &cache.interface]);
    }
    if cache.setup_iptables {
        command.arg("--setup-iptables");
        command.args(["--health-port", &cache.health_port.to_string()]);
    }
    if cache.skip_teardown {
        command.arg("--skip-teardown");
    }
    command.args(["--sync-interval", &cache.sync_interval.to_string()]);
}
