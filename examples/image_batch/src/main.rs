//! Makes many pictures smaller, and writes a page that shows them.
//!
//! `image_batch [DIRECTORY [NUMBER]]`. Killed at any moment and started again, it goes on with the pictures
//! that are not done.

mod bar;
mod picture;
mod tasks;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cloacina::{Context, Runner};

use crate::bar::Bar;
use crate::tasks::{Directory, page_in};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap_or_else(|| "./image_batch".to_owned()));
    let number: u32 = match arguments.next() {
        Some(number) => {
            number.parse().context("the number of pictures is none: image_batch [DIRECTORY [NUMBER]]")?
        }
        None => 200,
    };
    ensure!(arguments.next().is_none(), "too many arguments: image_batch [DIRECTORY [NUMBER]]");
    for part in ["large", "small"] {
        std::fs::create_dir_all(directory.join(part))
            .with_context(|| format!("failed to make the directory {}", directory.display()))?;
    }

    let state = format!("sqlite://{}", directory.join("state.db").display());
    let page = page_in(&directory);
    let runner = Runner::builder().database_url(state).state(Directory(directory)).build().await?;
    // The key finds the batch that was begun, so a second start goes on with it.
    let input = Context::new().with("number", number);
    let batch = runner.submit("image_batch").input(input).idempotency_key(format!("{number} pictures"));
    let batch = batch.send().await?;

    let mut bar = Bar::new();
    let result = loop {
        let ended = batch.wait_for(Duration::from_millis(100)).await?;
        // There is none as long as the pictures are drawn.
        if let Some(map) = batch.progress().await?.first() {
            bar.show(map)?;
        }
        if let Some(ended) = ended {
            break ended;
        }
    };
    bar.end();
    runner.shutdown().await?;
    if !result.status.is_success() {
        bail!("the batch is {}: {}", result.status, result.error_message.unwrap_or_default());
    }
    let shown: u32 = result.final_context.get("shown").unwrap_or_default();
    println!("{shown} pictures are in {}", page.display());
    Ok(())
}
