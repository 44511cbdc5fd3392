use cloacina::{Context, TaskError, task};

#[task]
async fn number(_number: u32) -> Result<Context, TaskError> {
    Ok(Context::new())
}

#[task]
async fn text(_text: &mut String) -> Result<(), TaskError> {
    Ok(())
}

#[task(blocking)]
fn blocking(_context: Context<u32>) -> Result<Context, TaskError> {
    Ok(Context::new())
}

fn main() {}
