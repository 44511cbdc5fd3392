//! What a map cannot be told.

use cloacina::{Item, TaskError, task};

#[task(parallel = 3)]
async fn no_list(_: Item<u32>) -> Result<(), TaskError> {
    Ok(())
}

#[task(map = "items", parallel = 0)]
async fn none_at_once(_: Item<u32>) -> Result<(), TaskError> {
    Ok(())
}

#[task(map = "items", parallel = 10001)]
async fn too_many_at_once(_: Item<u32>) -> Result<(), TaskError> {
    Ok(())
}

#[task(map = "items", tolerate = "two")]
async fn tolerates_a_word(_: Item<u32>) -> Result<(), TaskError> {
    Ok(())
}

#[task(map = items)]
async fn no_text(_: Item<u32>) -> Result<(), TaskError> {
    Ok(())
}

fn main() {}
