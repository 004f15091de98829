//! Connections that the mock can break, and that it closes after 5 s of idling.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

use super::PROCESSES;

/// uvicorn's keep-alive timeout.
const IDLE: Duration = Duration::from_secs(5);

const CLOSE_AFTER_ANSWER: u8 = 1;
const RESET: u8 = 2;

/// A handler's view of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Connection {
    state: Arc<AtomicU8>,
    /// The process that handles its requests.
    pub(super) process: usize,
}

impl Connection {
    /// Breaks it without a response (RST).
    pub(super) fn reset(&self) {
        self.state.store(RESET, Ordering::SeqCst);
    }

    /// Closes it after the response, unannounced.
    pub(super) fn close_after_answer(&self) {
        self.state.store(CLOSE_AFTER_ANSWER, Ordering::SeqCst);
    }
}

/// A listener that counts connections and assigns them to the processes in turn.
pub(super) struct Wires {
    pub(super) listener: TcpListener,
    pub(super) count: Arc<AtomicUsize>,
}

impl Listener for Wires {
    type Io = Wire;
    type Addr = Connection;

    async fn accept(&mut self) -> (Wire, Connection) {
        loop {
            if let Ok((stream, _)) = self.listener.accept().await {
                let process = self.count.fetch_add(1, Ordering::SeqCst) % PROCESSES;
                let connection = Connection { state: Arc::default(), process };
                let idle = Box::pin(sleep(IDLE));
                return (Wire { stream, connection: connection.clone(), idle, answered: false }, connection);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Connection> {
        Ok(Connection::default())
    }
}

impl Connected<IncomingStream<'_, Wires>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Wires>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A connection that can be broken.
pub(super) struct Wire {
    stream: TcpStream,
    connection: Connection,
    idle: Pin<Box<Sleep>>,
    answered: bool,
}

impl Wire {
    fn state(&self) -> u8 {
        self.connection.state.load(Ordering::SeqCst)
    }

    fn busy(&mut self) {
        self.idle.as_mut().reset(Instant::now() + IDLE);
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.state() == CLOSE_AFTER_ANSWER && self.answered {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending if self.idle.as_mut().poll(cx).is_ready() => Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before {
                    self.busy();
                    self.answered = false;
                }
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.state() == RESET {
            let _ = self.stream.set_zero_linger();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.busy();
        self.answered = true;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
