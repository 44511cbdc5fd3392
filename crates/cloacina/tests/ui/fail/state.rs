use std::cell::Cell;

use cloacina::{Context, TaskError, task};

trait Mailer: Send + Sync {}

#[task]
async fn of_any_type(_context: &mut Context, _mailer: &dyn Mailer) -> Result<(), TaskError> {
    Ok(())
}

#[task(blocking)]
fn not_shared(_context: &mut Context, _count: &Cell<u32>) -> Result<(), TaskError> {
    Ok(())
}

fn main() {}
