//! Argument vectors as one command line for a POSIX shell.
//!
//! An SSH `exec` request carries one string, which the server gives to the user's login shell
//! (RFC 4254 §6.5). So that arguments arrive as they were, each is quoted.

/// `argv` as a command line that a POSIX shell splits into exactly these arguments.
///
/// A NUL can't be in an argument of a process; it ends the argument here as it would there.
pub fn command_line<S: AsRef<str>>(argv: &[S]) -> String {
    let words: Vec<String> = argv.iter().map(|word| quoted(word.as_ref())).collect();
    words.join(" ")
}

/// One word, quoted when a shell would read it as anything but itself.
pub fn quoted(word: &str) -> String {
    let word = word.split('\0').next().unwrap_or_default();
    // '=' would make an assignment of the first word, '~' is expanded at a word's start.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    // Within single quotes nothing but the quote itself has a meaning (POSIX, "2.2.2").
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What the real `sh` makes of a command line that prints its arguments, NUL-ended.
    fn split_by_sh(line: &str) -> Vec<String> {
        let script = format!("printf '%s\\0' {line}");
        let output = Command::new("sh")
            .args(["-c", &script])
            .output()
            .expect("sh is there");
        assert!(output.status.success(), "{script}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("the words were UTF-8");
        let mut words: Vec<String> = text.split('\0').map(str::to_owned).collect();
        assert_eq!(words.pop().as_deref(), Some(""));
        words
    }

    #[test]
    fn plain_words_stay_readable() {
        let argv = ["ip", "-br", "addr", "show", "dev", "eth0"];
        assert_eq!(command_line(&argv), "ip -br addr show dev eth0");
    }

    #[test]
    fn what_a_shell_would_read_is_quoted() {
        let argv = ["A=1", "it's", "", "$(id)", "~root", "a\nb", "*"];
        assert_eq!(
            command_line(&argv),
            r#"'A=1' 'it'\''s' '' '$(id)' '~root' 'a
b' '*'"#
        );
        assert_eq!(split_by_sh(&command_line(&argv)), argv);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn sh_gets_the_words_back(argv in prop::collection::vec("[^\\x00]{0,12}", 1..6)) {
            prop_assert_eq!(split_by_sh(&command_line(&argv)), argv);
        }
    }
}
