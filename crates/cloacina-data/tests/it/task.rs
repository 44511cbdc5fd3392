//! Tasks that work on their tenant's data.

use cloacina::data::sea_orm::sea_query::{Expr, ExprTrait};
use cloacina::data::sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter};
use cloacina::data::{DataErrorKind, TenantDb, TenantTx, sea_orm};
use cloacina::{Context, ErrorKind, ExecutionStatus, RunnerConfig, Task, TaskError, TaskInfo, task};

use crate::model::{data, member, new_member};
use crate::support::{in_each_placement, workflow};

#[task(id = "join")]
async fn join(context: Context, db: TenantDb) -> Result<Context, sea_orm::DbErr> {
    let name: String = context.get("name").unwrap_or_default();
    db.run_as(async |tx| member::Entity::insert(new_member(&name, &name)).exec(tx).await).await?;
    Ok(context.with("tenant", db.tenant()))
}

#[task(id = "charge", dependencies = [join])]
async fn charge(context: &mut Context, tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    let name: String = context.get("name").unwrap_or_default();
    let changed = member::Entity::update_many()
        .col_expr(member::Column::Cents, Expr::col(member::Column::Cents).sub(30_i64))
        .filter(member::Column::Email.eq(name))
        .exec(tx)
        .await?;
    context.set("charged", changed.rows_affected);
    Ok(())
}

#[task(id = "thank", dependencies = [charge])]
async fn thank(context: Context, tx: &TenantTx) -> Result<Context, sea_orm::DbErr> {
    let members = member::Entity::find().count(tx).await?;
    Ok(context.with("members", members))
}

/// Does something and then fails.
#[task(id = "fail")]
async fn fail(_context: &mut Context, tx: &TenantTx) -> anyhow::Result<()> {
    member::Entity::insert(new_member("nobody", "nobody")).exec(tx).await?;
    anyhow::bail!("it does not want to")
}

/// What a program shares.
struct Mailer {
    from: String,
}

/// In a transaction, with what the program shares.
#[task]
async fn mail(
    context: &mut Context,
    mailer: &Mailer,
    tx: &TenantTx,
    task: &TaskInfo,
) -> Result<u64, TaskError> {
    context.set("mailed", format!("{} by {}", task.task_id(), mailer.from));
    member::Entity::insert(new_member("mailed", "mailed")).exec(tx).await?;
    Ok(member::Entity::find().count(tx).await?)
}

/// Through a handle, with what the program shares.
#[task(dependencies = [mail])]
async fn look(_: Context, db: TenantDb, mailer: &Mailer) -> Result<Context, TaskError> {
    let members = db
        .read(async |tx| {
            let members = member::Entity::find().all(tx).await?;
            let first = members.into_iter().next().ok_or("nobody is there")?;
            Ok(first.name)
        })
        .await?;
    Ok(Context::new().with("look", format!("{members} of {}", mailer.from)))
}

/// What a transaction is ended with that has to do with no database.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the card is blocked")]
struct Blocked;

/// Says in a transaction what to make of its error.
#[task]
async fn refuse(context: Context, db: TenantDb) -> Result<Context, TaskError> {
    db.run(async |tx| {
        member::Entity::insert(new_member("nobody", "nobody")).exec(tx).await?;
        std::fs::read("/not/there").map_err(TaskError::fatal)?;
        Ok(())
    })
    .await?;
    Ok(context)
}

async fn cents(db: &TenantDb) -> Vec<i64> {
    let members = db.read_as(async |tx| member::Entity::find().all(tx).await).await.unwrap();
    members.into_iter().map(|member| member.cents).collect()
}

in_each_placement! {
    async fn tasks_work_on_the_data_of_their_own_tenant(place: Placement) {
        let data = data();
        let steps = || vec![workflow("steps", [join.definition(), charge.definition(), thank.definition()])];
        let acme = place.runner("acme", &data, steps()).await;
        let globex = place.runner("globex", &data, steps()).await;
        for (runner, tenant) in [(&acme, "acme"), (&globex, "globex")] {
            let result = runner.execute("steps", Context::new().with("name", "anna")).await.unwrap();
            assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
            assert_eq!(result.final_context.get::<String>("tenant").as_deref(), Some(tenant));
            assert_eq!(result.final_context.get::<u64>("charged"), Some(1));
            assert_eq!(result.final_context.get::<u64>("members"), Some(1));
            assert_eq!(cents(&runner.data().unwrap()).await, [70]);
        }
        acme.shutdown().await.unwrap();
        globex.shutdown().await.unwrap();
    }

    async fn tasks_on_data_are_given_state_and_what_the_engine_knows(place: Placement) {
        let workflow = workflow("steps", [mail.definition(), look.definition()]);
        let config = RunnerConfig::builder().workflow(workflow).state(Mailer { from: "acme".to_owned() });
        let runner = place.with("acme", &data(), config.build()).await;
        let result = runner.execute("steps", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{:?}", result.error_message);
        let context = result.final_context;
        assert_eq!(context.get::<String>("mailed").as_deref(), Some("mail by acme"));
        assert_eq!(context.get::<u64>("mail"), Some(1));
        assert_eq!(context.get::<String>("look").as_deref(), Some("mailed of acme"));
        runner.shutdown().await.unwrap();
    }

    async fn a_transaction_is_ended_by_any_error_and_says_what_it_was(place: Placement) {
        let runner = place.runner("acme", &data(), vec![workflow("refuse", [refuse.definition()])]).await;
        let db = runner.data().unwrap();
        let blocked = db.run(async |tx| {
            member::Entity::insert(new_member("nobody", "nobody")).exec(tx).await?;
            Err::<(), _>(Blocked.into())
        });
        let error = blocked.await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (DataErrorKind::Aborted, Blocked.to_string()));
        assert_eq!(error.downcast_ref(), Some(&Blocked));
        let refused = db.run(async |tx| Ok(tx.execute_unprepared("DROP TABLE member").await?)).await.unwrap_err();
        assert_eq!(refused.kind(), DataErrorKind::Refused);
        let unknown = db.run(async |tx| Ok(tx.submit("unknown").send().await?)).await.unwrap_err();
        assert_eq!(cloacina::Error::from(unknown).kind(), ErrorKind::Workflow);
        // What a task says in it of retries counts for the task.
        let result = runner.execute("refuse", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Failed);
        assert_eq!(result.task_results[0].attempts, 1);
        assert!(cents(&db).await.is_empty());
        runner.shutdown().await.unwrap();
    }

    async fn a_transactional_task_that_fails_leaves_nothing(place: Placement) {
        let data = data();
        let runner = place.runner("acme", &data, vec![workflow("fails", [fail.definition()])]).await;
        let result = runner.execute("fails", Context::new()).await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Failed);
        assert!(result.error_message.unwrap().contains("it does not want to"));
        assert_eq!(cents(&runner.data().unwrap()).await, [0_i64; 0]);
        runner.shutdown().await.unwrap();
    }

    async fn many_transactional_tasks_are_each_done_once(place: Placement) {
        let data = data();
        let runner = place.runner("acme", &data, vec![workflow("charge", [charge.definition().dependencies([""; 0])])]).await;
        let db = runner.data().unwrap();
        db.run_as(async |tx| member::Entity::insert(new_member("anna", "anna")).exec(tx).await).await.unwrap();
        let runs: Vec<_> = (0..200)
            .map(|_| {
                let runner = runner.clone();
                tokio::spawn(async move { runner.execute("charge", Context::new().with("name", "anna")).await.unwrap() })
            })
            .collect();
        for run in runs {
            let result = run.await.unwrap();
            assert!(result.status.is_success(), "{:?}", result.error_message);
        }
        assert_eq!(cents(&db).await, [100 - 200 * 30]);
        runner.shutdown().await.unwrap();
    }
}
