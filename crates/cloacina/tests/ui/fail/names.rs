//! A variable cannot have the name of a task that is in scope; the compiler says so, and what to call it.

use cloacina::{TaskError, task};

#[task]
async fn reserve() -> Result<u32, TaskError> {
    Ok(1)
}

async fn bound() {
    let reserve = reserve().await;
    drop(reserve);
}

async fn changed() {
    let mut reserve = 1;
    reserve += 1;
}

fn parameter(reserve: u32) -> u32 {
    reserve
}

fn main() {}
