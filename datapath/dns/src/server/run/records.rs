//! The cluster's records: a file that is replaced as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::kubernetes::{Records, Store};
use crate::log::Output;

/// How often the file is looked at. A look is one `stat`; inotify would save it, but a user has 128
/// instances (`fs.inotify.max_user_instances`), and a lab may have a thousand nodes.
const INTERVAL: Duration = Duration::from_millis(100);

/// What a file is told by: replaced, it is another inode.
type Version = (u64, u64, Option<SystemTime>);

/// Reads the file, and again whenever it is replaced.
pub(super) async fn follow(path: Option<PathBuf>, store: Store, output: &Arc<Output>) {
    let Some(path) = path else {
        return;
    };
    let mut seen = None;
    read(&path, &mut seen, &store, output);
    let output = Arc::clone(output);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            read(&path, &mut seen, &store, &output);
        }
    });
}

fn read(path: &Path, seen: &mut Option<Version>, store: &Store, output: &Output) {
    let now = version(path);
    if now == *seen || now.is_none() {
        return;
    }
    *seen = now;
    let records: Result<Records, String> = std::fs::read(path)
        .map_err(|error| error.to_string())
        .and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    match records {
        Ok(records) => store.replace(records),
        Err(error) => output.error(&format!(
            "plugin/kubernetes: cannot read {}: {error}; the records before stay",
            path.display()
        )),
    }
}

fn version(path: &Path) -> Option<Version> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.modified().ok()))
}
