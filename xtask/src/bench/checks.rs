//! `cargo xtask bench checks`: reading and filtering a capture of a million packets.

use anyhow::{Context, Result};

use super::capture_file;
use super::lab::release;
use super::sample::{Sample, milliseconds};
use crate::command::{command, output, run};
use crate::table::Table;

const PACKETS: u32 = 1_000_000;
const DISPLAY_FILTER: &str = "tcp.port == 80 && ip.src == 10.10.1.0/24";
const PCAP_FILTER: &str = "tcp port 80 and src net 10.10.1.0/24";

pub(super) fn measure(rounds: usize) -> Result<()> {
    run(command("cargo").args([
        "build",
        "--release",
        "--locked",
        "--package",
        "lab-checks",
        "--example",
        "filter_pcap",
    ]))?;
    let ours = release("examples/filter_pcap");
    let file = std::env::temp_dir().join(format!("labctl-bench-{}.pcap", std::process::id()));
    let pcap = file
        .to_str()
        .context("the temporary folder's name is not UTF-8")?;
    capture_file::write(&file, PACKETS).with_context(|| format!("failed to write {pcap}"))?;
    let contestants: [(&str, &str, Vec<&str>); 3] = [
        (
            "lab-checks",
            ours.to_str()
                .context("the target folder's name is not UTF-8")?,
            vec![pcap, DISPLAY_FILTER],
        ),
        (
            "tcpdump -r, printing what matches",
            "tcpdump",
            vec!["-n", "-r", pcap, PCAP_FILTER],
        ),
        (
            "tshark -r -Y",
            "tshark",
            vec!["-n", "-r", pcap, "-Y", DISPLAY_FILTER],
        ),
    ];
    let mut samples = vec![Sample::default(); contestants.len()];
    let measured: Result<()> = (0..rounds).try_for_each(|_| {
        for ((_, program, words), sample) in contestants.iter().zip(&mut samples) {
            sample.push(milliseconds(|| {
                output(command(program).args(words)).map(drop)
            })?);
        }
        Ok(())
    });
    std::fs::remove_file(&file).with_context(|| format!("failed to remove {pcap}"))?;
    measured?;
    let mut table = Table::new(&["a million packets", "ms", "lab-checks : it"]);
    for ((name, _, _), sample) in contestants.iter().zip(&samples) {
        let (median, ratio) = (sample.median(), samples[0].ratio_to(sample));
        table.row(vec![
            (*name).to_owned(),
            format!("{median:.0}"),
            format!("{ratio:.3}"),
        ]);
    }
    println!("{}", table.render());
    Ok(())
}
