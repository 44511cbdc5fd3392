//! Another process, which is this very program: told by variables to hold tasks until it is killed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use cloacina::runner::Runner;

use crate::support::{Database, Gate, quick, workflow};

const URL: &str = "CLOACINA_TEST_PLACE_URL";
const SCHEMA: &str = "CLOACINA_TEST_PLACE_SCHEMA";

/// How many tasks it holds, of one execution.
pub(crate) const HELD: usize = 3;

/// What it writes once it holds them.
const HOLDS: &str = "the other process holds its tasks";

pub(crate) struct Other(Child);

impl Other {
    /// One that holds tasks in this place.
    pub(crate) fn holding(database: &Database) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process::another_process", "--nocapture"]).env(URL, &database.url);
        command.stdout(Stdio::piped());
        if let Some(schema) = &database.schema {
            command.env(SCHEMA, schema);
        }
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains(HOLDS)), "it ended without a word");
        Self(process)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have been killed before.
        self.0.kill().unwrap_or_default();
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process() {
    let Ok(url) = std::env::var(URL) else { return };
    let gate = Gate::new();
    let config = quick().workflow(workflow("w", ["a", "b", "c"].map(|id| gate.task(id)))).build();
    let builder = Runner::builder().database_url(url).config(config);
    let builder = match std::env::var(SCHEMA) {
        Ok(schema) => builder.schema(schema),
        Err(_) => builder,
    };
    let runner = builder.build().await.unwrap();
    runner.submit("w").send().await.unwrap();
    for _ in 0..HELD {
        gate.started().await;
    }
    println!("{HOLDS}");
    std::future::pending::<()>().await;
}
