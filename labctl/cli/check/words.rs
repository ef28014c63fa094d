//! What tcpdump says on standard error: that it listens, its counts, its complaints.

/// tcpdump's own count of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Packets written to the file.
    pub(super) captured: u64,
    /// Packets that the kernel took for it, the dropped ones too.
    pub(super) received: u64,
    /// Packets that the kernel had no room for.
    pub(super) dropped: u64,
}

/// What tcpdump has said on standard error.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Whether every packet from now on is captured.
    pub(super) listening: bool,
    /// Whether it has closed standard error, which it does at its end.
    pub(super) ended: bool,
    /// Complete answers so far.
    pub(super) answers: u64,
    /// The latest of them.
    pub(super) counts: Option<Counts>,
    /// The answer that is coming in: at its end tcpdump writes a line per count.
    partial: Counts,
    heard: Vec<String>,
}

impl Words {
    /// Takes in one line.
    pub(super) fn hear(&mut self, line: &str) {
        let line = line.strip_prefix("tcpdump: ").unwrap_or(line);
        self.listening |= line.starts_with("listening on ");
        for part in line.split(", ") {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse() else { continue };
            match what.split_once(' ') {
                Some((_, "captured")) => self.partial.captured = number,
                Some((_, "received by filter")) => self.partial.received = number,
                Some((_, "dropped by kernel")) => {
                    self.partial.dropped = number;
                    self.counts = Some(self.partial);
                    self.answers += 1;
                }
                _ => {}
            }
        }
        self.heard.push(line.to_owned());
    }

    /// Its first complaint.
    pub(super) fn complaint(&self) -> String {
        let complaint = self
            .heard
            .iter()
            .find(|line| !line.starts_with("listening on "));
        complaint
            .cloned()
            .unwrap_or_else(|| "tcpdump ended without a word".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Words {
        let mut words = Words::default();
        lines.iter().for_each(|line| words.hear(line));
        words
    }

    #[test]
    fn counts_are_read_from_an_answer_and_from_the_end() {
        let counts = Some(Counts {
            captured: 1,
            received: 12,
            dropped: 3,
        });
        let answer = heard(&[
            "tcpdump: listening on lo, link-type EN10MB (Ethernet), snapshot length 262144 bytes",
            "tcpdump: 1 packet captured, 12 packets received by filter, 3 packets dropped by kernel",
        ]);
        assert!(answer.listening);
        assert_eq!((answer.counts, answer.answers), (counts, 1));
        let end = heard(&[
            "1 packet captured",
            "12 packets received by filter",
            "3 packets dropped by kernel",
        ]);
        assert_eq!((end.counts, end.answers), (counts, 1));
    }

    #[test]
    fn a_complaint_is_passed_on() {
        let words = heard(&[
            "tcpdump: nope: No such device exists",
            "(No such device exists)",
        ]);
        assert_eq!(words.complaint(), "nope: No such device exists");
    }
}
