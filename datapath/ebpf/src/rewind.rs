#![no_std]
#![no_main]
//! Restores a packet and passes it to the program that is measured. A test run
//! repeats on the packet that the last turn left behind; without this, only the
//! first turn would translate what its name says.

mod runtime;

use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::helpers::generated::bpf_skb_store_bytes;
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;
use lab_datapath_common::programs::REWOUND_BYTES;

/// `TC_ACT_SHOT`: nothing to restore or to call. No measurement may pass over it.
const DROP: i32 = 2;

/// The packet's beginning, at least as far as programs write.
#[btf_map(name = "original")]
static ORIGINAL: Array<[u8; REWOUND_BYTES], 1> = Array::new();

/// The program that is measured.
#[btf_map(name = "measured")]
static MEASURED: ProgramArray<1> = ProgramArray::new();

/// Restores, then goes over to the program.
#[classifier]
fn rewind(context: TcContext) -> i32 {
    let Some(original) = ORIGINAL.get(0) else {
        return DROP;
    };
    let size = REWOUND_BYTES as u32;
    // SAFETY: the helper reads that many bytes of the map's value.
    let result =
        unsafe { bpf_skb_store_bytes(context.skb.skb, 0, original.as_ptr().cast(), size, 0) };
    if result == 0 {
        // SAFETY: nothing here waits to be dropped.
        unsafe { MEASURED.tail_call(&context, 0) };
    }
    DROP
}
