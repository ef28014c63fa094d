use super::*;

fn source() -> Arc<Source> {
    Source::new(
        "labs/study.yaml",
        "name: study\nnodes:\n  w1: {adress: 10.0.0.1}\n",
    )
}

#[test]
fn renders_place_line_caret_and_help() {
    let text = source();
    let diagnostic = Diagnostic::new(&text, 26..32, "unknown key `adress` in `nodes.w1`")
        .with_suggestion("adress", ["role", "address"], || None);
    assert_eq!(diagnostic.line_column(), (3, 8));
    let expected = "\
error: unknown key `adress` in `nodes.w1`
 --> labs/study.yaml:3:8
  |
3 |   w1: {adress: 10.0.0.1}
  |        ^^^^^^
  |
  = help: did you mean `address`?
";
    assert_eq!(render(&[diagnostic], false), expected);
}

#[test]
fn renders_related_places() {
    let text = Source::new("lab.yaml", "a: 1\nb: 2\na: 3\n");
    let diagnostic = Diagnostic::new(&text, 10..11, "duplicate key `a`")
        .with_label("again here")
        .with_related(0..1, "first here");
    let expected = "\
error: duplicate key `a`
 --> lab.yaml:3:1
  |
1 | a: 1
  | - first here
2 | b: 2
3 | a: 3
  | ^ again here
";
    assert_eq!(render(&[diagnostic], false), expected);
}

#[test]
fn colors_only_when_asked() {
    let diagnostic = Diagnostic::new(&source(), 0..4, "wrong");
    assert!(render(std::slice::from_ref(&diagnostic), true).contains("\u{1b}["));
    assert!(!render(&[diagnostic], false).contains('\u{1b}'));
}

#[test]
fn a_span_outside_the_text_is_clamped() {
    let text = Source::new("lab.yaml", "ö");
    for span in [1..2, 0..1, 5..9, 0..usize::MAX] {
        let rendered = render(&[Diagnostic::new(&text, span, "wrong")], false);
        assert!(rendered.contains("lab.yaml:1:"), "{rendered}");
    }
}

#[test]
fn columns_count_characters() {
    let text = Source::new("lab.yaml", "네트워크: x\n");
    assert_eq!(text.line_column("네트워크: ".len()), (1, 7));
}

#[test]
fn faults_come_in_the_order_of_the_text() {
    let text = source();
    let mut faults = Diagnostics::new();
    faults.push(Diagnostic::new(&text, 20..21, "second"));
    faults.push(Diagnostic::new(&text, 0..1, "first"));
    let faults = faults.or(()).unwrap_err();
    let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(messages, ["first", "second"]);
}
