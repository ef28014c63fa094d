//! The `errors` plugin: a line for each query that failed, or with `consolidate` one for many.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use domain::base::iana::Rcode;
use regex::Regex;

use crate::config::{self, Level};
use crate::log::{Output, failure};
use crate::message::Query;

/// The plugin of a server block.
pub(crate) struct Errors {
    patterns: Vec<Arc<Pattern>>,
    output: Arc<Output>,
    runtime: tokio::runtime::Handle,
}

/// Errors that are counted rather than told, for a while from the first on.
struct Pattern {
    expression: Regex,
    period: Duration,
    level: Level,
    count: AtomicU32,
    output: Arc<Output>,
}

impl Errors {
    /// As configured: lines go to `output`, and periods end on `runtime`.
    ///
    /// # Errors
    /// An expression that cannot be used; a Corefile that was read has none such.
    pub(crate) fn new(
        settings: &config::Errors,
        output: &Arc<Output>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, regex::Error> {
        let pattern = |it: &config::Consolidate| {
            Ok(Arc::new(Pattern {
                expression: Regex::new(&it.pattern)?,
                period: it.period,
                level: it.level,
                count: AtomicU32::new(0),
                output: Arc::clone(output),
            }))
        };
        Ok(Self {
            patterns: settings
                .consolidate
                .iter()
                .map(pattern)
                .collect::<Result<_, _>>()?,
            output: Arc::clone(output),
            runtime: runtime.clone(),
        })
    }

    /// Tells or counts that `query` failed: the first expression that fits has it.
    pub(crate) fn failed(&self, query: &Query<'_>, rcode: Rcode, error: &str) {
        let fits = |it: &&Arc<Pattern>| it.expression.is_match(error);
        let Some(pattern) = self.patterns.iter().find(fits) else {
            let line = failure(rcode, query, error) + "\n";
            self.output.print(line.as_bytes());
            return;
        };
        if pattern.count.fetch_add(1, Relaxed) == 0 {
            self.runtime
                .spawn(after(pattern.period, Arc::downgrade(pattern)));
        }
    }
}

/// Tells what came during the period, unless that was told for the end of the block.
async fn after(period: Duration, pattern: Weak<Pattern>) {
    tokio::time::sleep(period).await;
    if let Some(pattern) = pattern.upgrade() {
        pattern.tell();
    }
}

impl Pattern {
    fn tell(&self) {
        let count = self.count.swap(0, Relaxed);
        let level = match self.level {
            // CoreDNS prints them with its plugin `debug` alone.
            Level::Debug => return,
            Level::Info => "INFO",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
        };
        if count > 0 {
            let (expression, period) = (&self.expression, go_text(self.period));
            let line = format!(
                "[{level}] plugin/errors: {count} errors like '{expression}' occurred in last {period}\n"
            );
            self.output.print(line.as_bytes());
        }
    }
}

/// A block that ends (reload, the server's end) does not keep what it counted to itself.
impl Drop for Pattern {
    fn drop(&mut self) {
        self.tell();
    }
}

/// A duration as Go prints it: `5m0s`, `1h0m0s`, `1.5s`, `100ms`.
fn go_text(duration: Duration) -> String {
    let (whole, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let fraction = |whole: u64, rest: u32, digits: usize| match rest {
        0 => whole.to_string(),
        _ => format!(
            "{whole}.{}",
            format!("{rest:0digits$}").trim_end_matches('0')
        ),
    };
    if whole == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1_000_000.. => fraction((nanos / 1_000_000).into(), nanos % 1_000_000, 6) + "ms",
            1_000.. => fraction((nanos / 1_000).into(), nanos % 1_000, 3) + "µs",
            _ => format!("{nanos}ns"),
        };
    }
    let (hours, minutes) = (whole / 3600, whole / 60 % 60);
    let seconds = fraction(whole % 60, nanos, 9) + "s";
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;
    use crate::config::Consolidate;
    use crate::plugin::asking::query;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        /// What was printed since the last look.
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    fn errors(lines: &Lines, consolidate: &[(u64, &str, Level)]) -> Errors {
        let consolidate = consolidate
            .iter()
            .map(|(seconds, pattern, level)| Consolidate {
                period: Duration::from_secs(*seconds),
                pattern: (*pattern).to_owned(),
                level: *level,
            });
        let settings = config::Errors {
            consolidate: consolidate.collect(),
        };
        let output = Arc::new(Output::new(lines.clone()));
        Errors::new(&settings, &output, &tokio::runtime::Handle::current()).unwrap()
    }

    fn fail(errors: &Errors, error: &str) {
        let asked = query("a.", "A");
        errors.failed(&Query::read(&asked).unwrap(), Rcode::SERVFAIL, error);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_that_fit_are_told_together() {
        let lines = Lines::default();
        let timeout = ("^read udp .* i/o timeout$", Level::Error);
        let errors = errors(
            &lines,
            &[
                (30, timeout.0, timeout.1),
                (300, "refused", Level::Warning),
                (30, "x", Level::Debug),
            ],
        );
        for error in [
            "read udp 1: i/o timeout",
            "read udp 2: i/o timeout",
            "refused",
            "x",
            "other",
        ] {
            fail(&errors, error);
        }
        assert_eq!(lines.take(), "[ERROR] plugin/errors: 2 a. A: other\n");
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert_eq!(lines.take(), "");
        fail(&errors, "read udp 3: i/o timeout");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let told = "[ERROR] plugin/errors: 3 errors like '^read udp .* i/o timeout$' occurred in last 30s\n";
        assert_eq!(lines.take(), told);
        // Nothing came since: the next period begins with the next error.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(lines.take(), "");
        drop(errors);
        let told = "[WARNING] plugin/errors: 1 errors like 'refused' occurred in last 5m0s\n";
        assert_eq!(lines.take(), told);
    }

    #[test]
    fn durations_are_gos() {
        for (nanos, text) in [
            (0, "0s"),
            (15, "15ns"),
            (1_500, "1.5µs"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (30_000_000_000, "30s"),
            (300_000_000_000, "5m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (5_400_250_000_000, "1h30m0.25s"),
        ] {
            assert_eq!(go_text(Duration::from_nanos(nanos)), text);
        }
    }
}
