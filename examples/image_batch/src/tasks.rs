//! The tasks of a batch.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cloacina::{Context, Item, TaskError, Workflow, task, workflow};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::picture::{Picture, write};

/// Where everything is. The tasks get it from the runner.
pub(crate) struct Directory(pub(crate) PathBuf);

/// A picture that was made smaller.
#[derive(Serialize, Deserialize)]
struct Small {
    name: String,
    width: u32,
    height: u32,
}

/// Draws the pictures, and emits the name of each: a list for the map, that need not fit into memory.
#[task]
async fn draw(context: &mut Context, directory: &Directory) -> Result<(), TaskError> {
    let number: u32 = context.get("number").context("the input says no number")?;
    for number in 0..number {
        let name = format!("{number:05}.png");
        let path = directory.0.join("large").join(&name);
        // An attempt that was killed has drawn some.
        if !path.exists() {
            spawn_blocking(move || Picture::draw(number).write(&path)).await??;
        }
        context.emit("pictures", name).await?;
    }
    Ok(())
}

/// Makes a picture smaller. That computes, and waits for nothing: it gets a thread of its own.
#[task(map = "pictures", parallel = 8, dependencies = [draw], retry(attempts = 3), blocking)]
fn shrink(name: Item<String>, directory: &Directory) -> anyhow::Result<Small> {
    let name = name.into_value();
    let small = Picture::read(&directory.0.join("large").join(&name))?.quarter();
    small.write(&directory.0.join("small").join(&name))?;
    Ok(Small { name, width: small.width, height: small.height })
}

/// Writes the page.
#[task(dependencies = [shrink])]
async fn report(context: &mut Context, directory: &Directory) -> anyhow::Result<()> {
    let (mut pictures, mut shown) = (context.results::<Small>("shrink"), 0);
    let mut page = String::from(HEAD);
    while let Some((_, picture)) = pictures.next().await? {
        let Small { name, width, height } = picture.map_err(anyhow::Error::msg)?;
        writeln!(
            page,
            r#"<a href="large/{name}"><img src="small/{name}" width="{width}" height="{height}" alt="{name}"></a>"#
        )?;
        shown += 1;
    }
    write(&page_in(&directory.0), |mut file| Ok(file.write_all(page.as_bytes())?))?;
    context.set("shown", shown);
    Ok(())
}

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Image batch</title>
<style>body { background: #222 } img { margin: 2px; vertical-align: top }</style>
"#;

/// Where the page is.
pub(crate) fn page_in(directory: &Path) -> PathBuf {
    directory.join("report.html")
}

#[workflow]
fn image_batch() -> Workflow {
    Workflow::builder("image_batch")
        .description("Makes pictures smaller and shows them on a page")
        .task(draw)
        .task(shrink)
        .task(report)
        .build()
}
