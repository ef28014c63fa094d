//! The programs as the kernel runs them: the objects of `datapath/prebuilt`, packet
//! by packet through `BPF_PROG_TEST_RUN`, compared byte for byte with frames that
//! are built from scratch.
//!
//! Tests under `as_root` named `case_…` and `issue_…` follow a test, or an issue,
//! of Cilium's. What the logic decides is tested on the host as well, in more
//! cases; here it is the helpers, maps and verifier that are real.

mod as_root;
mod datapath;
mod frame;
mod services;
