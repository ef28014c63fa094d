//! The first bytes a peer sends, kept to say what answered when it was no SSH server.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An identification line has at most 255 bytes (RFC 4253 §4.2).
const KEPT: usize = 255;

/// What a peer said first; shared with the [`Greeted`] stream that hears it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Greeting(Arc<Mutex<Vec<u8>>>);

impl Greeting {
    fn hear(&self, bytes: &[u8]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = KEPT - heard.len();
        heard.extend(bytes.iter().take(room));
    }

    /// The first line, or `None` while nothing was said.
    pub(crate) fn first_line(&self) -> Option<String> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = heard.split(|byte| *byte == b'\n').next()?;
        (!heard.is_empty()).then(|| String::from_utf8_lossy(line).trim().to_owned())
    }

    /// Whether any of the lines heard is an SSH identification (others may come before it).
    pub(crate) fn is_ssh(&self) -> bool {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard
            .split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(b"SSH-"))
    }
}

/// A stream whose first bytes are also kept in a [`Greeting`].
pub(crate) struct Greeted<S> {
    pub(crate) stream: S,
    pub(crate) greeting: Greeting,
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.greeting.hear(&buffer.filled()[before..]);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
