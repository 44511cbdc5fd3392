//! A proxy between us and a PostgreSQL server that counts what passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// The request for TLS, which is the only other message without a type.
const TLS_REQUEST: u32 = 80_877_103;

/// Listens until this is dropped with the runtime.
pub(crate) struct Proxy {
    url: String,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    round_trips: AtomicU64,
    commits: AtomicU64,
    statements: AtomicU64,
}

/// What has passed so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// How often a client spoke on a connection on which it had heard everything that it had asked for.
    pub(crate) round_trips: u64,
    /// How often it said `COMMIT`.
    pub(crate) commits: u64,
    /// Executed statements, those within one text counted each.
    pub(crate) statements: u64,
}

impl Proxy {
    /// Stands before the server that the URL names.
    pub(crate) async fn start(url: &str) -> Result<Self> {
        let (before, rest) = url.split_once('@').context("the URL names no user")?;
        let (server, after) = rest.split_once('/').context("the URL names no database")?;
        let server = server.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("{before}@{}/{after}", listener.local_addr()?);
        let counters = Arc::<Counters>::default();
        let counting = Arc::clone(&counters);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, counters) = (server.clone(), Arc::clone(&counting));
                tokio::spawn(async move {
                    if let Err(error) = pass(client, &server, counters).await {
                        eprintln!("a proxied connection broke: {error}");
                    }
                });
            }
        });
        Ok(Self { url, counters })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            round_trips: self.counters.round_trips.load(Ordering::Relaxed),
            commits: self.counters.commits.load(Ordering::Relaxed),
            statements: self.counters.statements.load(Ordering::Relaxed),
        }
    }
}

async fn pass(client: TcpStream, server: &str, counters: Arc<Counters>) -> Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Requests that the server has not yet said it is done with.
    let pending = Arc::new(AtomicI64::new(0));
    let requests = Messages { in_startup: true, ..Messages::default() };
    let asked = Arc::clone(&pending);
    let up = tokio::spawn(forward(from_client, to_server, requests, move |kind, body| match kind {
        b'Q' | b'S' => {
            if asked.fetch_add(1, Ordering::AcqRel) == 0 {
                counters.round_trips.fetch_add(1, Ordering::Relaxed);
            }
            if kind == b'Q' {
                let text = String::from_utf8_lossy(body);
                for statement in text.trim_matches('\0').split(';').map(str::trim) {
                    let count =
                        |counter: &AtomicU64, is_one| counter.fetch_add(u64::from(is_one), Ordering::Relaxed);
                    count(&counters.statements, !statement.is_empty());
                    count(&counters.commits, statement.eq_ignore_ascii_case("commit"));
                }
            }
        }
        b'E' => drop(counters.statements.fetch_add(1, Ordering::Relaxed)),
        _ => {}
    }));
    let mut ready = false;
    let down = forward(from_server, to_client, Messages::default(), move |kind, _| {
        if kind == b'Z' {
            // The first one ends the login.
            if ready {
                pending.fetch_sub(1, Ordering::AcqRel);
            }
            ready = true;
        }
    });
    down.await?;
    up.abort();
    Ok(())
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut messages: Messages,
    mut see: impl FnMut(u8, &[u8]) + Send,
) -> Result<()> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        messages.read(&chunk[..length], &mut see);
        to.write_all(&chunk[..length]).await?;
    }
}

/// Finds the messages in a stream of bytes.
#[derive(Default)]
struct Messages {
    buffer: Vec<u8>,
    in_startup: bool,
    /// Whether the answer to a request for TLS, a single byte, was skipped.
    answered: bool,
}

impl Messages {
    fn read(&mut self, bytes: &[u8], see: &mut impl FnMut(u8, &[u8])) {
        self.buffer.extend_from_slice(bytes);
        loop {
            let typed = usize::from(!self.in_startup);
            // No message of a server begins its stream with these but the answer to a request for TLS.
            if !self.in_startup
                && !self.answered
                && self.buffer.first() == Some(&b'N')
                && self.buffer.len() == 1
            {
                self.buffer.clear();
            }
            self.answered = true;
            let Some(length) = self.buffer.get(typed..typed + 4) else { return };
            let length = u32::from_be_bytes(length.try_into().expect("four bytes are four bytes"));
            let end = typed + length as usize;
            if self.buffer.len() < end {
                return;
            }
            let message: Vec<u8> = self.buffer.drain(..end).collect();
            if self.in_startup {
                let code = message.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
                self.in_startup = code == Some(TLS_REQUEST);
            } else {
                see(message[0], &message[5..]);
            }
        }
    }
}
