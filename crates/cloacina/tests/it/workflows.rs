//! What is known of workflows by processes that do not have their code.

use std::time::Duration;

use cloacina::{
    Context, ErrorKind, ExecutionStatus, Runner, Submission, TaskKind, Uuid, Wait, Workflow, WorkflowInfo,
};

use crate::support::{Database, assert_error, quick, setting, until};

fn order(version: &str) -> Workflow {
    Workflow::builder("drawn")
        .version(version)
        .task(setting("reserve", "a", 1))
        .task(setting("charge", "b", 2).dependencies(["reserve"]).timeout(Some(Duration::from_secs(9))))
        .wait(Wait::sleep("cool", Duration::ZERO).after("reserve"))
        .build()
}

async fn known(runner: &Runner) -> Vec<WorkflowInfo> {
    // Without those that this program registers.
    let mut known = runner.workflows().await.unwrap();
    known.retain(|info| info.name.starts_with("drawn") || info.name == "w");
    known
}

/// Once as many are in the database.
async fn recorded(runner: &Runner, count: usize) -> Vec<WorkflowInfo> {
    let are_there = async || {
        let known = known(runner).await;
        known.len() == count && known.iter().all(|info| info.first_seen.is_some())
    };
    until(are_there).await;
    known(runner).await
}

on_each_store! {
    async fn a_process_without_the_code_draws_the_graph_of_an_execution(database: Database) {
        let with = database.runner([order("1")]).await;
        let here = with.execute("drawn", Context::new()).await.unwrap();
        let kinds: Vec<_> = here.task_results.iter().map(|task| task.kind).collect();
        assert_eq!(kinds, [Some(TaskKind::Task), Some(TaskKind::Task), Some(TaskKind::Sleep)]);
        let id = here.execution_id;
        recorded(&with, 1).await;
        assert_eq!(with.execution(id).graph().await.unwrap(), Some(order("1").describe()));
        with.shutdown().await.unwrap();

        let without = database.runner([]).await;
        let graph = without.execution(id).graph().await.unwrap().unwrap();
        assert_eq!(graph, order("1").describe());
        assert_eq!(graph.tasks[1].dependencies, ["reserve"]);
        let there = without.get_execution(id).await.unwrap();
        assert_eq!(there.task_results[0].kind, None);
        let error = without.execution(Uuid::now_v7()).graph().await.unwrap_err();
        assert_error(&error, ErrorKind::NotFound, "no execution");
        without.shutdown().await.unwrap();
    }

    async fn versions_are_listed_with_who_has_them(database: Database) {
        let old = database.runner([order("9")]).await;
        recorded(&old, 1).await;
        old.shutdown().await.unwrap();
        let new = database.runner([order("10"), Workflow::builder("drawn_other").task(setting("t", "k", 1)).build()]).await;
        let known = recorded(&new, 3).await;
        let said: Vec<_> = known
            .iter()
            .map(|info| (info.name.as_str(), info.version.as_deref(), info.is_registered, info.live_runners.len()))
            .collect();
        assert_eq!(said, [("drawn", Some("10"), true, 1), ("drawn", Some("9"), false, 0), ("drawn_other", None, true, 1)]);
        assert_eq!(known[0].fingerprint, order("10").fingerprint().unwrap());
        assert!(known[0].first_seen >= known[1].first_seen);
        // Opened again, they are those that they were.
        new.shutdown().await.unwrap();
        let again = database.runner([order("10")]).await;
        assert_eq!(recorded(&again, 3).await[0].first_seen, known[0].first_seen);
        again.shutdown().await.unwrap();
    }

    async fn a_process_that_only_submits_tells_what_its_workflows_look_like(database: Database) {
        let submits = database.configured(quick().submit_only(true), [order("1")]).await;
        recorded(&submits, 1).await;
        let execution = submits.submit("drawn").send().await.unwrap();
        let id = execution.execution_id;
        submits.shutdown().await.unwrap();
        let without = database.runner([]).await;
        assert_eq!(without.execution(id).graph().await.unwrap(), Some(order("1").describe()));
        let known = known(&without).await;
        assert_eq!((known.len(), known[0].live_runners.len(), known[0].is_registered), (1, 0, false));
        without.shutdown().await.unwrap();
    }

    async fn what_a_map_makes_of_a_task_has_a_graph_and_is_not_listed(database: Database) {
        let each = setting("each", "k", 1).map("list");
        let with = database.runner([Workflow::builder("w").task(each).build()]).await;
        let input = Context::new().with("list", [1]);
        let execution = with.execute_async("w", input).await.unwrap();
        assert_eq!(execution.wait_for_completion().await.unwrap().status, ExecutionStatus::Completed);
        let child = execution.children(None, 1).await.unwrap().remove(0);
        recorded(&with, 1).await;
        with.shutdown().await.unwrap();
        let without = database.runner([]).await;
        let graph = without.execution(child.execution_id).graph().await.unwrap().unwrap();
        assert_eq!((graph.tasks.len(), graph.tasks[0].id.as_str()), (1, "each"));
        assert_eq!(known(&without).await.len(), 1);
        without.shutdown().await.unwrap();
    }

    async fn what_was_submitted_by_name_has_a_graph_once_it_has_tasks(database: Database) {
        let without = database.runner([]).await;
        let by_name: Submission<_> = without.submit("drawn");
        let execution = by_name.by_name().send().await.unwrap();
        assert_eq!(execution.graph().await.unwrap(), None);
        let with = database.runner([order("1")]).await;
        execution.wait_for_completion().await.unwrap();
        assert_eq!(execution.graph().await.unwrap(), Some(order("1").describe()));
        with.shutdown().await.unwrap();
        without.shutdown().await.unwrap();
    }
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenants_login_tells_is_its_own_and_bounded() {
    use crate::admin::{Administered, connect, runner};

    let database = Administered::by_a_provisioner().await;
    let acme = database.tenant("acme").await;
    let globex = database.tenant("globex").await;
    let operator = runner(&database.url, Some("acme"), "acme").await;
    let id = operator.execute("w", Context::new()).await.unwrap().execution_id;
    recorded(&operator, 1).await;
    // It sees the graph of what the operator ran for it, and no list of the operator's workflows.
    let login = |url: String| async move {
        let builder = Runner::builder().database_url(url).config(quick().build());
        builder.workflow(order("1")).build().await.unwrap()
    };
    let own = login(acme.connection_string.clone()).await;
    let known = recorded(&own, 1).await;
    assert_eq!((known[0].name.as_str(), known[0].live_runners.len()), ("drawn", 1));
    assert_eq!(own.execution(id).graph().await.unwrap().unwrap().tasks.len(), 1);
    // The operator sees the tenant's in the tenant's place alone.
    assert_eq!(recorded(&operator, 2).await.len(), 2);
    let other = runner(&database.url, Some("globex"), "globex").await;
    assert_eq!(recorded(&other, 1).await.len(), 1);

    // As many as it likes, as large as it likes, and what is no description.
    let session = connect(&acme.connection_string).await.unwrap();
    for round in 0..3 {
        let flood = format!(
            "SELECT cloacina.my_workflow_describe(array_agg('w' || n), array_agg({round} * 1000 + n), array_agg('{{}}'::text), \
             array_agg(repeat('[', 100000)), NULL) FROM generate_series(1, 60::bigint) AS n"
        );
        session.batch_execute(&flood).await.unwrap();
    }
    let refused =
        "SELECT cloacina.my_workflow_describe(ARRAY['w'], ARRAY[1::bigint, 2], ARRAY['v'], ARRAY['x'], NULL)";
    assert!(session.batch_execute(refused).await.is_err());
    let large = "SELECT cloacina.my_workflow_describe(ARRAY['large'], ARRAY[7::bigint], ARRAY['v'], ARRAY[repeat('x', 5000000)], NULL)";
    session.batch_execute(large).await.unwrap();
    for number in 0..3 {
        let many = format!(
            "SELECT cloacina.my_workflow_describe(array_agg('m' || n), array_agg({number} * 100000 + n), array_agg('v'::text), \
             array_agg('x'::text), NULL) FROM generate_series(1, 900::bigint) AS n"
        );
        session.batch_execute(&many).await.unwrap();
    }
    let superuser = database.superuser().await;
    let size = "SELECT count(*), max(octet_length(description)), count(DISTINCT tenant_id) FROM cloacina.workflow WHERE tenant_id <> '00000000-0000-0000-0000-000000000000'";
    let row = superuser.query_one(size, &[]).await.unwrap();
    let (rows, largest, whose): (i64, i32, i64) = (row.get(0), row.get(1), row.get(2));
    assert!(rows <= 256 && largest <= 131_072 && whose == 1, "{rows} {largest} {whose}");
    let used: i32 = superuser
        .query_one("SELECT used FROM cloacina.quota WHERE kind = 'workflow'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(used, 1000);
    // Nobody is the worse for it.
    assert!(known_of(&operator).await >= 2);
    assert_eq!(recorded(&other, 1).await.len(), 1);
    drop(globex);
    for runner in [operator, own, other] {
        runner.shutdown().await.unwrap();
    }
}

#[cfg(feature = "postgres")]
async fn known_of(runner: &Runner) -> usize {
    known(runner).await.len()
}
