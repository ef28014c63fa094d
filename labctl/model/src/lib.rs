//! Lab files, their faults, and the plan from what is to what should be.
//!
//! This crate is pure: it reads no file, opens no socket and knows no clock, so
//! that everything decided here can be tested without a kernel. A test in the
//! workspace fails when it starts to depend on tokio, aya or russh.
//!
//! The data flows one way: text -> [`document`] (positions kept) ->
//! [`lab_file`] (what users write) -> [`lab`] (validated) -> [`plan`], which
//! compares it with what a provider observed.

pub mod diagnostic;
pub mod document;
pub mod lab;
pub mod lab_file;
pub mod node_state;
pub mod plan;
pub mod values;
