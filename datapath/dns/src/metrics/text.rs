//! Prometheus' text format 0.0.4, written as Go's client writes it: families and
//! their lines sorted, numbers as `%g`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::histogram::Snapshot;

/// Type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric family: its name, what it is, and what is said of it.
pub(super) type Family = (&'static str, Kind, &'static str);

/// Labels in alphabetical order.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page of metrics in the making. Families without a line are left out.
#[derive(Debug, Default)]
pub(super) struct Text {
    families: BTreeMap<&'static str, (Kind, &'static str, BTreeMap<String, String>)>,
}

impl Text {
    pub(super) fn value(&mut self, family: Family, labels: Labels<'_>, value: f64) {
        let braced = braced(labels, None);
        let line = format!("{}{braced} {}\n", family.0, number(value));
        self.add(family, braced, line);
    }

    /// As [`Self::value`], once there is something to count: Go's client makes a
    /// counter with labels when it is first used.
    pub(super) fn count(&mut self, family: Family, labels: Labels<'_>, count: u64) {
        if count > 0 {
            self.value(family, labels, count as f64);
        }
    }

    /// A histogram with anything in it. Bounds and sum are divided by `unit`.
    pub(super) fn histogram<const N: usize>(
        &mut self,
        family: Family,
        labels: Labels<'_>,
        (bounds, unit): (&[u64; N], f64),
        snapshot: &Snapshot<N>,
    ) {
        let total = snapshot.total();
        let name = family.0;
        let mut lines = String::new();
        let mut below = 0;
        for (bound, count) in bounds.iter().zip(snapshot.at_most) {
            below += count;
            let bound = number(*bound as f64 / unit);
            push(
                &mut lines,
                &format!(
                    "{name}_bucket{} {}",
                    braced(labels, Some(&bound)),
                    number(below as f64)
                ),
            );
        }
        let infinite = braced(labels, Some("+Inf"));
        push(
            &mut lines,
            &format!("{name}_bucket{infinite} {}", number(total as f64)),
        );
        let plain = braced(labels, None);
        push(
            &mut lines,
            &format!("{name}_sum{plain} {}", number(snapshot.sum as f64 / unit)),
        );
        push(
            &mut lines,
            &format!("{name}_count{plain} {}", number(total as f64)),
        );
        self.add(family, plain, lines);
    }

    fn add(&mut self, (name, kind, help): Family, key: String, lines: String) {
        let family = self.families.entry(name);
        let (_, _, all) = family.or_insert_with(|| (kind, help, BTreeMap::new()));
        all.insert(key, lines);
    }

    pub(super) fn finish(self) -> String {
        let mut page = String::new();
        for (name, (kind, help, lines)) in self.families {
            push(&mut page, &format!("# HELP {name} {}", escape(help, false)));
            push(&mut page, &format!("# TYPE {name} {}", kind.as_str()));
            page.extend(lines.into_values());
        }
        page
    }
}

fn push(page: &mut String, line: &str) {
    page.push_str(line);
    page.push('\n');
}

fn braced(labels: Labels<'_>, le: Option<&str>) -> String {
    debug_assert!(
        labels.is_sorted(),
        "labels are written in alphabetical order"
    );
    let all = labels.iter().copied().chain(le.map(|bound| ("le", bound)));
    let pairs: Vec<_> = all
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value, true)))
        .collect();
    match pairs.is_empty() {
        true => String::new(),
        false => format!("{{{}}}", pairs.join(",")),
    }
}

fn escape(text: &str, quoted: bool) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\n', "\\n");
    match quoted {
        true => escaped.replace('"', "\\\""),
        false => escaped,
    }
}

/// A number as Go's `strconv.FormatFloat(value, 'g', -1, 64)` has it.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponential = format!("{value:e}");
    let Some((mantissa, exponent)) = exponential.split_once('e') else {
        return exponential;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // With the shortest digits, Go goes by a precision of 6 (`strconv.formatDigits`).
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let mut text = String::new();
    let written = write!(text, "{mantissa}e{sign}{:02}", exponent.abs());
    debug_assert!(written.is_ok(), "a String takes everything");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_gos() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (3170.0, "3170"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (0.000_25, "0.00025"),
            (0.000_025, "2.5e-05"),
            (8.192, "8.192"),
            (1.753_885_699_37e9, "1.75388569937e+09"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn labels_are_escaped_and_histograms_add_up() {
        let mut text = Text::default();
        text.value(("a", Kind::Gauge, "say \\ \"it\""), &[("b", "\\\"\n")], 2.0);
        let snapshot = Snapshot {
            at_most: [1, 0, 2],
            above: 1,
            sum: 5000,
        };
        text.histogram(
            ("h", Kind::Histogram, "x"),
            &[],
            (&[1, 2, 500], 1000.0),
            &snapshot,
        );
        let expected = "# HELP a say \\\\ \"it\"\n# TYPE a gauge\na{b=\"\\\\\\\"\\n\"} 2\n\
            # HELP h x\n# TYPE h histogram\nh_bucket{le=\"0.001\"} 1\nh_bucket{le=\"0.002\"} 1\n\
            h_bucket{le=\"0.5\"} 3\nh_bucket{le=\"+Inf\"} 4\nh_sum 5\nh_count 4\n";
        assert_eq!(text.finish(), expected);
    }
}
