//! Integration tests through the binary: what a user types, what comes back.
//!
//! Tests that need root lie in modules called `as_root`. Each brings up labs of
//! its own under names of its own, so tests run side by side and beside a lab that
//! is up; a guard takes them down.

mod agents;
mod announcements;
mod check;
mod command_line;
mod differential;
mod dns;
mod dns_server;
mod exec;
mod host;
mod interrupt;
mod killed;
mod lab;
mod many_connections;
mod observe;
mod pods;
mod qemu;
mod readme;
mod ssh_hosts;
mod up;
mod user;
mod vagrant;
mod validate;
