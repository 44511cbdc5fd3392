//! The workflows that `#[workflow]` registered when the program was linked.

use super::{Workflow, WorkflowError};

/// One function with `#[workflow]`.
#[derive(Debug, Clone, Copy)]
pub struct WorkflowRegistration {
    function: &'static str,
    file: &'static str,
    line: u32,
    make: fn() -> Workflow,
}

impl WorkflowRegistration {
    /// The registration of the workflow that `make` returns; the rest tells where it is, for messages.
    #[must_use]
    pub const fn new(function: &'static str, file: &'static str, line: u32, make: fn() -> Workflow) -> Self {
        Self { function, file, line, make }
    }

    fn place(&self) -> String {
        format!("`{}` ({}:{})", self.function, self.file, self.line)
    }
}

inventory::collect!(WorkflowRegistration);

/// Every workflow of this program that a function with `#[workflow]` defines, in the order of their names.
///
/// A crate that nothing in the program refers to is not linked, and its workflows are not registered: `use`
/// something of it. What is wrong with a workflow's graph is not told here but when a runner starts.
///
/// # Errors
///
/// Two of them have one name and the same version, or both none.
pub fn registered() -> Result<Vec<Workflow>, WorkflowError> {
    collect(inventory::iter::<WorkflowRegistration>)
}

fn collect<'a>(
    registrations: impl IntoIterator<Item = &'a WorkflowRegistration>,
) -> Result<Vec<Workflow>, WorkflowError> {
    let mut found: Vec<(Workflow, &WorkflowRegistration)> =
        registrations.into_iter().map(|registration| ((registration.make)(), registration)).collect();
    // The linker's order is arbitrary: the place decides between equals, so that the error is always the
    // same.
    found.sort_by(|(left, left_at), (right, right_at)| {
        let left = (left.name(), left.version(), left_at.file, left_at.line);
        left.cmp(&(right.name(), right.version(), right_at.file, right_at.line))
    });
    for pair in found.windows(2) {
        let [(one, one_at), (other, other_at)] = pair else { unreachable!("windows of two") };
        if (one.name(), one.version()) == (other.name(), other.version()) {
            return Err(WorkflowError::registered_twice(one.name(), one_at.place(), other_at.place()));
        }
    }
    Ok(found.into_iter().map(|(workflow, _)| workflow).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: WorkflowRegistration =
        WorkflowRegistration::new("reports::a", "src/reports.rs", 7, || Workflow::builder("a").build());
    const B: WorkflowRegistration =
        WorkflowRegistration::new("reports::b", "src/reports.rs", 3, || Workflow::builder("b").build());
    const SECOND_A: WorkflowRegistration =
        WorkflowRegistration::new("billing::a", "src/billing.rs", 9, || Workflow::builder("a").build());

    #[test]
    fn workflows_come_in_the_order_of_their_names() {
        let names: Vec<_> = collect(&[B, A]).unwrap().iter().map(|w| w.name().to_owned()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn versions_of_a_workflow_stand_side_by_side() {
        const NEW_A: WorkflowRegistration =
            WorkflowRegistration::new("billing::a2", "src/billing.rs", 19, || {
                Workflow::builder("a").version("2").build()
            });
        let found = collect(&[NEW_A, A]).unwrap();
        assert_eq!(found.iter().map(Workflow::version).collect::<Vec<_>>(), [None, Some("2")]);
        collect(&[NEW_A, A, NEW_A]).unwrap_err();
    }

    #[test]
    fn two_workflows_of_one_name_are_refused_with_both_places() {
        let error = collect(&[A, B, SECOND_A]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "workflow `a` is registered twice, by `billing::a` (src/billing.rs:9) and by `reports::a` \
             (src/reports.rs:7): give one of them another name, or another version"
        );
        assert_eq!(collect(&[SECOND_A, B, A]).unwrap_err(), error);
    }
}
