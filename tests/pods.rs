//! Pods that send and answer what `tests/traffic` says.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::lab::Lab;

/// The program of `tests/traffic`, which cargo builds beside the tests.
pub(crate) fn traffic() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("a folder above deps");
    profile.join("examples/traffic")
}

/// A manifest of idle pods, each bound to a node.
pub(crate) fn manifest<'a>(pods: impl IntoIterator<Item = (String, &'a str)>) -> String {
    let mut manifest = String::new();
    for (pod, node) in pods {
        writeln!(
            manifest,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, labels: {{app: {pod}}}}}\n\
             spec:\n  nodeName: {node}\n  containers:\n  \
             - {{name: netshoot, image: nicolaka/netshoot}}"
        )
        .expect("writing to a String");
    }
    manifest
}

/// Starts a program on a node or in a pod.
pub(crate) fn start(lab: &Lab, target: &str, argv: &[String]) -> Child {
    Command::new(assert_cmd::cargo::cargo_bin!("labctl"))
        .args(["exec", "--lab", &lab.name, target, "--"])
        .args(argv)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("labctl starts")
}

/// Starts `traffic` on a node or in a pod.
pub(crate) fn start_traffic(lab: &Lab, target: &str, words: &[String]) -> Child {
    let argv = [&[traffic().to_string_lossy().into_owned()], words].concat();
    start(lab, target, &argv)
}

pub(crate) fn lines(child: &mut Child) -> BufReader<ChildStdout> {
    BufReader::new(child.stdout.take().expect("stdout was asked to be piped"))
}

#[track_caller]
pub(crate) fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("traffic prints lines");
    assert!(!line.is_empty(), "traffic ended early");
    line.trim_end().to_owned()
}

/// Servers that answer on these addresses of a node or pod; each is a process, for descriptors
/// are limited by process. They end with the lab.
pub(crate) fn serve(lab: &Lab, target: &str, addresses: &[String]) -> Vec<Child> {
    let start_one = |address: &String| {
        let mut server = start_traffic(lab, target, &["serve".to_owned(), address.clone()]);
        let mut output = lines(&mut server);
        assert_eq!(line(&mut output), "ready");
        server
    };
    addresses.iter().map(start_one).collect()
}

pub(crate) fn end(servers: Vec<Child>) {
    for mut server in servers {
        server.kill().expect("end the server this test started");
        server.wait().expect("reap the server");
    }
}
