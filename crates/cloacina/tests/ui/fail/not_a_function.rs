use cloacina::{task, workflow};

#[task(id = "a")]
struct Task;

#[workflow]
const WORKFLOW: u32 = 1;

fn main() {}
