use cloacina::{Context, TaskError, task};

#[task(name = "a")]
async fn unknown(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task("a")]
async fn bare(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(id = "a", id = "b")]
async fn twice(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(id = "", retries = 5, blocking = true, timeout, rule all_done)]
async fn several(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(id = name)]
async fn not_a_string(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(id = "line\nbreak")]
async fn control(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(rule = all(none_failed))]
async fn combined(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(rule = always)]
async fn bad_rule(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

fn main() {}
