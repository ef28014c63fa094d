//! SIGINT: the first one cleans up.

mod as_root {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use crate::host::{left_of, processes_of};
    use crate::lab::{Lab, Ran};

    fn start(args: &[&str]) -> Child {
        Command::new(assert_cmd::cargo::cargo_bin!("labctl"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("labctl starts")
    }

    fn interrupt(labctl: Child) -> Ran {
        let pid = Pid::from_raw(i32::try_from(labctl.id()).expect("a process id"));
        kill(pid, Signal::SIGINT).expect("labctl is ours");
        Ran::from(labctl.wait_with_output().expect("labctl is ours"))
    }

    #[test]
    fn an_interrupted_up_undoes_what_it_did() {
        let lab = Lab::study();
        let began = Instant::now();
        lab.up();
        let whole = began.elapsed();
        lab.run("down", &[]).exits(0);
        for part in 0..10 {
            let file = lab.file.to_string_lossy();
            let up = start(&["up", &file, "--name", &lab.name]);
            // The moment itself is what is tested, so this waits for nothing.
            std::thread::sleep(whole * part / 10);
            let ran = interrupt(up);
            if ran.exit == 0 {
                lab.run("down", &[]).exits(0);
            } else {
                // Before labctl listens for it, SIGINT ends it like any process: 130 too.
                ran.exits(130);
            }
            assert_eq!(
                left_of(&lab.name),
                Vec::<String>::new(),
                "after part {part}"
            );
        }
    }

    #[test]
    fn an_interrupted_check_takes_its_changes_back() {
        let lab = Lab::study();
        lab.up();
        let idle: Vec<_> = processes_of(&lab.name).collect();
        let runs_more = || processes_of(&lab.name).any(|process| !idle.contains(&process));
        let check = start(&["check", "masquerade", "--twins", "--lab", &lab.name]);
        wait_until(runs_more);
        interrupt(check)
            .exits(130)
            .prints("not run")
            .complains("interrupted");
        lab.with_file("plan", &["--detailed-exitcode"]).exits(0);
        assert!(!runs_more(), "captures run on");
    }

    /// Killed as soon as it starts something, and when it pings: captures run then.
    #[test]
    fn a_killed_check_leaves_nothing_running_and_up_mends_the_rest() {
        let lab = Lab::study();
        for moment in [|_: &str| true, is_ping] {
            lab.up();
            let idle: Vec<_> = processes_of(&lab.name).collect();
            let more =
                || processes_of(&lab.name).filter(|process: &String| !idle.contains(process));
            let mut check = start(&["check", "masquerade", "--twins", "--lab", &lab.name]);
            wait_until(|| more().any(|process| moment(&process)));
            check.kill().expect("labctl is ours");
            check.wait().expect("labctl is ours");
            wait_until(|| more().next().is_none());
        }
        lab.up();
        lab.with_file("plan", &["--detailed-exitcode"]).exits(0);
    }

    fn is_ping(process: &str) -> bool {
        let id = process.trim_start_matches("process ");
        let name = std::fs::read_to_string(format!("/proc/{id}/comm"));
        name.is_ok_and(|name| name.trim() == "ping")
    }

    #[track_caller]
    fn wait_until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(Instant::now() < deadline, "nothing came of it in a minute");
            std::thread::yield_now();
        }
    }
}
