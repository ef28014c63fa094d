//! Sessions against OpenSSH's own server, on loopback, as the user who runs the tests.

mod commands;
mod errors;
mod sshd;
mod threads;
