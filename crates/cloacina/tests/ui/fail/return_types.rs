use cloacina::{Context, TaskError, task};

#[task]
async fn nothing(_context: Context) {}

#[task]
async fn nothing_in_place(_context: &mut Context) {}

#[task]
async fn no_result(context: Context) -> Context {
    context
}

#[task]
async fn forgets_the_context(_context: Context) -> Result<(), TaskError> {
    Ok(())
}

#[task]
async fn returns_the_borrowed(context: &mut Context) -> Result<Context, TaskError> {
    Ok(context.clone())
}

#[task]
async fn local_error(context: Context) -> Result<Context, Box<dyn std::error::Error>> {
    Ok(context)
}

#[task(blocking)]
fn no_error(_context: &mut Context) -> Result<(), u32> {
    Ok(())
}

fn main() {}
