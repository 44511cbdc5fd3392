//! Documentation, `cfg`, visibility and lints stay with the task.
#![deny(warnings, missing_docs)]

/// Tasks that others use.
pub mod tasks {
    use cloacina::{Context, TaskError, task};

    /// Documented, as the crate demands.
    ///
    /// With more than one paragraph.
    #[task]
    #[inline]
    pub async fn documented(context: Context) -> Result<Context, TaskError> {
        Ok(context)
    }

    #[cfg(any())]
    #[task(dependencies = [missing])]
    pub async fn absent(context: Context) -> Result<Context, TaskError> {
        Ok(context)
    }

    #[task]
    #[cfg(any())]
    pub async fn absent(context: Context) -> Result<Context, TaskError> {
        Ok(context)
    }

    #[task(dependencies = [documented])]
    #[cfg_attr(all(), allow(unused_variables, unused_mut))]
    pub(crate) async fn sloppy(mut context: Context) -> Result<Context, TaskError> {
        let unused = 1;
        Ok(context)
    }

    /// Still here.
    #[deprecated]
    #[task(dependencies = [self::documented, crate::tasks::sloppy])]
    pub async fn old(context: Context) -> Result<Context, TaskError> {
        Ok(context)
    }

    #[task]
    #[allow(dead_code)]
    async fn nowhere(context: Context) -> Result<Context, TaskError> {
        Ok(context)
    }
}

use cloacina::{Workflow, workflow};

/// Documented too.
#[workflow]
#[must_use]
pub fn tidy() -> Workflow {
    Workflow::builder("tidy").task(tasks::documented).task(crate::tasks::sloppy).build()
}

#[workflow]
#[allow(deprecated)]
fn with_old() -> Workflow {
    use tasks::*;
    return Workflow::builder("with_old").task(documented).task(sloppy).task(old).build();
}

fn main() {
    assert_eq!(tidy().tasks().len(), 2);
    assert_eq!(with_old().tasks().len(), 3);
}
