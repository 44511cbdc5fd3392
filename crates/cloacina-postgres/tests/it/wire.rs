//! What goes over the wire, seen by a proxy between the store and the server.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::store::StoreErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Handle, completed, fresh_database, new_execution};

/// Hands bytes on and counts.
#[derive(Default)]
struct Proxy {
    /// Writes of the client that follow an answer.
    round_trips: AtomicUsize,
    /// Messages of the client: prepared statements that were run, and texts of simple queries.
    executed: AtomicUsize,
    texts: Mutex<Vec<String>>,
    /// From now on an answer to COMMIT closes the connection instead of arriving.
    swallows_commits: AtomicBool,
}

impl Proxy {
    /// The proxy, and the URL through which the store reaches the server that `url` names.
    async fn new(url: &str) -> (Arc<Self>, String) {
        let proxy = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (login, rest) = url.rsplit_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let database = database.split('?').next().unwrap();
        let through = format!("{login}@{}/{database}?sslmode=disable", listener.local_addr().unwrap());
        let (accepting, server) = (Arc::clone(&proxy), server.to_owned());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(Arc::clone(&accepting).carry(client, server));
            }
        });
        (proxy, through)
    }

    async fn carry(self: Arc<Self>, mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
        let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let (mut pending, mut starting, mut answer_since) = (Vec::new(), true, true);
        loop {
            tokio::select! {
                read = client.read(&mut asked) => {
                    let asked = &asked[..read?];
                    if asked.is_empty() { return Ok(()); }
                    self.round_trips.fetch_add(usize::from(answer_since), Ordering::SeqCst);
                    answer_since = false;
                    pending.extend_from_slice(asked);
                    self.count(&mut pending, &mut starting);
                    server.write_all(asked).await?;
                }
                read = server.read(&mut answered) => {
                    let answered = &answered[..read?];
                    if answered.is_empty() { return Ok(()); }
                    answer_since = true;
                    let is_commit = answered.windows(7).any(|window| window == b"COMMIT\0");
                    if is_commit && self.swallows_commits.load(Ordering::SeqCst) { return Ok(()); }
                    client.write_all(answered).await?;
                }
            }
        }
    }

    /// Counts the whole messages in what was sent. The first one has no type.
    fn count(&self, pending: &mut Vec<u8>, starting: &mut bool) {
        loop {
            let head = usize::from(!*starting);
            let Some(length) = pending.get(head..head + 4) else { return };
            let end = head + u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if pending.len() < end {
                return;
            }
            let message: Vec<u8> = pending.drain(..end).collect();
            match message[0] {
                _ if *starting => *starting = false,
                b'E' => drop(self.executed.fetch_add(1, Ordering::SeqCst)),
                b'Q' => {
                    let text = String::from_utf8_lossy(&message[5..message.len() - 1]).into_owned();
                    self.texts.lock().unwrap().push(text);
                }
                _ => {}
            }
        }
    }

    /// Round trips, prepared statements and simple queries since the last time.
    fn take(&self) -> (usize, usize, Vec<String>) {
        let texts = std::mem::take(&mut *self.texts.lock().unwrap());
        (self.round_trips.swap(0, Ordering::SeqCst), self.executed.swap(0, Ordering::SeqCst), texts)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_of_one_task_takes_two_round_trips_and_two_commits() {
    let url = fresh_database().await;
    let (proxy, through) = Proxy::new(&url).await;
    let t = Handle::through(&url, Some(&through)).await;
    let submit_and_complete = async || {
        let new = new_execution(&[0], &[0]);
        let id = new.id;
        let mut seen = Vec::new();
        proxy.take();
        assert_eq!(t.flush(vec![new], vec![], 0).await.submitted, [id]);
        seen.push(proxy.take());
        assert_eq!(t.flush(vec![], vec![completed(id, 0, &[])], 0).await.closed.len(), 1);
        seen.push(proxy.take());
        seen
    };
    // The first of each prepares its statements.
    submit_and_complete().await;
    for (round_trips, executed, texts) in submit_and_complete().await {
        assert_eq!(round_trips, 1);
        // Fence, runner_place; then executions and tasks, or lock, record and close.
        assert!(executed == 4 || executed == 5, "{executed}");
        assert_eq!(texts.len(), 2, "{texts:?}");
        let begun = texts[0].starts_with("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE;");
        assert!(begun && texts[1] == "COMMIT", "{texts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_decided_and_can_be_read() {
    let url = fresh_database().await;
    let (proxy, through) = Proxy::new(&url).await;
    let t = Handle::through(&url, Some(&through)).await;
    let execution = t.submit(new_execution(&[0], &[0])).await;
    // Prepare what is needed, on a task that is not held.
    t.flush(vec![], vec![completed(execution, 7, &[])], 0).await;
    proxy.swallows_commits.store(true, Ordering::SeqCst);
    let error = t.start(0, vec![], vec![completed(execution, 0, &[])], 0).await.unwrap().unwrap_err();
    proxy.swallows_commits.store(false, Ordering::SeqCst);
    assert_eq!(error.kind(), StoreErrorKind::Unknown, "{error}");
    assert_eq!(t.load(execution).await.header.status, ExecutionStatus::Completed);
}
