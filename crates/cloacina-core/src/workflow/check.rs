//! The check of tasks and of a workflow's graph while the program is compiled.
//!
//! The output of `#[task]` and `#[workflow]` calls these functions in constants, where a panic is a compile
//! error at the place of the call. What the macros cannot see is checked when a runner starts.

use super::Task;

/// The id of this task.
#[must_use]
pub const fn id<T: Task>(_: &T) -> &'static str {
    T::ID
}

/// The dependencies of this task.
#[must_use]
pub const fn dependencies<T: Task>(_: &T) -> &'static [&'static str] {
    T::DEPENDENCIES
}

/// Checks the dependency of a task at this place.
///
/// # Panics
///
/// If it is the task itself, or was named before.
#[track_caller]
pub const fn dependency(id: &str, dependencies: &[&str], place: usize) {
    let dependency = dependencies[place];
    if same(id, dependency) {
        fail(&["task `", id, "` depends on itself"]);
    }
    let mut before = 0;
    while before < place {
        if same(dependencies[before], dependency) {
            fail(&["task `", id, "` names its dependency `", dependency, "` twice"]);
        }
        before += 1;
    }
}

/// The tasks of a workflow, as far as they are known at compile time.
#[derive(Debug)]
pub struct Graph<const N: usize> {
    workflow: &'static str,
    ids: [&'static str; N],
    dependencies: [&'static [&'static str]; N],
    /// The first task of each bucket of a hash table over the ids, `N` if there is none: the compiler runs
    /// constants slowly, so that a search through all tasks for each dependency would be felt.
    first: [usize; N],
    /// The task behind each in its bucket.
    next: [usize; N],
    /// Whether every task has its id at compile time. If not, nothing can be said.
    is_known: bool,
}

impl<const N: usize> Graph<N> {
    /// The graph of these tasks.
    #[must_use]
    pub const fn new(
        workflow: &'static str,
        ids: [&'static str; N],
        dependencies: [&'static [&'static str]; N],
    ) -> Self {
        let mut first = [N; N];
        let mut next = [N; N];
        let mut is_known = true;
        // From the last, so that of two tasks with one id the first is found.
        let mut task = N;
        while task > 0 {
            task -= 1;
            let bucket = bucket(ids[task], N);
            next[task] = first[bucket];
            first[bucket] = task;
            is_known = is_known && !ids[task].is_empty();
        }
        Self { workflow, ids, dependencies, first, next, is_known }
    }

    /// Checks the task at this place.
    ///
    /// # Panics
    ///
    /// If a task before it has the same id, or one of its dependencies is not in the workflow.
    #[track_caller]
    pub const fn check_task(&self, task: usize) {
        if !self.is_known {
            return;
        }
        let id = self.ids[task];
        if self.position(id) < task {
            fail(&["workflow `", self.workflow, "` has two tasks with the id `", id, "`"]);
        }
        let mut at = 0;
        while at < self.dependencies[task].len() {
            let dependency = self.dependencies[task][at];
            if self.position(dependency) == N {
                fail(&[
                    "task `",
                    id,
                    "` depends on `",
                    dependency,
                    "`, which is not in the workflow `",
                    self.workflow,
                    "`: add it with `.task(…)` or `.wait(…)`",
                ]);
            }
            at += 1;
        }
    }

    /// Checks that the tasks can be put in an order: a search in depth that marks what it is within.
    ///
    /// # Panics
    ///
    /// If the dependencies go round in a circle.
    #[track_caller]
    pub const fn check_order(&self) {
        if !self.is_known {
            return;
        }
        let mut is_open = [false; N];
        let mut is_done = [false; N];
        let mut next = [0; N];
        let mut path = [0; N];
        let mut root = 0;
        while root < N {
            let mut depth = 0;
            if !is_done[root] {
                path[0] = root;
                is_open[root] = true;
                depth = 1;
            }
            while depth > 0 {
                let task = path[depth - 1];
                if next[task] == self.dependencies[task].len() {
                    is_open[task] = false;
                    is_done[task] = true;
                    depth -= 1;
                    continue;
                }
                let dependency = self.position(self.dependencies[task][next[task]]);
                next[task] += 1;
                if dependency == N || is_done[dependency] {
                    continue;
                }
                if is_open[dependency] {
                    self.fail_with_circle(path.split_at(depth).0, dependency);
                }
                path[depth] = dependency;
                is_open[dependency] = true;
                depth += 1;
            }
            root += 1;
        }
    }

    /// `path` ends with a task that depends on `first`, which is in it.
    #[track_caller]
    const fn fail_with_circle(&self, path: &[usize], first: usize) -> ! {
        let mut message = Message::new();
        message.push("the tasks of workflow `");
        message.push(self.workflow);
        message.push("` wait for each other in a circle: ");
        let mut at = 0;
        while path[at] != first {
            at += 1;
        }
        let mut verb = "` depends on ";
        while at < path.len() && message.length < MESSAGE / 2 {
            message.push("`");
            message.push(self.ids[path[at]]);
            message.push(verb);
            verb = "`, which depends on ";
            at += 1;
        }
        if at < path.len() {
            message.push("…");
        } else {
            message.push("`");
            message.push(self.ids[first]);
            message.push("`");
        }
        panic!("{}", message.text())
    }

    /// Where `id` stands first; `N` if it does not.
    const fn position(&self, id: &str) -> usize {
        let mut at = self.first[bucket(id, N)];
        while at < N && !same(self.ids[at], id) {
            at = self.next[at];
        }
        at
    }
}

#[track_caller]
const fn fail(parts: &[&str]) -> ! {
    let mut message = Message::new();
    let mut part = 0;
    while part < parts.len() {
        message.push(parts[part]);
        part += 1;
    }
    panic!("{}", message.text())
}

/// The most bytes of a message.
const MESSAGE: usize = 2048;

/// A text that is put together at compile time, where there is no `String`.
struct Message {
    bytes: [u8; MESSAGE],
    length: usize,
}

impl Message {
    const fn new() -> Self {
        Self { bytes: [0; MESSAGE], length: 0 }
    }

    /// Adds `text`, or as much of it as there is room for.
    const fn push(&mut self, text: &str) {
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() && self.length < MESSAGE {
            self.bytes[self.length] = text[at];
            self.length += 1;
            at += 1;
        }
    }

    const fn text(&self) -> &str {
        let written = self.bytes.split_at(self.length).0;
        match core::str::from_utf8(written) {
            Ok(text) => text,
            // Only the last character can have been cut.
            Err(error) => match core::str::from_utf8(written.split_at(error.valid_up_to()).0) {
                Ok(text) => text,
                Err(_) => "",
            },
        }
    }
}

/// The bucket of `id` among `buckets`, by FNV-1a.
const fn bucket(id: &str, buckets: usize) -> usize {
    let id = id.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < id.len() {
        hash = (hash ^ id[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    (hash % buckets as u64) as usize
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const N: usize>(tasks: [(&'static str, &'static [&'static str]); N]) {
        let graph = Graph::new("w", tasks.map(|task| task.0), tasks.map(|task| task.1));
        (0..N).for_each(|task| graph.check_task(task));
        graph.check_order();
    }

    #[test]
    fn a_graph_in_any_order_passes() {
        check([]);
        check([("join", &["left", "right"]), ("right", &["root"]), ("left", &["root"]), ("root", &[])]);
    }

    #[test]
    fn a_task_without_an_id_leaves_the_check_to_the_runner() {
        check([("", &[]), ("a", &["elsewhere"])]);
    }

    #[test]
    #[should_panic(expected = "workflow `w` has two tasks with the id `a`")]
    fn a_duplicate_is_named() {
        check([("a", &[]), ("b", &[]), ("a", &[])]);
    }

    #[test]
    #[should_panic(expected = "task `b` depends on `a`, which is not in the workflow `w`")]
    fn a_missing_dependency_is_named() {
        check([("b", &["a"])]);
    }

    #[test]
    #[should_panic(expected = "in a circle: `a` depends on `b`, which depends on `c`, which depends on `a`")]
    fn a_circle_is_told_without_what_leads_to_it() {
        check([("start", &["a"]), ("a", &["b"]), ("b", &["c"]), ("c", &["a"])]);
    }

    #[test]
    #[should_panic(expected = "…")]
    fn a_long_circle_is_cut() {
        let ids: [&'static str; 40] =
            std::array::from_fn(|n| &*Box::leak(format!("{n:050}").into_boxed_str()));
        let tasks = std::array::from_fn(|n| (ids[n], &*Vec::leak(vec![ids[(n + 1) % ids.len()]])));
        check::<40>(tasks);
    }

    #[test]
    #[should_panic(expected = "task `a` depends on itself")]
    fn a_task_cannot_wait_for_itself() {
        dependency("a", &["b", "a"], 1);
    }

    #[test]
    #[should_panic(expected = "task `a` names its dependency `b` twice")]
    fn a_dependency_is_named_once() {
        dependency("a", &["b", "c", "b"], 2);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut message = Message::new();
        message.push(&"x".repeat(MESSAGE - 1));
        message.push("…");
        assert_eq!(message.text().len(), MESSAGE - 1);
    }
}
