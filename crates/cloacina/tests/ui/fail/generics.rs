use cloacina::{Context, TaskError, Workflow, task, workflow};

#[task]
async fn over_a_type<T: Send>(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[task]
async fn over_a_lifetime<'a>(_context: &'a mut Context) -> Result<(), TaskError> {
    Ok(())
}

#[task]
async unsafe extern "C" fn qualified(context: Context) -> Result<Context, TaskError> {
    Ok(context)
}

#[workflow]
fn of_anything<const N: usize>() -> Workflow {
    Workflow::builder("w").build()
}

fn main() {}
