//! The bytes of one channel, taken off the connection as they come.
//!
//! russh delivers all channels of a connection from one task, and waits while a channel's own
//! queue is full; it also opens the channel's SSH window again without asking whether anybody
//! read. So one slow reader would stop every other channel of the node. Therefore each channel
//! has a task that moves its bytes into queues of their own, which may lag by [`LAG`] bytes
//! before the connection has to wait after all.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::exit::{Exit, Signal};
use crate::link::Lost;

/// How many bytes a reader may be behind.
const LAG: usize = 64 << 20;

/// RFC 4254 §5.2: extended data of type 1 is stderr.
const STDERR: u32 = 1;

/// How a channel ended: with the command's end, or why without.
pub(crate) type Ending = Result<Exit, String>;

/// One stream of a channel, from the node.
#[derive(Debug)]
pub struct Incoming {
    queue: mpsc::UnboundedReceiver<Result<Bytes, String>>,
    room: Arc<Semaphore>,
    current: Bytes,
}

impl Incoming {
    fn new() -> (Spool, Self) {
        let (sender, queue) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(LAG));
        let spool = Spool {
            sender: Some(sender),
            room: Arc::clone(&room),
        };
        let current = Bytes::new();
        (
            spool,
            Self {
                queue,
                room,
                current,
            },
        )
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Nothing left after the line with the process is no end.
        while self.current.is_empty() {
            match ready!(self.queue.poll_recv(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(reason)) => {
                    let kind = io::ErrorKind::ConnectionReset;
                    return Poll::Ready(Err(io::Error::new(kind, reason)));
                }
                Some(Ok(bytes)) => self.current = bytes,
            }
        }
        let count = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..count]);
        self.current.advance(count);
        self.room.add_permits(count);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // What still comes for this reader is thrown away instead of waited for.
        self.room.close();
    }
}

/// The channel's end of an [`Incoming`].
struct Spool {
    sender: Option<mpsc::UnboundedSender<Result<Bytes, String>>>,
    room: Arc<Semaphore>,
}

impl Spool {
    async fn put(&self, bytes: Bytes) {
        // A message is at most one packet, far less than the room.
        let Ok(count) = u32::try_from(bytes.len()) else {
            return;
        };
        let Ok(permits) = self.room.acquire_many(count).await else {
            return;
        };
        permits.forget();
        if let Some(sender) = &self.sender {
            // Fails only when the reader is gone.
            let _ = sender.send(Ok(bytes));
        }
    }

    fn end(&mut self) {
        self.sender = None;
    }

    fn fail(&mut self, reason: &str) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(Err(reason.to_owned()));
        }
    }
}

/// The bytes of a channel towards the node. Dropping it, or shutting it down, is the end of
/// input there.
pub struct Outgoing {
    writer: Option<Pin<Box<dyn AsyncWrite + Send + Sync>>>,
    ended: Option<oneshot::Sender<()>>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Outgoing").finish_non_exhaustive()
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A writer that waits for the window of a channel that is gone would wait for ever.
        if self.closed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match &mut self.writer {
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(_) if bytes.is_empty() => Poll::Ready(Ok(0)),
            Some(writer) => writer.as_mut().poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer = None;
        self.ended = None;
        Poll::Ready(Ok(()))
    }
}

/// A forwarded socket: what is read came from the far end, what is written goes there.
/// Dropping it closes the channel.
#[derive(Debug)]
pub struct Stream {
    incoming: Incoming,
    outgoing: Outgoing,
    closed: CancellationToken,
    _close: DropGuard,
}

impl Stream {
    pub(crate) fn new(channel: russh::Channel<Msg>, lost: Lost) -> Self {
        let parts = spawn(channel, lost, false);
        Self {
            incoming: parts.stdout,
            outgoing: parts.stdin,
            closed: parts.closed,
            _close: parts.close,
        }
    }

    /// Waits for the channel's end.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + use<> {
        self.closed.clone().cancelled_owned()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.incoming).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.outgoing).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_shutdown(context)
    }
}

/// A channel taken apart.
pub(crate) struct Parts {
    pub(crate) stdin: Outgoing,
    pub(crate) stdout: Incoming,
    pub(crate) stderr: Incoming,
    pub(crate) ending: oneshot::Receiver<Ending>,
    pub(crate) control: Arc<ChannelWriteHalf<Msg>>,
    /// The command's process there, when it tells and as soon as it has.
    pub(crate) pid: watch::Receiver<Option<u32>>,
    /// Cancelled when the channel has ended.
    pub(crate) closed: CancellationToken,
    /// Dropping it closes the channel.
    pub(crate) close: DropGuard,
}

/// Starts the task that serves a channel whose command or socket is running. With `tells_pid`
/// the first line of stdout is the command's process there, and no output.
pub(crate) fn spawn(channel: russh::Channel<Msg>, lost: Lost, tells_pid: bool) -> Parts {
    let (reader, control) = channel.split();
    let control = Arc::new(control);
    let (stdout_spool, stdout) = Incoming::new();
    let (stderr_spool, stderr) = Incoming::new();
    let (ended, input_ended) = oneshot::channel();
    let (ending_sender, ending) = oneshot::channel();
    let (cancel, closed) = (CancellationToken::new(), CancellationToken::new());
    let stdin = Outgoing {
        writer: Some(Box::pin(control.make_writer())),
        ended: Some(ended),
        closed: Box::pin(closed.clone().cancelled_owned()),
    };
    let (pid_sender, pid) = watch::channel(None);
    let pump = Pump {
        pid: tells_pid.then(|| (pid_sender, Vec::new())),
        reader,
        control: Arc::clone(&control),
        stdout: stdout_spool,
        stderr: stderr_spool,
        exit: None,
    };
    let (cancelled, over) = (cancel.clone(), closed.clone());
    tokio::spawn(async move {
        let ending = pump.run(input_ended, cancelled, lost).await;
        over.cancel();
        // Nobody waits for the end of a forwarded socket.
        let _ = ending_sender.send(ending);
    });
    Parts {
        stdin,
        stdout,
        stderr,
        ending,
        control,
        pid,
        closed,
        close: cancel.drop_guard(),
    }
}

struct Pump {
    reader: ChannelReadHalf,
    control: Arc<ChannelWriteHalf<Msg>>,
    stdout: Spool,
    stderr: Spool,
    exit: Option<Exit>,
    /// Whom to tell the process, and what has come of its line.
    pid: Option<(watch::Sender<Option<u32>>, Vec<u8>)>,
}

impl Pump {
    async fn run(
        mut self,
        mut input_ended: oneshot::Receiver<()>,
        cancelled: CancellationToken,
        lost: Lost,
    ) -> Ending {
        let mut input_open = true;
        let mut pending: Option<(u32, Bytes)> = None;
        let ending = loop {
            let spool = match &pending {
                Some((STDERR, _)) => &self.stderr,
                _ => &self.stdout,
            };
            let bytes = pending.as_ref().map(|(_, bytes)| bytes.clone());
            tokio::select! {
                () = cancelled.cancelled() => break self.abandon().await,
                // Dropping the sender is the event; nothing is ever sent.
                _ = &mut input_ended, if input_open => {
                    input_open = false;
                    let _ = self.control.eof().await;
                }
                () = spool.put(bytes.unwrap_or_default()), if pending.is_some() => pending = None,
                message = self.reader.wait(), if pending.is_none() => match message {
                    Some(ChannelMsg::Data { data }) => pending = Some((0, self.without_pid(data))),
                    Some(ChannelMsg::ExtendedData { data, ext }) => pending = Some((ext, data)),
                    Some(ChannelMsg::Eof) => self.end_streams(),
                    Some(ChannelMsg::Close) => break self.closed(),
                    None => break Err(lost.reason().await),
                    Some(other) => self.note_exit(other),
                },
            }
        };
        match &ending {
            Ok(_) => self.end_streams(),
            Err(reason) => {
                self.stdout.fail(reason);
                self.stderr.fail(reason);
            }
        }
        ending
    }

    /// Takes the line with the process off the beginning of stdout.
    fn without_pid(&mut self, mut data: Bytes) -> Bytes {
        let Some((told, line)) = &mut self.pid else {
            return data;
        };
        let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
            line.extend_from_slice(&data);
            return Bytes::new();
        };
        line.extend_from_slice(&data.split_to(end + 1));
        let pid = String::from_utf8_lossy(line).trim().parse().ok();
        told.send_replace(pid);
        self.pid = None;
        data
    }

    fn end_streams(&mut self) {
        self.stdout.end();
        self.stderr.end();
    }

    fn note_exit(&mut self, message: ChannelMsg) {
        match message {
            ChannelMsg::ExitStatus { exit_status } => self.exit = Some(Exit::Code(exit_status)),
            ChannelMsg::ExitSignal {
                signal_name,
                core_dumped,
                ..
            } => {
                self.exit = Some(Exit::Signal {
                    signal: Signal::from(signal_name),
                    core_dumped,
                });
            }
            _ => {}
        }
    }

    fn closed(&mut self) -> Ending {
        match self.exit.take() {
            Some(exit) => Ok(exit),
            None if self.stdout.sender.is_none() => Err("it ended without a status".into()),
            None => Err("the SSH server closed the channel".into()),
        }
    }

    /// The caller is no longer interested.
    async fn abandon(&mut self) -> Ending {
        let _ = self.control.close().await;
        Err("it was abandoned".into())
    }
}
