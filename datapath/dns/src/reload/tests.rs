//! A Corefile that changes.

use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Printed {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Printed {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_comes_and_a_broken_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("Corefile");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write(". {\n reload 10s 5s\n errors\n}\n");
    let config = load(&file, &Pillars::default()).unwrap();
    let mut watcher = Watcher::new(&config, Pillars::default());
    let (printed, registry) = (Printed::default(), Registry::new("test"));
    let output = Output::new(printed.clone());
    let soon = Duration::from_secs(16);

    let unchanged = tokio::time::timeout(soon, watcher.changed(&output, &registry)).await;
    assert!(unchanged.is_err());
    write(". {\n reload 10s 5s\n nonsense\n}\n");
    for _ in 0..3 {
        let broken = tokio::time::timeout(soon, watcher.changed(&output, &registry)).await;
        assert!(broken.is_err());
    }
    let lines = printed.take();
    assert_eq!(lines.lines().count(), 1, "told once: {lines}");
    let expected = format!(
        "[ERROR] plugin/reload: Corefile changed but reload failed: {}:3: unknown plugin `nonsense`",
        file.display()
    );
    assert!(lines.starts_with(&expected), "{lines}");
    assert!(
        registry
            .render()
            .contains("\ncoredns_reload_failed_total 1\n")
    );

    write(". {\n log\n}\n");
    let changed = tokio::time::timeout(soon, watcher.changed(&output, &registry)).await;
    assert!(changed.unwrap().blocks[0].log.is_some());
    // `reload` went with the change; SIGHUP still works.
    write(". {\n errors\n}\n");
    let never = tokio::time::timeout(soon * 100, watcher.changed(&output, &registry)).await;
    assert!(never.is_err());
    assert!(
        watcher.check(&output, &registry).unwrap().blocks[0]
            .errors
            .is_some()
    );
    assert!(watcher.check(&output, &registry).is_none());
}

#[test]
fn waits_are_around_the_interval() {
    let settings = Reload {
        interval: Duration::from_secs(30),
        jitter: Duration::from_secs(15),
    };
    assert_eq!(wait(settings, 0.0), Duration::from_secs(15));
    assert_eq!(wait(settings, 0.5), Duration::from_secs(30));
    assert_eq!(wait(settings, 1.0), Duration::from_secs(45));
}
