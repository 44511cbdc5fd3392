use cloacina::{Context, TaskError, task};

async fn plain(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task]
async fn known(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(dependencies = [plain])]
async fn not_a_task(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(dependencies = known)]
async fn no_list(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(dependencies = [known()])]
async fn called(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(dependencies = [known, known])]
async fn repeated(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(dependencies = [known, "known"])]
async fn repeated_in_two_forms(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(dependencies = [itself])]
async fn itself(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(id = "me", dependencies = ["me"])]
async fn itself_by_id(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task(dependencies = [self::itself_by_path])]
async fn itself_by_path(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

fn main() {}
