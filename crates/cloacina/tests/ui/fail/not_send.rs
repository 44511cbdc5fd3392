use std::rc::Rc;

use cloacina::{Context, TaskError, task};

#[task]
async fn holds_an_rc(context: Context) -> Result<Context, TaskError> {
    let shared = Rc::new(1);
    tokio::task::yield_now().await;
    Ok(context.with("n", *shared))
}

fn main() {}
