//! How a test waits for what takes real time.

use std::time::{Duration, Instant};

use cloacina_core::Doing;
use cloacina_core::clock::{Clock as _, SystemClock};

/// How often it is looked at once more before there is a pause.
const AT_ONCE: usize = 200;

const PAUSE: Duration = Duration::from_millis(1);

/// How long until the test says what it waits for.
pub(super) const LONG: Duration = Duration::from_secs(10);

/// Waits a little longer each time.
pub(super) struct Patience {
    looks: usize,
    says_at: Instant,
}

impl Default for Patience {
    fn default() -> Self {
        Self { looks: 0, says_at: Instant::now() + LONG }
    }
}

impl Patience {
    pub(super) async fn wait(&mut self, doing: &Doing) {
        self.looks += 1;
        if self.looks < AT_ONCE {
            return tokio::task::yield_now().await;
        }
        if Instant::now() >= self.says_at {
            self.says_at = Instant::now() + LONG;
            eprintln!("{}", said(doing));
        }
        SystemClock.sleep(PAUSE).await;
    }
}

fn said(doing: &Doing) -> String {
    let Doing::Runs(tasks) = doing else {
        return "the test waits for the engine, which has been at work for more than 10 s".to_owned();
    };
    let tasks: Vec<_> = tasks
        .iter()
        .map(|task| format!("attempt {} of `{}` in execution {}", task.attempt, task.task, task.execution))
        .collect();
    format!(
        "the test waits for code that has been running for more than 10 s: {}. The clock stands meanwhile; a task that is to take long \
         by the clock is told so by `runner.task(…).takes(…)`",
        tasks.join(", ")
    )
}
