use super::*;

#[test]
fn cgroup2_is_found_in_mountinfo() {
    let hybrid = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
42 31 0:38 / /mnt/with\\040space rw,relatime - cgroup2 cgroup2 rw
";
    assert_eq!(
        cgroup2_mounts(hybrid).collect::<Vec<_>>(),
        [
            Path::new("/sys/fs/cgroup/unified"),
            Path::new("/mnt/with space")
        ]
    );
    assert_eq!(
        cgroup2_mounts("1 1 0:1 / / rw - ext4 /dev/vda rw\n").count(),
        0
    );
}

mod as_root {
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    /// A cgroup of this test's own, gone with the guard.
    struct Scratch(Cgroup);

    impl Scratch {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("labctl-test-{}-cgroup-{count}", std::process::id());
            let cgroup = Cgroup::at(mount_point().expect("cgroup2 is mounted").join(name));
            cgroup.create().expect("create as root");
            Self(cgroup)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait_empty(Instant::now() + Duration::from_secs(10));
            let _ = self.0.remove();
        }
    }

    fn sleep_in(cgroup: &Cgroup) -> std::process::Child {
        let child = Command::new("sleep")
            .arg("600")
            .stdout(Stdio::null())
            .spawn()
            .expect("sleep");
        fs::write(cgroup.path().join("cgroup.procs"), child.id().to_string()).expect("move");
        child
    }

    #[test]
    fn kill_reaches_every_level_and_wait_sees_the_end() {
        let scratch = Scratch::new();
        let pod = scratch.0.child("pods/default_curl-pod");
        pod.create().expect("create");
        let mut children = [sleep_in(&scratch.0), sleep_in(&pod)];
        let mut pids = scratch.0.pids().expect("read");
        pids.sort();
        let mut expected = children
            .each_ref()
            .map(|c| Pid::from_raw(c.id().cast_signed()));
        expected.sort();
        assert_eq!(pids, expected);
        assert_eq!(scratch.0.own_pids().expect("read").len(), 1);

        let early = scratch.0.wait_empty(Instant::now());
        assert!(matches!(early, Err(CgroupError::Populated { pids, .. }) if pids.len() == 2));
        scratch.0.kill().expect("kill");
        scratch
            .0
            .wait_empty(Instant::now() + Duration::from_secs(10))
            .expect("all gone");
        for child in &mut children {
            child.wait().expect("reap");
        }
        scratch.0.remove().expect("remove all levels");
        assert!(!scratch.0.exists());
    }

    #[test]
    fn what_is_gone_already_is_no_fault() {
        let scratch = Scratch::new();
        scratch.0.remove().expect("remove");
        scratch.0.remove().expect("remove again");
        scratch.0.kill().expect("kill nobody");
        scratch
            .0
            .wait_empty(Instant::now())
            .expect("nobody to wait for");
        assert_eq!(scratch.0.pids().expect("read"), []);
    }
}
