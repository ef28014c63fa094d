//! `labctl dns` on real sockets: what it answers to whatever is sent, while it is
//! replaced, and what memory it takes.
//!
//! Each test has a network namespace of its own, which its thread is in; nothing is left of
//! it when the test ends.

mod conformance;
mod conntrack;
mod hostile;
mod hot;
mod memory;
mod metrics;
mod restart;
mod server;
mod upstream;
mod wire;
