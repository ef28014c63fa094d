//! Sessions against OpenSSH's own server, on loopback, as the user who runs the tests.

mod as_root;
mod commands;
mod errors;
mod files;
mod logins;
mod sshd;
mod terminals;
mod threads;
