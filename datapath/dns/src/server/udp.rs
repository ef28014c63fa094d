//! Threads that answer datagrams.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::thread::JoinHandleExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use tokio_util::task::TaskTracker;

use super::Current;
use super::batch::{Batch, Path, send_one};
use crate::service::{Answer, Client};
use crate::upstream::Transport;

/// Wakes threads out of `recvmmsg`. Its handler does nothing.
const WAKE: Signal = Signal::SIGURG;
/// Datagrams that wait for an upstream. More are dropped, as by a full socket buffer.
const WAITING: u32 = 16_384;

/// What all threads share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) current: Current,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) tasks: TaskTracker,
    pub(super) waiting: Arc<AtomicU32>,
}

/// A thread that reads one socket.
pub(super) struct Worker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts it. `bound` is the address that the socket is bound to.
    pub(super) fn start(
        socket: Arc<OwnedFd>,
        bound: SocketAddr,
        shared: Shared,
    ) -> io::Result<Self> {
        wake_by_signal()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("dns-udp".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || serve(&socket, bound, &shared, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Stops reading. Datagrams that wait in the socket stay there, for whoever else
    /// has it.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        while !self.thread.is_finished() {
            // Sent again until it shows: it may come just before the thread waits.
            let _ = pthread_kill(self.thread.as_pthread_t(), WAKE);
            std::thread::sleep(Duration::from_micros(200));
        }
        // A thread that panicked has said so.
        let _ = self.thread.join();
    }
}

fn wake_by_signal() -> io::Result<()> {
    extern "C" fn woken(_: nix::libc::c_int) {}
    // Without SA_RESTART system calls end with EINTR.
    let action = SigAction::new(
        SigHandler::Handler(woken),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing, so nothing in it can be unsafe in a signal.
    unsafe { sigaction(WAKE, &action) }?;
    Ok(())
}

fn serve(socket: &Arc<OwnedFd>, bound: SocketAddr, shared: &Shared, stop: &AtomicBool) {
    let mut batch = Batch::new();
    while !stop.load(Ordering::Relaxed) {
        // Errors of earlier answers (ICMP) come out here too: there is always more to read.
        let Ok(count) = batch.receive(socket.as_fd()) else {
            continue;
        };
        let service = shared.current.get();
        let mut now = service.now();
        for index in 0..count {
            let Some((query, path, answer)) = batch.query(index) else {
                continue;
            };
            let client = Client {
                address: path.peer,
                transport: Transport::Udp,
                local: SocketAddr::new(path.local.unwrap_or(bound.ip()), bound.port()),
            };
            let (done, ended) = service.answer_at(now, query, &client, answer);
            now = ended;
            match done {
                Answer::Ready => batch.ready.push(index),
                Answer::Silent => {}
                Answer::Later => later(socket, query, path, client, shared),
            }
        }
        batch.send(socket.as_fd());
    }
}

/// Answers when the upstream has.
fn later(socket: &Arc<OwnedFd>, query: &[u8], path: Path, client: Client, shared: &Shared) {
    if shared.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
        shared.waiting.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let query: Box<[u8]> = query.into();
    let socket = Arc::clone(socket);
    let service = shared.current.get();
    let waiting = Arc::clone(&shared.waiting);
    let answering = async move {
        let answer = service.finish(&query, &client).await;
        waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(answer) = answer {
            // A full buffer or a client that is gone: lost on the way, as it may be.
            let _ = send_one(socket.as_fd(), path, &answer);
        }
    };
    shared.tasks.spawn_on(answering, &shared.runtime);
}
