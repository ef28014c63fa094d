//! Files of names for the load generators, and the upstream's zone with them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

const ZONE: &str = "bench.";
const FEW: usize = 1000;
const MANY: usize = 10_000;
/// Enough for the fastest server during one load.
const UNKNOWN: usize = 2_000_000;

/// Files with a `NAME TYPE` a line.
pub(super) struct Names {
    /// 1000 names.
    pub(super) few: PathBuf,
    /// 10 000 names, those among them.
    pub(super) many: PathBuf,
    /// Names that are asked for once.
    pub(super) unknown: PathBuf,
}

impl Names {
    /// Writes them into `folder`, and the zone as `zone` beside them.
    pub(super) fn write(folder: &Path) -> Result<Self> {
        let lines = |prefix: &str, count: usize| -> String {
            (0..count).fold(String::new(), |mut text, number| {
                // Writing into a string does not fail.
                let _ = writeln!(text, "{prefix}{number}.{ZONE} A");
                text
            })
        };
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            Ok(path)
        };
        let mut zone = format!(
            "$ORIGIN {ZONE}\n$TTL 3600\n@ SOA ns hostmaster 1 7200 1800 86400 300\n@ NS ns\nns A 192.0.2.1\n*.once A 198.51.100.1\n"
        );
        for number in 0..MANY {
            let (high, low) = (number / 250, number % 250);
            let _ = writeln!(zone, "n{number} A 198.18.{high}.{low}");
        }
        write("zone", zone)?;
        Ok(Self {
            few: write("few", lines("n", FEW))?,
            many: write("many", lines("n", MANY))?,
            unknown: write(
                "unknown",
                (0..UNKNOWN).fold(String::new(), |mut text, number| {
                    let _ = writeln!(text, "m{number}.once.{ZONE} A");
                    text
                }),
            )?,
        })
    }
}
