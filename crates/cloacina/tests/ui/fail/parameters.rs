use cloacina::{Context, TaskError, task};

#[task]
async fn changed(_context: &mut Context, _number: &mut u32) -> Result<(), TaskError> {
    Ok(())
}

#[task]
async fn two(context: Context, _number: u32) -> Result<Context, TaskError> {
    Ok(context)
}

#[task]
async fn shared(_context: &Context) -> Result<(), TaskError> {
    Ok(())
}

#[task]
async fn borrowed_for_ever(_context: &'static mut Context) -> Result<(), TaskError> {
    Ok(())
}

#[task]
async fn anything(context: impl Into<Context>) -> Result<Context, TaskError> {
    Ok(context.into())
}

struct Report;

impl Report {
    #[task]
    async fn method(&self) -> Result<(), TaskError> {
        Ok(())
    }
}

fn main() {}
