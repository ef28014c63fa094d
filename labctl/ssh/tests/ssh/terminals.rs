//! A local terminal joined to a remote one.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use lab_ssh::terminal::{Local, run_on};
use lab_ssh::{Command, Exit};
use nix::libc::winsize;
use nix::pty::openpty;
use nix::sys::signal::{Signal, raise};
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::sshd::Sshd;

fn local(terminal: &OwnedFd) -> Local {
    let again = || terminal.try_clone().expect("descriptors are left");
    Local {
        input: again(),
        output: again(),
        error: again(),
    }
}

/// Reads the screen until it ends with `expected`.
fn read_until(screen: &mut File, expected: &str) {
    let mut seen = String::new();
    let mut byte = [0];
    while !seen.ends_with(expected) {
        screen.read_exact(&mut byte).expect("the terminal is open");
        seen.push(char::from(byte[0]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_go_there_as_bytes_and_sizes_follow() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let size = winsize {
        ws_col: 100,
        ws_row: 40,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None).expect("a terminal");
    let (mut person, terminal) = (File::from(pty.master), pty.slave);
    let echo = |terminal: &OwnedFd| {
        let modes = tcgetattr(terminal).expect("it is one").local_flags;
        modes.contains(LocalFlags::ECHO | LocalFlags::ISIG)
    };
    assert!(echo(&terminal));
    let script = "stty size; trap 'stty size' WINCH; trap 'echo interrupted; exit 4' INT; \
                  echo ready; while :; do read x; done";
    let command = Command::new(["sh", "-c", script]);
    let ends = local(&terminal);
    let running = tokio::spawn(async move { run_on(&session, command, ends).await });
    let typing = tokio::task::spawn_blocking(move || {
        read_until(&mut person, "40 100\r\nready\r\n");
        assert!(!echo(&terminal), "the local terminal is raw");
        let size = rustix::termios::Winsize {
            ws_col: 132,
            ws_row: 50,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&terminal, size).expect("resized");
        raise(Signal::SIGWINCH).expect("this process may");
        read_until(&mut person, "50 132\r\n");
        person.write_all(b"\x03").expect("typed");
        read_until(&mut person, "interrupted\r\n");
        (person, terminal)
    });
    let exit = running.await.expect("no panic");
    assert_eq!(exit.expect("it ends"), Exit::Code(4));
    let (_person, terminal) = typing.await.expect("it was seen");
    assert!(echo(&terminal), "the local terminal is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_terminal_streams_are_passed_on() {
    let sshd = Sshd::start();
    let session = sshd.session().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("in"), "typed\n").expect("writable");
    let ends = Local {
        input: File::open(file("in")).expect("readable").into(),
        output: File::create(file("out")).expect("writable").into(),
        error: File::create(file("err")).expect("writable").into(),
    };
    let command = Command::new(["sh", "-c", "cat; echo problem >&2; tty; exit 6"]);
    let exit = run_on(&session, command, ends).await.expect("it ends");
    assert_eq!(exit, Exit::Code(6));
    let read = |name: &str| std::fs::read_to_string(file(name)).expect("readable");
    assert_eq!(read("out"), "typed\nnot a tty\n");
    assert_eq!(read("err"), "problem\n");
}
