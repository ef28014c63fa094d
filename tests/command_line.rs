//! Help, usage errors, completions, man pages.

use crate::lab::run;

#[test]
fn help_names_every_command() {
    let help = run(&["--help"]).exits(0).stdout;
    for command in [
        "validate",
        "plan",
        "up",
        "down",
        "status",
        "inspect",
        "doctor",
        "check",
        "exec",
        "shell",
        "logs",
        "completions",
    ] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command} is not in:\n{help}"
        );
    }
    for hidden in ["node", "app", "probe", "man"] {
        assert!(
            !help.contains(&format!("\n  {hidden} ")),
            "{hidden} shows in:\n{help}"
        );
    }
}

#[test]
fn every_command_has_examples() {
    for command in ["validate", "plan", "up", "down", "status", "check", "exec"] {
        run(&[command, "--help"]).exits(0).prints("Examples:\n  ");
    }
}

#[test]
fn an_unknown_command_is_a_usage_error_with_a_suggestion() {
    run(&["statsu"])
        .exits(2)
        .complains("a similar subcommand exists: 'status'");
}

#[test]
fn a_missing_lab_file_argument_is_a_usage_error() {
    run(&["up"]).exits(2).complains("<FILE>");
}

#[test]
fn completions_come_for_each_shell() {
    for (shell, marker) in [
        ("bash", "_labctl()"),
        ("zsh", "#compdef labctl"),
        ("fish", "complete -c labctl"),
    ] {
        run(&["completions", shell]).exits(0).prints(marker);
    }
}

#[test]
fn man_pages_are_written_for_visible_commands() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(&["man", &folder.path().to_string_lossy()]).exits(0);
    let page = std::fs::read_to_string(folder.path().join("labctl-up.1")).expect("a page");
    assert!(page.contains("Bring a lab up"), "{page}");
    assert!(!folder.path().join("labctl-node.1").exists());
}

mod as_root {
    use crate::lab::run;

    #[test]
    fn a_lab_that_is_not_up_is_a_usage_error_that_says_what_to_do() {
        for command in ["status", "inspect", "check"] {
            run(&[command, "--lab", "nowhere"])
                .exits(2)
                .complains("error: no lab nowhere is up");
        }
    }

    #[test]
    fn down_of_what_is_not_up_is_done_already() {
        run(&["down", "--lab", "nowhere"])
            .exits(0)
            .prints("no lab nowhere is up: nothing to do\n");
    }

    #[test]
    fn doctor_finds_nothing_missing_where_these_tests_run() {
        run(&["doctor"])
            .exits(0)
            .prints("ok        root")
            .prints("ok        eBPF");
        let json = run(&["doctor", "-o", "json"]).exits(0).stdout;
        let needs: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert!(
            needs.as_array().is_some_and(|needs| needs.len() >= 10),
            "{needs}"
        );
    }

    #[test]
    fn doctor_names_a_missing_tool_and_the_command_that_mends_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ran = crate::lab::labctl(&["doctor"])
            .env("PATH", folder.path())
            .output();
        let ran = crate::lab::Ran::from(ran.expect("labctl starts")).exits(4);
        ran.prints("missing   tcpdump")
            .prints("run: apt-get install -y tcpdump");
    }
}
