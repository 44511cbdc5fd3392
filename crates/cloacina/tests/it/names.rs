//! Code that was written with the other names of our types compiles and runs.

use cloacina::executor::unified_executor::{UnifiedExecutor, UnifiedExecutorBuilder};
use cloacina::runner::{DefaultRunner, DefaultRunnerConfig};
use cloacina::{Context, Workflow, task};
use cloacina::{PipelineError, PipelineExecution, PipelineResult, PipelineStatus};

#[task(id = "idle")]
async fn idle(_: &mut Context) -> Result<(), PipelineError> {
    Ok(())
}

#[tokio::test]
async fn the_other_names_stand_for_the_same_types() {
    let run = async || -> Result<PipelineResult, PipelineError> {
        let config: DefaultRunnerConfig =
            DefaultRunnerConfig::builder().workflow(Workflow::builder("named").task(idle).build()).build();
        let builder: UnifiedExecutorBuilder = DefaultRunner::builder().config(config);
        let runner: UnifiedExecutor = builder.database_url("sqlite::memory:").build().await?;
        let execution: PipelineExecution = runner.execute_async("named", Context::new()).await?;
        execution.wait_for_completion().await
    };
    assert_eq!(run().await.unwrap().status, PipelineStatus::Completed);
}
