//! Whether a connection is a session of the server, and nobody else's.
//!
//! A server tells each client which process serves it, and a secret, for asking that the process be
//! interrupted. What a pooler tells is its own, whatever its mode, and not the number of the process that
//! works for the client at the moment. Other things in between (a tunnel, a balancer of TCP connections) pass
//! on what the server tells.
//!
//! The client library keeps the number to itself, and writes it into a request to cancel: here into one that
//! is sent to nobody.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Client;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// The process that serves a client, as it was told when it connected.
pub(crate) async fn process(client: &Client) -> Option<i32> {
    let written = Arc::new(Mutex::new(Vec::new()));
    client.cancel_token().cancel_query_raw(Nobody(Arc::clone(&written)), Unencrypted).await.ok()?;
    let written = written.lock();
    // The request ends with the process and the secret.
    let (_, end) = written.split_last_chunk::<8>()?;
    let (process, _secret) = end.split_first_chunk::<4>()?;
    Some(i32::from_be_bytes(*process))
}

/// Keeps what is written to it, and answers that TLS may begin.
struct Nobody(Arc<Mutex<Vec<u8>>>);

impl AsyncRead for Nobody {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(b"S");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Nobody {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl TlsStream for Nobody {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

struct Unencrypted;

impl TlsConnect<Nobody> for Unencrypted {
    type Stream = Nobody;
    type Error = io::Error;
    type Future = Ready<io::Result<Nobody>>;

    fn connect(self, stream: Nobody) -> Self::Future {
        ready(Ok(stream))
    }
}
