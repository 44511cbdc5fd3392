//! A proxy between a client and a PostgreSQL server, which counts what passes and can cut a connection at a
//! commit.
//!
//! ```text
//!   client ──flight──► proxy ──► server         a COMMIT that is to be cut off is passed on or not, as asked for;
//!          ◄───────────      ◄──                its reply never is: the connection ends instead
//! ```
//!
//! It understands the frames of the protocol and no more. A request for TLS it answers itself, with no.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What a client sends before anything else if it wants TLS.
const TLS_REQUEST: u32 = 80_877_103;

/// A proxy. It listens until its runtime ends.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    round_trips: AtomicU64,
    commits: AtomicU64,
    cuts: AtomicU64,
    bytes_to_server: AtomicU64,
    bytes_to_client: AtomicU64,
    /// Where to cut, by the number of the commit.
    planned: Mutex<BTreeMap<u64, Cut>>,
}

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The server never sees the COMMIT.
    BeforeCommit,
    /// The server has committed, and the client does not learn of it.
    BeforeReply,
}

/// What has passed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// How often a client spoke on a connection on which it had heard everything that it had asked for.
    pub round_trips: u64,
    /// How often a client said `COMMIT`.
    pub commits: u64,
    /// How many connections were cut at a commit.
    pub cuts: u64,
    /// How many bytes clients sent.
    pub bytes_to_server: u64,
    /// How many bytes the server sent.
    pub bytes_to_client: u64,
}

impl Proxy {
    /// Stands before the server that the URL names.
    ///
    /// # Errors
    ///
    /// When the URL is not one with a user, a server and a database, or no port can be had.
    pub async fn start(url: &str) -> io::Result<Self> {
        let parts = url.split_once('@').and_then(|(before, rest)| {
            let (server, after) = rest.split_once('/')?;
            Some((before, server.to_owned(), after))
        });
        let Some((before, server, after)) = parts else {
            return Err(io::Error::other("the URL names no user, server or database"));
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("{before}@{}/{after}", listener.local_addr()?);
        let shared = Arc::<Shared>::default();
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, shared) = (server.clone(), Arc::clone(&accepting));
                // A connection that breaks is what the clients of this proxy are tested with.
                tokio::spawn(async move { pass(client, &server, &shared).await });
            }
        });
        Ok(Self { url, shared })
    }

    /// The URL of the server through the proxy.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What has passed so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            round_trips: read(&self.shared.round_trips),
            commits: read(&self.shared.commits),
            cuts: read(&self.shared.cuts),
            bytes_to_server: read(&self.shared.bytes_to_server),
            bytes_to_client: read(&self.shared.bytes_to_client),
        }
    }

    /// Cuts the connection of the `nth` commit from now on, from 1.
    pub fn cut_at_commit(&self, nth: u64, cut: Cut) {
        let mut planned = self.shared.planned();
        planned.insert(self.shared.commits.load(Ordering::Relaxed) + nth, cut);
    }
}

impl Shared {
    fn planned(&self) -> MutexGuard<'_, BTreeMap<u64, Cut>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a commit, and says whether its connection is to be cut.
    fn commit(&self) -> Option<Cut> {
        let mut planned = self.planned();
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        let cut = planned.remove(&number);
        self.cuts.fetch_add(u64::from(cut.is_some()), Ordering::Relaxed);
        cut
    }
}

async fn pass(mut client: TcpStream, server: &str, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut hello = [0; 8];
    client.read_exact(&mut hello).await?;
    while hello[4..] == TLS_REQUEST.to_be_bytes() {
        client.write_all(b"N").await?;
        client.read_exact(&mut hello).await?;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Requests that the server has not yet said it is done with.
    let pending = AtomicI64::new(0);
    let (cut, is_cut) = watch::channel(false);
    let up = async {
        let requests = Frames { buffer: hello.to_vec(), typed: false };
        up(from_client, to_server, requests, shared, &pending, &cut).await
    };
    let down = down(from_server, to_client, shared, &pending, is_cut);
    // Whichever ends first ends both: the other's halves are dropped, and with them the connections.
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

async fn up(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut frames: Frames,
    shared: &Shared,
    pending: &AtomicI64,
    cut: &watch::Sender<bool>,
) -> io::Result<()> {
    loop {
        let mut passed = Vec::new();
        while let Some(frame) = frames.next() {
            let is_request = matches!(frame.kind, Some(b'Q' | b'S'));
            if is_request && pending.fetch_add(1, Ordering::AcqRel) == 0 {
                shared.round_trips.fetch_add(1, Ordering::Relaxed);
            }
            let planned = if frame.is_commit() { shared.commit() } else { None };
            if planned == Some(Cut::BeforeCommit) {
                return to.write_all(&passed).await;
            }
            if planned == Some(Cut::BeforeReply) {
                cut.send_replace(true);
            }
            passed.extend(frame.bytes);
        }
        shared.bytes_to_server.fetch_add(passed.len() as u64, Ordering::Relaxed);
        to.write_all(&passed).await?;
        if !frames.read_from(&mut from).await? {
            return Ok(());
        }
    }
}

async fn down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    pending: &AtomicI64,
    is_cut: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut frames = Frames { buffer: Vec::new(), typed: true };
    // The first one ends the login.
    let mut ready = false;
    while frames.read_from(&mut from).await? {
        let mut passed = Vec::new();
        while let Some(frame) = frames.next() {
            match frame.kind {
                Some(b'C') if *is_cut.borrow() && matches!(frame.body(), b"COMMIT\0" | b"ROLLBACK\0") => {
                    return Ok(());
                }
                Some(b'Z') if ready => drop(pending.fetch_sub(1, Ordering::AcqRel)),
                Some(b'Z') => ready = true,
                _ => {}
            }
            passed.extend(frame.bytes);
        }
        if !*is_cut.borrow() {
            shared.bytes_to_client.fetch_add(passed.len() as u64, Ordering::Relaxed);
            to.write_all(&passed).await?;
        }
    }
    Ok(())
}

/// Finds the messages in a stream of bytes.
struct Frames {
    buffer: Vec<u8>,
    /// Whether the next message begins with its type: all but a client's first do.
    typed: bool,
}

struct Frame {
    kind: Option<u8>,
    bytes: Vec<u8>,
}

impl Frame {
    fn body(&self) -> &[u8] {
        &self.bytes[usize::from(self.kind.is_some()) + 4..]
    }

    /// Whether a text of statements that says COMMIT, alone or among others.
    fn is_commit(&self) -> bool {
        let statements = |body: &[u8]| {
            let text = String::from_utf8_lossy(body);
            text.trim_matches('\0').split(';').any(|part| part.trim().eq_ignore_ascii_case("commit"))
        };
        self.kind == Some(b'Q') && statements(self.body())
    }
}

impl Frames {
    /// Reads more; false at the end of the stream.
    async fn read_from(&mut self, from: &mut OwnedReadHalf) -> io::Result<bool> {
        self.buffer.reserve(64 << 10);
        Ok(from.read_buf(&mut self.buffer).await? > 0)
    }

    /// The next message that is there as a whole.
    fn next(&mut self) -> Option<Frame> {
        let typed = usize::from(self.typed);
        let length = self.buffer.get(typed..typed + 4)?;
        let length = u32::from_be_bytes(length.try_into().expect("four bytes are four bytes"));
        let end = typed + length as usize;
        if self.buffer.len() < end {
            return None;
        }
        let bytes: Vec<u8> = self.buffer.drain(..end).collect();
        let kind = self.typed.then(|| bytes[0]);
        self.typed = true;
        Some(Frame { kind, bytes })
    }
}
