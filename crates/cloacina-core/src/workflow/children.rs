//! What a wait for other executions says.

use std::time::Duration;

use super::name::check_workflow_name;

/// How the names of workflows begin that are made of one task which runs for each item of a list.
pub(crate) const OF_TASK: &str = "cloacina/map/";

/// How many children of a map may be open at once if nobody says.
pub(crate) const DEFAULT_PARALLEL: u32 = 64;

/// The most children of a node that may be open at once.
pub(crate) const MOST_PARALLEL: u32 = 10_000;

/// The executions that a node waits for.
#[derive(Debug, Clone)]
pub(crate) struct Children {
    pub(crate) workflow: String,
    /// The key of the list in the context that has an item for each; without, it is one child.
    pub(crate) list: Option<String>,
    /// The key of the value in the context that is the input of a single child; without, the whole context
    /// is.
    pub(crate) input: Option<String>,
    pub(crate) parallel: u32,
    pub(crate) tolerance: Tolerance,
    pub(crate) on_close: ParentClose,
    pub(crate) timeout: Option<Duration>,
}

/// What becomes of children whose parent ends before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParentClose {
    /// They are cancelled.
    #[default]
    Cancel,
    /// They go on.
    Abandon,
}

/// How many items of a [map](super::Wait::map) may fail before it fails.
///
/// It is made of a number of items, or of a text: `"2%"` of all items, rounded down, or `"3"`. A text that is
/// neither is an error of the workflow.
///
/// ```
/// use cloacina_core::workflow::Wait;
///
/// let resize = Wait::map("resize", "resize_image").over("images").tolerate("2%");
/// let send = Wait::map("send", "send_mail").over("receivers").tolerate(3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance(Tolerated);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Tolerated {
    Items(u32),
    /// Of all items.
    Percent(f64),
    Nonsense,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self(Tolerated::Items(0))
    }
}

impl From<u32> for Tolerance {
    fn from(items: u32) -> Self {
        Self(Tolerated::Items(items))
    }
}

impl From<&str> for Tolerance {
    fn from(text: &str) -> Self {
        let tolerated = match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.trim().parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
                percent.map_or(Tolerated::Nonsense, Tolerated::Percent)
            }
            None => text.trim().parse().map_or(Tolerated::Nonsense, Tolerated::Items),
        };
        Self(tolerated)
    }
}

impl Tolerance {
    /// How many of so many items may fail.
    pub(crate) fn of(self, total: u64) -> u64 {
        match self.0 {
            Tolerated::Items(items) => u64::from(items),
            // A list has a million items at most, which a float tells apart.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            Tolerated::Percent(percent) => (total as f64 * percent / 100.0 + 1e-9) as u64,
            Tolerated::Nonsense => 0,
        }
    }
}

impl Children {
    pub(crate) fn of(workflow: String) -> Self {
        Self {
            workflow,
            list: None,
            input: None,
            parallel: 1,
            tolerance: Tolerance::default(),
            on_close: ParentClose::default(),
            timeout: None,
        }
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.workflow.starts_with(OF_TASK) && self.list.is_none() {
            return Err("says `parallel` or `tolerate`, and not over which list it runs: add `.map(…)`");
        }
        let of_task = self.workflow.strip_prefix(OF_TASK).filter(|_| self.list.is_some());
        if of_task.is_none() && check_workflow_name(&self.workflow).is_err() {
            return Err(
                "names a workflow by a name that none can have: use 1 to 200 bytes, without control characters, and not \
                        beginning with `cloacina/`",
            );
        }
        if !(1..=MOST_PARALLEL).contains(&self.parallel) {
            return Err("has a `.parallel(…)` that is not between 1 and 10,000");
        }
        if self.tolerance.0 == Tolerated::Nonsense {
            return Err("tolerates what is neither a number of items nor a percentage like `2%`");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_is_a_number_of_items_or_a_part_of_all() {
        assert_eq!(Tolerance::from("2%").of(100), 2);
        assert_eq!(Tolerance::from("2 %").of(149), 2);
        assert_eq!(Tolerance::from("0.1%").of(1_000_000), 1_000);
        assert_eq!(Tolerance::from("100%").of(7), 7);
        assert_eq!(Tolerance::from("3").of(1), 3);
        assert_eq!(Tolerance::from(5).of(1_000), 5);
        assert_eq!(Tolerance::default().of(1_000), 0);
    }

    #[test]
    fn nonsense_is_refused() {
        let check = |tolerance: Tolerance| Children { tolerance, ..Children::of("ship".into()) }.check();
        for nonsense in ["", "two", "-1", "101%", "-2%", "NaN%", "%", "1e999%"] {
            assert!(check(nonsense.into()).is_err(), "{nonsense}");
        }
        check("0%".into()).unwrap();
        for parallel in [0, 10_001] {
            assert!(Children { parallel, ..Children::of("ship".into()) }.check().is_err());
        }
        for name in ["", "cloacina/x", "a\nb"] {
            assert!(Children::of(name.into()).check().is_err());
        }
    }
}
