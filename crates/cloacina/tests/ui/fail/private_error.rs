use cloacina::{Context, task};

#[derive(Debug)]
struct Hidden;

impl std::fmt::Display for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hidden")
    }
}

impl std::error::Error for Hidden {}

#[task]
pub async fn visible(context: Context) -> Result<Context, Hidden> {
    Ok(context)
}

fn main() {}
