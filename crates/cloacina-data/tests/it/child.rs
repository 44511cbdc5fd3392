//! Children that tasks start in transactions of their tenant.

use std::ops::Range;
use std::time::Duration;

use cloacina::data::{TenantDb, TenantTx};
use cloacina::runner::Runner;
use cloacina::{
    Context, Error, ErrorKind, ExecutionFilter, ExecutionStatus, ParentClose, RetryPolicy, Task,
    TaskDefinition, TaskError, TaskInfo, Wait, Workflow, task,
};
use uuid::Uuid;

use crate::model::data;
use crate::support::{PATIENCE, Placement, in_each_placement};

/// Starts two children, and fails the first time after their commit.
#[task(id = "send")]
async fn send(context: Context, db: TenantDb) -> Result<Context, TaskError> {
    let task = context.task().clone();
    let started = db
        .run(async |tx| {
            let parcel = tx.submit("parcel").input(Context::new().with("n", 1)).child_of(&task, "parcel");
            let letter = tx.submit("parcel").child_of(&task, "letter").on_close(ParentClose::Abandon);
            Ok((parcel.send().await?, letter.send().await?))
        })
        .await?;
    if context.task().attempt() == 1 {
        return Err(TaskError::retry_after(Duration::ZERO, format!("{} {}", started.0, started.1)));
    }
    Ok(context.with("parcel", started.0).with("letter", started.1))
}

/// Starts a child in the commit with which it is done.
#[task(id = "order")]
async fn order(context: &mut Context, tx: &TenantTx) -> anyhow::Result<()> {
    let parcel = tx.submit("parcel").child_of(context.task(), "parcel").send().await?;
    anyhow::ensure!(context.task().attempt() > 1, "it changed its mind");
    context.set("parcel", parcel);
    Ok(())
}

/// Starts itself.
#[task(id = "again")]
async fn again(context: Context, db: TenantDb) -> Result<Context, TaskError> {
    let task = context.task().clone();
    let next = tx_of_next(&db, &task).await;
    match next {
        Ok(_) => Ok(context),
        Err(error) => Err(TaskError::fatal(error)),
    }
}

async fn tx_of_next(db: &TenantDb, task: &TaskInfo) -> Result<Uuid, Error> {
    db.run_as(async |tx| {
        let next = tx.submit("endless").child_of(task, "next").on_close(ParentClose::Abandon);
        next.send().await
    })
    .await
}

/// Starts as many children as a task may, in several transactions, and one more.
#[task(id = "breed")]
async fn breed(context: Context, db: TenantDb) -> Result<Context, TaskError> {
    let task = context.task().clone();
    let start = async |numbers: Range<usize>| {
        let tx = async |tx: &TenantTx| {
            for number in numbers.clone() {
                tx.submit("parcel").child_of(&task, format!("child {number}")).send().await?;
            }
            Ok::<_, Error>(())
        };
        db.run_as(tx).await
    };
    for begin in (0..MOST).step_by(2_500) {
        start(begin..begin + 2_500).await.map_err(TaskError::fatal)?;
    }
    // Those that are there are found again, and count once.
    start(0..10).await.map_err(TaskError::fatal)?;
    let error = start(MOST - 5..MOST + 1).await.unwrap_err();
    Ok(context.with("error", error.to_string()))
}

/// How many children a task may start.
const MOST: usize = 10_000;

/// What it knows of its parent.
#[task(id = "deliver")]
async fn deliver(context: Context) -> Result<Context, TaskError> {
    let parent = context.parent().map(|parent| (parent.execution_id, parent.node.clone(), parent.depth));
    Ok(context.with("parent", parent))
}

async fn open(place: &Placement) -> Runner {
    let quickly = || RetryPolicy { base: Duration::ZERO, ..RetryPolicy::DEFAULT };
    let parcel = Workflow::builder("parcel")
        .wait(Wait::signal("paid"))
        .task(deliver.definition().dependencies(["paid"]));
    let of_one = |name: &str, task: TaskDefinition| Workflow::builder(name).task(task.retry(quickly()));
    let workflows = vec![
        parcel.build(),
        of_one("sending", send.definition()).build(),
        of_one("held", send.definition()).wait(Wait::signal("end").after("send")).build(),
        of_one("ordering", order.definition()).build(),
        of_one("endless", again.definition()).build(),
        of_one("breeding", breed.definition()).build(),
    ];
    place.runner("acme", &data(), workflows).await
}

async fn is(runner: &Runner, execution: Uuid, status: ExecutionStatus) {
    let reached = async {
        while runner.get_execution_status(execution).await.unwrap() != status {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("it is never {status}"));
}

in_each_placement! {
    async fn a_child_of_a_task_is_found_again_and_ends_with_its_parent(place: Placement) {
        let runner = open(&place).await;
        let parent = runner.submit("sending").tag("night").send().await.unwrap();
        let result = parent.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
        let history = parent.history().await.unwrap();
        assert_eq!(history.len(), 2, "{history:?}");
        let [parcel, letter] = ["parcel", "letter"].map(|name| result.final_context.get::<Uuid>(name).unwrap());
        let first = history[0].error_message.clone().unwrap();
        assert_eq!(first, format!("{parcel} {letter}"), "the second attempt finds what the first one started");
        let parcel = runner.execution(parcel);
        let ended = parcel.wait_for_completion().await.unwrap();
        assert_eq!(ended.status, ExecutionStatus::Cancelled);
        assert_eq!(ended.error_message.as_deref(), Some("cancelled, because its parent has ended"));
        assert_eq!(ended.tags, ["night"]);
        // The other goes on, and knows where it comes from.
        let letter = runner.execution(letter);
        letter.signal("paid", true).send().await.unwrap();
        let ended = letter.wait_for_completion().await.unwrap();
        assert_eq!(ended.status, ExecutionStatus::Completed, "{:?}", ended.error_message);
        let knows: (Uuid, String, u16) = ended.final_context.get("parent").unwrap();
        assert_eq!(knows, (parent.execution_id, "send".to_owned(), 1));
        let children = parent.children(None, 10).await.unwrap();
        assert_eq!(children.len(), 1);
        assert_eq!((children[0].execution_id, children[0].node.as_str()), (parcel.execution_id, "send"));
        assert!(parent.progress().await.unwrap().is_empty(), "nobody waits for it");
        let listed = runner.list(ExecutionFilter::all().workflow("parcel"), None, 10).await.unwrap();
        assert_eq!(listed.len(), 1, "only the one that is a child no more");
        runner.shutdown().await.unwrap();
    }

    async fn a_task_starts_ten_thousand_children_and_not_one_more(place: Placement) {
        let runner = open(&place).await;
        let parent = runner.execute_async("breeding", Context::new()).await.unwrap();
        let result = parent.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
        let error: String = result.final_context.get("error").unwrap();
        assert!(error.contains("has started 10000 children, the most"), "{error}");
        runner.shutdown().await.unwrap();
    }

    async fn a_child_goes_on_as_long_as_its_parent_does(place: Placement) {
        let runner = open(&place).await;
        let parent = runner.execute_async("held", Context::new()).await.unwrap();
        is(&runner, parent.execution_id, ExecutionStatus::Waiting).await;
        let children = parent.children(None, 10).await.unwrap();
        let child = runner.execution(children[0].execution_id);
        child.signal("paid", true).send().await.unwrap();
        let ended = child.wait_for_completion().await.unwrap();
        assert_eq!(ended.status, ExecutionStatus::Completed, "{:?}", ended.error_message);
        // Its end is no end of the parent, which can be cancelled as ever.
        parent.cancel().await.unwrap();
        assert_eq!(parent.wait_for_completion().await.unwrap().status, ExecutionStatus::Cancelled);
        let other = runner.execute_async("held", Context::new()).await.unwrap();
        is(&runner, other.execution_id, ExecutionStatus::Waiting).await;
        let child = other.children(None, 10).await.unwrap()[0].execution_id;
        other.cancel().await.unwrap();
        is(&runner, child, ExecutionStatus::Cancelled).await;
        runner.shutdown().await.unwrap();
    }

    async fn a_child_in_the_commit_that_ends_its_parent_ends_as_well(place: Placement) {
        let runner = open(&place).await;
        let result = runner.execute("ordering", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
        let child = result.final_context.get::<Uuid>("parcel").unwrap();
        is(&runner, child, ExecutionStatus::Cancelled).await;
        let children = runner.execution(result.execution_id).children(None, 10).await.unwrap();
        assert_eq!(children.len(), 1, "what the first attempt started was rolled back");
        runner.shutdown().await.unwrap();
    }

    async fn a_workflow_that_starts_itself_comes_to_an_end(place: Placement) {
        let runner = open(&place).await;
        runner.execute("endless", Context::new()).await.unwrap();
        let failed = ExecutionFilter::all().status(ExecutionStatus::Failed);
        let ended = async {
            loop {
                if let Some(failed) = runner.list(failed.clone(), None, 1).await.unwrap().pop() {
                    return failed;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let error = tokio::time::timeout(PATIENCE, ended).await.unwrap().error_message.unwrap();
        assert!(error.contains("more than 16 generations"), "{error}");
        assert_eq!(runner.list_executions().await.unwrap().len(), 17);
        runner.shutdown().await.unwrap();
    }

    async fn what_cannot_be_a_child_is_refused(place: Placement) {
        let runner = open(&place).await;
        let db = runner.data().unwrap();
        let nobody = TaskInfo::for_test("send");
        let refused = db
            .run_as(async |tx| Err::<(), _>(tx.submit("parcel").child_of(&nobody, "parcel").send().await.unwrap_err()))
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongState, "{refused}");
        let empty = db
            .run_as(async |tx| Err::<(), _>(tx.submit("parcel").child_of(&nobody, "").send().await.unwrap_err()))
            .await
            .unwrap_err();
        assert_eq!(empty.kind(), ErrorKind::Configuration, "{empty}");
        runner.shutdown().await.unwrap();
    }
}
