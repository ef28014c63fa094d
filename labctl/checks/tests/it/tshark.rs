//! The filter agrees with tshark, packet by packet.

mod fields;
mod filters;

use std::path::Path;
use std::process::Command;

/// tshark without what labctl's filters leave out: reassembly, and guessing at payloads.
fn tshark(capture: &Path, arguments: &[&str]) -> String {
    let output = Command::new("tshark")
        .args([
            "-n",
            "-o",
            "ip.defragment:FALSE",
            "-o",
            "tcp.desegment_tcp_streams:FALSE",
            // Linux's port for VXLAN, and Cilium's; tshark knows 4789.
            "-d",
            "udp.port==8472,vxlan",
            "-r",
        ])
        .arg(capture)
        .args(arguments)
        .output()
        .expect("tshark is installed (apt-get install tshark)");
    assert!(
        output.status.success(),
        "tshark {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("tshark prints UTF-8")
}
