//! `up` ended by SIGKILL, at 50 points spread over its run.

mod as_root {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use crate::host::{Host, left_of};
    use crate::lab::Lab;

    /// Points over the run of `up`.
    const POINTS: u32 = 50;
    /// Labs that share the points: a check mostly waits.
    const LABS: u32 = 3;

    /// How long an undisturbed `up` takes here and now.
    fn duration_of_up(lab: &Lab) -> Duration {
        let began = Instant::now();
        lab.up();
        let took = began.elapsed();
        lab.run("down", &[]).exits(0);
        took
    }

    /// Starts `up` and kills it after `delay`. Says whether it was still running.
    fn kill_up_after(lab: &Lab, delay: Duration) -> bool {
        let mut up = Command::new(assert_cmd::cargo::cargo_bin!("labctl"))
            .arg("up")
            .arg(&lab.file)
            .args(["--name", &lab.name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("labctl starts");
        // The point of the test is the moment itself, so this is no wait for anything.
        std::thread::sleep(delay);
        let running = up.try_wait().expect("labctl is ours").is_none();
        up.kill().expect("labctl is ours");
        up.wait().expect("labctl is ours");
        running
    }

    /// Kills one `up` after another, each a fiftieth of its run later. A machine
    /// that has become faster ends an `up` before its kill: the point is tried
    /// again on a shorter scale, so that every point counted is a kill.
    fn over_points(points: impl Iterator<Item = u32>, lab: &Lab, mut after: impl FnMut(u32)) {
        let mut whole = duration_of_up(lab);
        for point in points {
            let mut tries = 0;
            while !kill_up_after(lab, whole * point / POINTS) {
                tries += 1;
                assert!(
                    tries < 40,
                    "point {point}: `up` ends before {whole:?} * {point}/{POINTS}"
                );
                lab.run("down", &[]).exits(0);
                whole = whole * 19 / 20;
            }
            after(point);
        }
    }

    #[test]
    fn the_next_up_ends_with_all_checks_green() {
        std::thread::scope(|scope| {
            for first in 0..LABS {
                scope.spawn(move || {
                    let lab = Lab::study();
                    over_points((first..POINTS).step_by(LABS as usize), &lab, |point| {
                        let up = lab.with_file("up", &["--check"]);
                        assert_eq!(up.exit, 0, "point {point}:\n{}\n{}", up.stdout, up.stderr);
                        lab.run("down", &[]).exits(0);
                    });
                });
            }
        });
    }

    #[test]
    fn the_next_down_alone_leaves_nothing() {
        let before = Host::now();
        let lab = Lab::study();
        over_points(0..POINTS, &lab, |point| {
            lab.run("down", &[]).exits(0);
            assert_eq!(left_of(&lab.name), Vec::<String>::new(), "point {point}");
        });
        assert_eq!(Host::now(), before);
    }
}
