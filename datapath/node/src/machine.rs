//! This machine as a node of a lab.

pub mod api;
