//! The program that restores the packet, and what it then runs.

use aya::Ebpf;
use aya::maps::{Array, ProgramArray};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use lab_datapath_common::programs::{REWIND, REWOUND_BYTES};

use crate::datapath::{classifier, load};

const OBJECT: &[u8] = aya::include_bytes_aligned!("../../../prebuilt/rewind.bpf.o");

/// Turns per measurement.
const REPEAT: u32 = 100_000;

/// The loaded program.
pub(crate) struct Rewind {
    ebpf: Ebpf,
}

impl Rewind {
    pub(crate) fn load() -> Self {
        Self { ebpf: load(OBJECT) }
    }

    /// Average duration of one turn on the packet: restoring it, the tail call, and
    /// the program.
    pub(crate) fn nanoseconds(&mut self, program: &SchedClassifier, frame: &[u8]) -> u128 {
        let beginning: [u8; REWOUND_BYTES] = frame[..REWOUND_BYTES]
            .try_into()
            .expect("the slice has that length");
        let map = self.ebpf.map_mut("original").expect("the map is there");
        let mut original: Array<_, [u8; REWOUND_BYTES]> =
            map.try_into().expect("the map has this layout");
        original.set(0, beginning, 0).expect("index 0 is there");
        let map = self.ebpf.map_mut("measured").expect("the map is there");
        let mut measured: ProgramArray<_> = map.try_into().expect("the map has this layout");
        let fd = program.fd().expect("the program is loaded");
        measured.set(0, fd, 0).expect("both are classifiers");
        let result = classifier(&mut self.ebpf, REWIND)
            .test_run(TestRunOptions {
                data_in: Some(frame),
                repeat: REPEAT,
                ..TestRunOptions::default()
            })
            .expect("the kernel runs the program");
        // Rewind itself drops when it cannot restore or call.
        assert_ne!(result.return_value, 2, "the packet was dropped");
        result.duration.as_nanos()
    }
}
