//! Packets are described in the words of `tcpdump -nn`.

use std::process::Command;

use lab_checks::packet::{Capture, Describer};

use crate::traffic::{self, File};

#[test]
fn packets_read_as_tcpdump_prints_them() {
    // What is not IPv4 or ARP is described in words of our own.
    let frames: Vec<Vec<u8>> = traffic::everything()
        .into_iter()
        .filter(|frame| frame[12] == 8)
        .collect();
    let bytes = traffic::pcap(&frames);
    let file = File::new("described.pcap", &bytes);
    let output = Command::new("tcpdump")
        .args(["-nn", "-r"])
        .arg(file.path())
        .env("TZ", "UTC")
        .output()
        .expect("tcpdump is installed (apt-get install tcpdump)");
    let theirs = String::from_utf8(output.stdout).expect("tcpdump prints ASCII here");
    let capture = Capture::read(&bytes).expect("the capture is whole");
    let mut describer = Describer::new();
    let ours: Vec<String> = capture
        .packets()
        .map(|packet| describer.describe(&packet))
        .collect();
    assert!(output.status.success() && ours.len() == frames.len());
    let differences: Vec<String> = ours
        .iter()
        .zip(theirs.lines())
        .filter(|(ours, theirs)| ours != theirs)
        .map(|(ours, theirs)| format!("labctl  {ours}\ntcpdump {theirs}"))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(theirs.lines().count(), ours.len());
}
