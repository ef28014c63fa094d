//! What libtest prints: counted while it passes, the failures kept to be told again.

/// Tests that need root have this in their path (`mod as_root`). Without root they
/// fail, so nothing is skipped in silence.
const NEEDS_ROOT: &str = "as_root::";

/// Lines kept of what one failed test printed: its first are the build-up, its last the panic.
const KEPT_LINES: usize = 60;

/// What libtest said of its tests.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) passed_as_root: usize,
    pub(crate) ignored: usize,
    /// Names, in the order in which they failed.
    pub(crate) failed: Vec<String>,
    outputs: Vec<Output>,
    /// Between a binary's `failures:` with outputs and its `failures:` with names.
    in_outputs: bool,
}

/// What a failed test printed.
#[derive(Default, Debug, PartialEq, Eq)]
struct Output {
    test: String,
    lines: Vec<String>,
}

impl Tally {
    /// Takes one line of libtest's output: `test path::name ... ok`, or of what failed
    /// tests printed, which follows all of a binary's tests.
    pub(crate) fn count(&mut self, line: &str) {
        if line == "failures:" {
            // Comes twice: before the outputs and before the names.
            self.in_outputs = !self.in_outputs;
        } else if self.in_outputs {
            self.keep(line);
        } else if let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.rsplit_once(" ... "))
        {
            self.result(name, result);
        }
    }

    fn result(&mut self, name: &str, result: &str) {
        match result {
            "ok" => {
                self.passed += 1;
                self.passed_as_root += usize::from(name.contains(NEEDS_ROOT));
            }
            "FAILED" => self.failed.push(name.to_owned()),
            _ if result.starts_with("ignored") => self.ignored += 1,
            _ => {}
        }
    }

    fn keep(&mut self, line: &str) {
        let header = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"));
        if let Some(test) = header {
            self.outputs.push(Output {
                test: test.to_owned(),
                lines: Vec::new(),
            });
        } else if let Some(output) = self.outputs.last_mut() {
            output.lines.push(line.to_owned());
        }
    }

    /// The failed tests and the last of what each printed; empty when none failed.
    pub(crate) fn failures(&self) -> String {
        let mut text = String::new();
        for test in &self.failed {
            text.push_str(&format!("failed: {test}\n"));
            let output = self.outputs.iter().find(|output| output.test == *test);
            let lines = output.map_or(&[][..], |output| &output.lines);
            for line in &lines[lines.len().saturating_sub(KEPT_LINES)..] {
                text.push_str(&format!("    {line}\n"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &str) -> Tally {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.count(line));
        tally
    }

    /// As cargo prints two binaries, the first with a failure.
    const PRINTED: &str = "
running 4 tests
test up::as_root::second_up_plans_nothing ... ok
test filter::tests::cidr ... ok
test filter::tests::range ... FAILED
test filter::tests::slow ... ignored, needs a day

failures:

---- filter::tests::range stdout ----

thread 'filter::tests::range' panicked at filter.rs:3:9:
test of the range ... ok


failures:
    filter::tests::range

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out

running 1 test
test plan::tests::empty ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out
";

    #[test]
    fn counts_what_libtest_prints() {
        let tally = tally(PRINTED);
        assert_eq!(
            (tally.passed, tally.passed_as_root, tally.ignored),
            (3, 1, 1)
        );
        assert_eq!(tally.failed, ["filter::tests::range"]);
    }

    #[test]
    fn tells_failures_again_with_what_they_printed() {
        assert_eq!(
            tally(PRINTED).failures(),
            "failed: filter::tests::range\n    \n    \
             thread 'filter::tests::range' panicked at filter.rs:3:9:\n    \
             test of the range ... ok\n    \n    \n"
        );
    }

    #[test]
    fn of_long_outputs_the_end_is_told() {
        let mut text = "test a ... FAILED\nfailures:\n---- a stdout ----\n".to_owned();
        text.extend((0..100).map(|number| format!("line {number}\n")));
        let failures = tally(&text).failures();
        assert!(!failures.contains("line 39\n"), "{failures}");
        assert!(failures.contains("line 40\n") && failures.ends_with("line 99\n"));
    }
}
