//! Labs on virtual machines, by an ordinary user: real kernels, real boots, real SSH.

mod vm {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use crate::lab::Ran;
    use crate::user::{User, wait_until};

    /// How long a machine may take to do what it is expected to do.
    const PATIENCE: Duration = Duration::from_secs(120);

    const UP: [&str; 4] = ["up", "--provider", "qemu", "labs/study.yaml"];

    /// One image, and one lab after another on it: an image takes a minute to build.
    #[test]
    fn the_study_lab_on_machines_of_an_ordinary_user() {
        let user = User::new();
        user.run(&["image", "build", "debian-12"]).exits(0);
        user.run(&["image", "build", "debian-12"])
            .exits(0)
            .prints("is there already");

        all_checks_hold(&user);
        nothing_is_left_to_do(&user);
        machines_are_reached(&user);
        a_machine_that_is_gone_is_made_anew(&user);
        a_machine_that_reboots_comes_back(&user);
        a_machine_that_dies_during_a_check_is_named(&user);
        down_leaves_the_image_alone(&user);
        a_machine_that_dies_during_up_is_named(&user);
        an_up_that_is_killed_leaves_nothing_after_down(&user);
    }

    fn all_checks_hold(user: &User) {
        let mut up = UP.to_vec();
        up.push("--check");
        user.run(&up)
            .exits(0)
            .prints("lab study is up: 4 nodes")
            .prints("15 checks: 15 passed");
        user.run(&["check", "--twins"]).exits(0);
    }

    fn nothing_is_left_to_do(user: &User) {
        user.run(&UP).exits(0).prints("nothing to do");
        let plan = ["plan", "--provider", "qemu", "labs/study.yaml"];
        user.run(&plan).exits(0).prints("nothing to do");
        user.run(&["status"]).exits(0).prints("k8s-w2");
        user.run(&["up", "--provider", "ssh", "labs/study.yaml"])
            .exits(2)
            .complains("lab study is up on qemu");
    }

    fn machines_are_reached(user: &User) {
        user.run(&["exec", "curl-pod", "--", "curl", "-s", "192.168.10.200"])
            .exits(0)
            .prints("RemoteAddr: 192.168.10.100:");
        user.run(&["exec", "k8s-ctr", "--", "sh", "-c", "exit 7"])
            .exits(7);
        user.run(&["ssh", "k8s-w1", "--", "cat", "/etc/hostname"])
            .exits(0)
            .prints("k8s-w1\n");
        std::fs::write(user.home().join("labs/note"), "carried\n").expect("write a file");
        user.run(&["cp", "labs/note", "k8s-w2:/root/note"]).exits(0);
        user.run(&["exec", "k8s-w2", "--", "cat", "/root/note"])
            .exits(0)
            .prints("carried");
        let config = user.run(&["ssh-config"]).exits(0).stdout;
        std::fs::write(user.home().join("labs/ssh.conf"), config).expect("write a file");
        // OpenSSH itself, as strict as labctl.
        let ssh = user
            .command("ssh")
            .args(["-F", "labs/ssh.conf", "router", "ip", "-br", "addr"])
            .output();
        Ran::from(ssh.expect("ssh starts"))
            .exits(0)
            .prints("10.10.1.200/24");
    }

    fn a_machine_that_is_gone_is_made_anew(user: &User) {
        end(user, "k8s-w2");
        user.run(&["plan", "--provider", "qemu", "labs/study.yaml"])
            .exits(0)
            .prints("k8s-w2 cannot be mended: its virtual machine is gone");
        user.run(&UP).exits(0);
        user.run(&["check", "routing"]).exits(0).prints("6 passed");
    }

    fn a_machine_that_reboots_comes_back(user: &User) {
        let boot = || {
            let id = [
                "exec",
                "router",
                "--",
                "cat",
                "/proc/sys/kernel/random/boot_id",
            ];
            user.run(&id).stdout
        };
        let before = boot();
        // The connection may be gone before the answer.
        let _ = user.run(&["exec", "router", "--", "reboot"]);
        let _ = user.run(&["exec", "k8s-w1", "--", "reboot"]);
        wait_until("the router comes back", PATIENCE, || {
            let now = boot();
            !now.is_empty() && now != before
        });
        // Dummies, routes, the server, the agent and its pods came back by themselves.
        user.run(&["exec", "router", "--", "ip", "-br", "addr"])
            .exits(0)
            .prints("10.10.2.200/24");
        user.run(&UP).exits(0);
        user.run(&["check", "routing"]).exits(0).prints("6 passed");
    }

    fn a_machine_that_dies_during_a_check_is_named(user: &User) {
        let mut check = user.labctl(&["check", "masquerade"]);
        check.stdout(Stdio::piped()).stderr(Stdio::piped());
        let check = check.spawn().expect("labctl starts");
        wait_until("a capture runs", PATIENCE, || {
            let looked = user.run(&["exec", "router", "--", "pgrep", "tcpdump"]);
            looked.exit == 0
        });
        end(user, "router");
        let ended = Ran::from(check.wait_with_output().expect("labctl is ours"));
        ended.exits(1).prints("router");
        user.run(&UP).exits(0);
        user.run(&["check", "routing"]).exits(0).prints("6 passed");
    }

    fn down_leaves_the_image_alone(user: &User) {
        user.run(&["down"]).exits(0).prints("lab study is down");
        assert_eq!(user.left(), Vec::<String>::new());
        user.run(&["image", "list"]).exits(0).prints("debian-12");
    }

    /// One that dies while it goes on from a template is booted instead.
    fn a_machine_that_dies_during_up_is_named(user: &User) {
        let mut up = user.labctl(&UP);
        up.arg("--cold");
        up.stdout(Stdio::piped()).stderr(Stdio::piped());
        let up = up.spawn().expect("labctl starts");
        wait_until("the machine is there", PATIENCE, || {
            user.machine("study", "k8s-w2").is_some()
        });
        end(user, "k8s-w2");
        Ran::from(up.wait_with_output().expect("labctl is ours"))
            .exits(5)
            .complains("k8s-w2");
        assert_eq!(user.left(), Vec::<String>::new(), "up undoes what it did");
    }

    fn an_up_that_is_killed_leaves_nothing_after_down(user: &User) {
        const POINTS: u32 = 15;
        let began = Instant::now();
        user.run(&UP).exits(0);
        let mut whole = began.elapsed();
        user.run(&["down"]).exits(0);
        for point in 0..POINTS {
            while !kill_up_after(user, whole * point / POINTS) {
                user.run(&["down"]).exits(0);
                whole = whole * 19 / 20;
            }
            user.run(&["down", "--lab", "study"]).exits(0);
            assert_eq!(user.left(), Vec::<String>::new(), "point {point}");
        }
        user.run(&UP).exits(0);
    }

    /// Starts `up` and kills it after `delay`. Says whether it was still running.
    fn kill_up_after(user: &User, delay: Duration) -> bool {
        let mut up = user.labctl(&UP);
        up.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut up = up.spawn().expect("labctl starts");
        // The point of the test is the moment itself, so this is no wait for anything.
        std::thread::sleep(delay);
        let running = up.try_wait().expect("labctl is ours").is_none();
        up.kill().expect("labctl is ours");
        up.wait().expect("labctl is ours");
        running
    }

    fn end(user: &User, node: &str) {
        let machine = user.machine("study", node).expect("a machine that runs");
        kill(Pid::from_raw(machine), Signal::SIGKILL).expect("the machine is ours");
    }
}
