//! The datapath's packet logic on the host: the very code that the kernel runs,
//! over byte vectors and hash maps. What is expected is built anew, byte by byte,
//! with checksums computed from scratch.
//!
//! Tests named `case_N_…` are cases that Cilium's own suites have, and
//! `bug_N_…` are cilium/cilium issues; `docs/datapath.md` lists both.

mod allocation;
mod arp;
mod conntrack;
mod decision;
mod dns;
mod flows;
mod forwarding;
mod fragments;
mod frame;
mod host;
mod host_traffic;
mod icmp;
mod one_to_one;
mod refusals;
mod round_trip;
mod scene;
mod services;
mod services_in_tunnel;
mod tunnel;
