mod as_root {
    use std::io::Read as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::Path;
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    use nix::sys::signal::Signal;

    use super::super::*;
    use crate::{namespace, node_mounts};

    /// Ends with the test, however that ends.
    struct Held(Spawned);

    impl Drop for Held {
        fn drop(&mut self) {
            let _ = self.0.pidfd.signal(Signal::SIGKILL);
            let _ = self.0.child.wait();
        }
    }

    fn output(mut command: Command, setup: ChildSetup) -> String {
        command.stdout(Stdio::piped());
        let mut spawned = spawn(command, setup).expect("start");
        let mut output = String::new();
        let mut stdout = spawned.stdout.take().expect("piped");
        stdout.read_to_string(&mut output).expect("read");
        let status = spawned.child.wait().expect("reap");
        assert!(status.success(), "{status}: {output}");
        output
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_child_starts_in_its_cgroup_namespaces_and_session() {
        let netns = namespace::create_unnamed().expect("create as root");
        let top = crate::cgroup::mount_point().expect("cgroup2 is mounted");
        let cgroup = Cgroup::at(top.join(format!("labctl-test-{}-process", std::process::id())));
        cgroup.create().expect("create as root");
        let setup = ChildSetup::new()
            .cgroup(&cgroup)
            .expect("open")
            .new_session()
            .enter(netns.try_clone().expect("clone"), CloneFlags::CLONE_NEWNET)
            .unshare(CloneFlags::CLONE_NEWUTS)
            .host_name("curl-pod")
            .expect("no zero byte");
        let seen = output(
            shell(
                "hostname; grep ^0:: /proc/self/cgroup; ls /sys/class/net >/dev/null; readlink /proc/self/ns/net; ps -o sid= -p $$; echo $$",
            ),
            setup,
        );
        cgroup
            .wait_empty(Instant::now() + Duration::from_secs(10))
            .expect("ended");
        cgroup.remove().expect("remove");
        let lines: Vec<_> = seen.lines().map(str::trim).collect();
        assert_eq!(lines[0], "curl-pod");
        assert!(lines[1].ends_with("-process"), "{seen}");
        let inode = nix::sys::stat::fstat(&netns).expect("stat").st_ino;
        assert_eq!(lines[2], format!("net:[{inode}]"));
        assert_eq!(lines[3], lines[4], "leader of its own session");
        assert_ne!(nix::unistd::gethostname().expect("ask"), "curl-pod");
    }

    /// Linux 6.14 and later kill what is born in a cgroup that was ever killed.
    #[test]
    fn a_child_starts_in_a_cgroup_that_was_killed_before() {
        let top = crate::cgroup::mount_point().expect("cgroup2 is mounted");
        let cgroup = Cgroup::at(top.join(format!("labctl-test-{}-killed", std::process::id())));
        cgroup.create().expect("create as root");
        cgroup.kill().expect("kill nobody");
        let setup = ChildSetup::new().cgroup(&cgroup).expect("open");
        let seen = output(shell("grep ^0:: /proc/self/cgroup"), setup);
        let setup = ChildSetup::new().cgroup(&cgroup).expect("open");
        let error = spawn(Command::new("/no/such/program"), setup);
        cgroup
            .wait_empty(Instant::now() + Duration::from_secs(10))
            .expect("ended");
        cgroup.remove().expect("remove");
        assert!(seen.trim_end().ends_with("-killed"), "{seen}");
        let error = error.expect_err("there is no such program").to_string();
        assert!(
            error.starts_with("start /no/such/program: No such file"),
            "{error}"
        );
    }

    #[test]
    fn a_failed_step_is_named() {
        let folder = tempfile::tempdir().expect("make a folder");
        let setup = ChildSetup::new()
            .unshare(CloneFlags::CLONE_NEWNS)
            .mounts(node_mounts::pod(&folder.path().join("missing"), None).expect("no zero byte"));
        let error = spawn(shell("true"), setup).expect_err("the folder is missing");
        let expected = format!(
            "start /bin/sh: change to {}/missing: No such file or directory",
            folder.path().display()
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = spawn(Command::new("/no/such/program"), ChildSetup::new());
        let error = error.expect_err("there is no such program").to_string();
        assert_eq!(
            error,
            "start /no/such/program: No such file or directory (os error 2)"
        );
    }

    /// Descriptors without close-on-exec, such as a shell may leave behind.
    #[test]
    fn only_passed_descriptors_survive_exec() {
        let (passed, other) = nix::unistd::pipe2(nix::fcntl::OFlag::empty()).expect("pipe");
        let number = std::os::fd::AsRawFd::as_raw_fd(&passed);
        let seen = output(
            shell("ls -1 /proc/self/fd"),
            ChildSetup::new().pass_fd(passed),
        );
        drop(other);
        // 3 is `ls` reading the folder, unless that is the number passed.
        let fds: Vec<i32> = seen.lines().filter_map(|fd| fd.parse().ok()).collect();
        assert!(fds.contains(&number), "{fds:?}");
        assert!(fds.len() <= 5, "{fds:?}");
    }

    #[test]
    fn an_ended_process_is_seen_through_its_pidfd() {
        let mut held = Held(spawn(shell("exec sleep 600"), ChildSetup::new()).expect("start"));
        let spawned = &mut held.0;
        assert!(!spawned.pidfd.has_ended().expect("poll"));
        spawned.pidfd.signal(Signal::SIGKILL).expect("signal");
        assert!(
            spawned
                .pidfd
                .wait(Instant::now() + Duration::from_secs(10))
                .expect("poll")
        );
        let status = spawned.child.wait().expect("reap");
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    }

    #[test]
    fn a_node_and_its_pod_have_the_mounts_of_the_architecture() {
        let folder = tempfile::tempdir().expect("make a folder");
        for etc in ["etc", "pods/default_curl-pod/etc"] {
            let etc = folder.path().join(etc);
            std::fs::create_dir_all(&etc).expect("make");
            for name in node_mounts::ETC_FILES {
                std::fs::write(etc.join(name), format!("{}\n", etc.display())).expect("write");
            }
        }
        let netns = namespace::create_unnamed().expect("create as root");
        let setup = || {
            ChildSetup::new()
                .enter(netns.try_clone().expect("clone"), CloneFlags::CLONE_NEWNET)
                .unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
        };
        let look = "cat /etc/hosts; cat /etc/resolv.conf; ls /run/labctl 2>&1; ls /sys/class/net; stat -fc %T /sys/fs/bpf /sys/fs/cgroup; ls /run/netns 2>&1";
        let node = node_mounts::node(folder.path(), &[]).expect("no zero byte");
        let seen = output(shell(look), setup().mounts(node.clone()));
        let path = folder.path().display();
        assert_eq!(
            seen,
            format!("{path}/etc\n{path}/etc\netc\npods\nlo\nbpf_fs\ncgroup2fs\n")
        );

        // A node that stays, and a pod made from inside it.
        let held = Held(spawn(shell("exec sleep 600"), setup().mounts(node)).expect("start"));
        let pod = node_mounts::pod(Path::new("/run/labctl/pods/default_curl-pod/etc"), None);
        let pidfd = PidFd::open(held.0.pid()).expect("running");
        let setup = ChildSetup::new()
            .enter(pidfd.into(), CloneFlags::CLONE_NEWNS)
            .unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .mounts(pod.expect("no zero byte"));
        let seen = output(
            shell("cat /etc/hosts; cat /etc/resolv.conf; ls -A /run"),
            setup,
        );
        let path = folder.path().join("pods/default_curl-pod/etc");
        let resolv_target = std::fs::canonicalize("/etc/resolv.conf").expect("there");
        let run = if resolv_target.starts_with("/run") {
            "systemd\n"
        } else {
            ""
        };
        assert_eq!(seen, format!("{0}\n{0}\n{run}", path.display()));
    }
}
