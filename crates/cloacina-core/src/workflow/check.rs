//! The check of a workflow's graph while the program is compiled.
//!
//! `#[workflow]` calls [`graph`] in a constant for the tasks it sees in the body of the function, so that a
//! mistake there is a compile error. What it cannot see is checked when a runner starts.

/// Ends the build with a message if two tasks have one id, a dependency is not in the workflow, or the
/// dependencies go round in a circle.
///
/// # Panics
///
/// In those cases: in a constant, a panic is a compile error.
pub const fn graph(ids: &[&str], dependencies: &[&[&str]]) {
    let mut task = 0;
    while task < ids.len() {
        let mut other = task + 1;
        while other < ids.len() {
            assert!(!same(ids[task], ids[other]), "two tasks of this workflow have the same id");
            other += 1;
        }
        let mut dependency = 0;
        while dependency < dependencies[task].len() {
            assert!(
                position(ids, dependencies[task][dependency]) < ids.len(),
                "a task of this workflow depends on a task that is not in it: add it with `.task(…)`"
            );
            dependency += 1;
        }
        task += 1;
    }
    // Kahn's algorithm without a queue: as many rounds as tasks, each marking those whose dependencies are done.
    let mut done = [false; 256];
    if ids.len() > done.len() {
        return;
    }
    let mut round = 0;
    while round < ids.len() {
        let mut task = 0;
        while task < ids.len() {
            let mut met = true;
            let mut dependency = 0;
            while dependency < dependencies[task].len() {
                met = met && done[position(ids, dependencies[task][dependency])];
                dependency += 1;
            }
            done[task] = done[task] || met;
            task += 1;
        }
        round += 1;
    }
    let mut task = 0;
    while task < ids.len() {
        assert!(done[task], "the dependencies of this workflow go round in a circle");
        task += 1;
    }
}

/// Where `id` stands in `ids`; their number if it does not.
const fn position(ids: &[&str], id: &str) -> usize {
    let mut at = 0;
    while at < ids.len() {
        if same(ids[at], id) {
            return at;
        }
        at += 1;
    }
    at
}

const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}
