use cloacina::{Context, TaskError, task};

#[task(retry(attempts = 0))]
async fn no_attempts(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(retry(attempts = -1, backoff = quadratic, jitter = some, base = 5, cap = "1 hour", tries = 3))]
async fn all_wrong(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(retry = 5)]
async fn number(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(retry)]
async fn nothing(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(retry(base = "2m"))]
async fn above_the_cap(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(retry(cap = "10ms"))]
async fn below_the_base(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(retry(base = "2s", cap = "1s"))]
async fn crossed(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

fn main() {}
