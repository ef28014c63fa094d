//! Prints how long each program takes per packet, as Markdown: the duration that
//! the kernel reports for `BPF_PROG_TEST_RUN`, beside that of an empty program on
//! the same packet.
//!
//! A repeated test run works on the packet that the last turn left, already
//! translated: from the second turn on it would measure another path, that of the
//! host's own packets. So what is run is `rewind`, which restores the first bytes
//! and then tail-calls the program. The empty program is run the same way, and the
//! restoring and the tail call cancel out in the difference. Whether each
//! case did what its name says is checked on one turn before the clock runs.

#[path = "../../tests/kernel/datapath.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod datapath;
#[path = "../../tests/kernel/frame.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod frame;

mod answers;
mod cases;
mod rewind;

use datapath::Datapath;
use lab_datapath_common::programs;

use crate::cases::Case;
use crate::rewind::Rewind;

const EMPTY: &[u8] = aya::include_bytes_aligned!("../../../prebuilt/passthrough.bpf.o");

/// Measurements per case; the median counts.
const ROUNDS: usize = 15;

fn main() {
    let mut empty = datapath::load(EMPTY);
    let mut rewind = Rewind::load();
    println!("| program | packet | ns | empty program, ns | difference, ns |");
    println!("|---|---|--:|--:|--:|");
    for case in Case::all() {
        let mut datapath = case.prepare();
        let empty = datapath::classifier(&mut empty, case.program);
        let mut ours = Vec::with_capacity(ROUNDS);
        let mut nothing = Vec::with_capacity(ROUNDS);
        // In turns, so that whatever else the machine does hits both.
        for _ in 0..ROUNDS {
            ours.push(rewind.nanoseconds(datapath.program(case.program), &case.frame));
            nothing.push(rewind.nanoseconds(empty, &case.frame));
        }
        let (ours, nothing) = (median(ours), median(nothing));
        println!(
            "| `{}` | {} | {ours} | {nothing} | {} |",
            case.program,
            case.name,
            ours.saturating_sub(nothing)
        );
    }
    println!();
    answers::print(datapath::classifier(&mut empty, programs::FROM_CONTAINER));
    println!();
    print_verified_instructions();
}

fn median(mut samples: Vec<u128>) -> u128 {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

fn print_verified_instructions() {
    println!("| program | instructions verified | instructions | JITed bytes |");
    println!("|---|--:|--:|--:|");
    let mut datapath = Datapath::masquerading();
    for name in programs::ALL {
        let info = datapath
            .program(name)
            .info()
            .expect("the kernel knows its program");
        let verified = info
            .verified_instruction_count()
            .map_or_else(|| "?".to_owned(), |count| count.to_string());
        let translated = info
            .size_translated()
            .map_or_else(|| "?".to_owned(), |bytes| (bytes / 8).to_string());
        let jited = info.size_jitted();
        println!("| `{name}` | {verified} | {translated} | {jited} |");
    }
}
