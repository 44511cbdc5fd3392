use cloacina::{Context, TaskError, task};

#[task(timeout = "30")]
async fn without_a_unit(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(timeout = 30)]
async fn number(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(timeout = "0s")]
async fn zero(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(timeout = never)]
async fn word(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(timeout = "1000d")]
async fn years(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

fn main() {}
