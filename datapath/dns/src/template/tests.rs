//! Templates out of Corefiles, as the plugin's README has them.

use super::*;
use crate::corefile::{Pillars, parse};
use crate::plugin::asking::ask;

fn plugins(corefile: &str) -> Plugins {
    let config = parse("Corefile".as_ref(), corefile, &Pillars::default()).unwrap();
    let block = &config.blocks[0];
    let zones: Vec<_> = block.keys.iter().map(|key| key.zone.clone()).collect();
    Plugins::new(&block.templates, &zones).unwrap()
}

#[test]
fn names_that_say_their_address() {
    let plugins = plugins(
        r#"example {
            template IN A {
                match ^ip-(?P<a>[0-9]+)-([0-9]+)-0-(?P<d>[0-9]+)\.example\.$
                match ^ten\.
                answer "{{ .Name }} 60 IN A {{ .Group.a }}.{{ index .Match 2 }}.{{index .Match 2}}.{{ index .Group `d` }}"
                additional "note.{{ .Zone }} 0 {{ .Class }} TXT \"{{ .Type }} of {{ .Group.0 }}\""
                fallthrough
            }
            template ANY ANY {
                rcode NXDOMAIN
                authority "example 60 IN SOA ns.example. admin.example. 1 2 3 4 5"
            }
            template IN TXT {
                answer "unreached 60 TXT a"
            }
        }"#,
    );
    assert_eq!(
        ask(&plugins, "IP-10-9-0-7.example.", "A"),
        "NOERROR qr,aa,rd\nip-10-9-0-7.example. 60 A 10.9.9.7\nadd note.example. 0 TXT \"A of ip-10-9-0-7.example.\""
    );
    let denied = "NXDOMAIN qr,aa,rd\nauth example. 60 SOA ns.example. admin.example. 1 2 3 4 5";
    assert_eq!(ask(&plugins, "other.example.", "A"), denied);
    assert_eq!(ask(&plugins, "other.example.", "TXT"), denied);
    assert_eq!(ask(&plugins, "example.org.", "A"), "next");
    // The second `match` has no such groups: what comes out is no address.
    let failed = ask(&plugins, "ten.example.", "A");
    assert!(
        failed.starts_with("failed plugin/template: ten.example. 60 IN A ...: "),
        "{failed}"
    );
}

#[test]
fn a_name_that_does_not_fit_is_the_next_plugins() {
    let plugins = plugins(
        ". {\n template IN A {\n match ^a\\.\n answer \"{{ .Name }} A 192.0.2.1\"\n}\n template IN A {\n rcode REFUSED\n}\n}",
    );
    assert_eq!(ask(&plugins, "b.", "A"), "next");
    assert_eq!(
        ask(&plugins, "a.", "A"),
        "NOERROR qr,aa,rd\na. 3600 A 192.0.2.1"
    );
    assert_eq!(ask(&plugins, "a.", "AAAA"), "next");
}

#[test]
fn a_name_cannot_make_records_of_its_own() {
    let plugins = plugins(". {\n template IN A {\n answer \"{{ .Name }} 60 A 192.0.2.1\"\n}\n}");
    // A line's end, a quote, a space and a bracket in a name are escaped.
    let answer = ask(&plugins, "a\\010b\\\"c\\032d\\(.example.", "A");
    assert_eq!(answer.lines().count(), 2, "{answer}");
    assert!(answer.ends_with(" 60 A 192.0.2.1"), "{answer}");
}

#[test]
fn what_labctl_cannot_fill_is_told_with_its_line() {
    for (line, expected) in [
        (
            "answer \"{{ .Message }} 60 A 1.2.3.4\"",
            "Corefile:3: labctl cannot fill `{{ .Message }}`; it has .Name, .Zone",
        ),
        (
            "answer \"{{ if .Name }}a{{ end }}\"",
            "Corefile:3: labctl cannot fill `{{ if .Name }}`",
        ),
        ("answer \"{{ .Name \"", "Corefile:3: `{{` isn't closed"),
        (
            "answer \"{{ .Group.x }} A 1.2.3.4\"",
            "Corefile:3: no `match` has a group `x`",
        ),
        (
            "match ^(a",
            "Corefile:3: `^(a` is no regular expression: unclosed group",
        ),
    ] {
        let text = format!(". {{\n template IN A {{\n {line}\n answer \"a A 192.0.2.1\"\n}}\n}}");
        let error = parse("Corefile".as_ref(), &text, &Pillars::default()).map(|_| ());
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
