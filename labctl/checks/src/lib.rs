//! Check files, the packet filter, captures, and verdicts.
//!
//! This crate is pure: it reads no file, opens no socket and knows no clock. What
//! comes from outside (text of a check file, bytes of a capture, outcome of a step)
//! is given to it, and what it decides comes back as a value.

pub mod check_file;
pub mod command;
pub mod filter;
pub mod judge;
pub mod packet;
