//! The cases of isolation, by number: whatever a tenant asks for, it sees and changes its own rows.
//!
//! What is refused stands in `hostile.txt`, what is answered with the tenant's own rows in `scoped.txt`, each
//! with the number of its case. The marks of the tenants begin each text of theirs, so a row in the wrong
//! hands is seen wherever it turns up.
//!
//! | variable | stands for |
//! |---|---|
//! | `CLOACINA_SWITCHES` | how often the one connection changes hands; 10,000 in a usual run |
//! | `CLOACINA_STATEMENTS` | how many random statements are run in each placement; 1,000 in a usual run |
//! | `CLOACINA_SEED` | the seed of what is random |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloacina::data::sea_orm::ActiveValue::Set;
use cloacina::data::sea_orm::sea_query::{Expr, ExprTrait, OnConflict, SimpleExpr};
use cloacina::data::sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, DbBackend, EntityTrait, JoinType, LoaderTrait,
    ModelTrait, Order, PaginatorTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, RelationTrait,
    SqlErr, Statement,
};
use cloacina::data::{DataError, DataErrorKind, TenantDb, TenantTx, sea_orm};
use cloacina::runner::{Runner, RunnerConfig};
use cloacina_testing::cluster::Cluster;
use uuid::Uuid;

use crate::ledger::{connect, until};
use crate::model::{country, data, letter, member, new_member};
use crate::support::{Placement, Two, in_each_placement};

const NAMES: [&str; 4] = ["anna", "bea", "carla", "dora"];

fn new_letter(mark: &str, member_id: i32) -> letter::ActiveModel {
    letter::ActiveModel {
        id: Set(Uuid::now_v7()),
        member_id: Set(member_id),
        title: Set(format!("{mark} letter")),
        sent: Set(false),
    }
}

/// The same addresses and ids in both; the last member has no letter.
pub(crate) async fn fill(db: &TenantDb) {
    let mark = db.tenant().to_owned();
    db.run_as(async |tx| {
        for name in NAMES {
            let one = member::Entity::insert(new_member(name, &format!("{mark} {name}"))).exec(tx).await?;
            if name != "dora" {
                letter::Entity::insert(new_letter(&mark, one.last_insert_id))
                    .exec_without_returning(tx)
                    .await?;
            }
        }
        Ok::<_, sea_orm::DbErr>(())
    })
    .await
    .unwrap();
}

async fn filled(place: &Placement) -> Two {
    let two = place.two(&data()).await;
    fill(&two.acme).await;
    fill(&two.globex).await;
    two
}

/// Everything of a tenant, as the tenant sees it.
pub(crate) async fn everything(db: &TenantDb) -> (Vec<member::Model>, Vec<letter::Model>) {
    db.read_as(async |tx| {
        let members = member::Entity::find().order_by_asc(member::Column::Id).all(tx).await?;
        Ok::<_, sea_orm::DbErr>((
            members,
            letter::Entity::find().order_by_asc(letter::Column::Id).all(tx).await?,
        ))
    })
    .await
    .unwrap()
}

fn lines(file: &'static str) -> impl Iterator<Item = (u8, &'static str)> {
    file.lines().map(|line| {
        let (number, statement) = line.split_once(' ').unwrap();
        (number.parse().unwrap(), statement.trim())
    })
}

/// The texts in a row, by whatever name.
fn texts(row: &QueryResult) -> Vec<String> {
    row.column_names()
        .iter()
        .filter_map(|column| row.try_get::<Option<String>>("", column).ok().flatten())
        .collect()
}

fn statement(backend: DbBackend, sql: &str) -> Statement {
    Statement::from_string(backend, sql)
}

in_each_placement! {
    async fn what_could_reach_beyond_the_tenant_is_refused(place: Placement) {
        let two = filled(&place).await;
        let before = (everything(&two.acme).await, everything(&two.globex).await);
        let mut wrong = Vec::new();
        for (number, hostile) in lines(include_str!("hostile.txt")) {
            let executed = two.acme.run_as(async |tx| tx.execute_unprepared(hostile).await.map(drop)).await;
            let queried = two
                .acme
                .run_as(async |tx| tx.query_all_raw(statement(ConnectionTrait::get_database_backend(tx), hostile)).await.map(drop))
                .await;
            for ended in [executed, queried] {
                match ended {
                    Ok(()) => wrong.push(format!("case {number}: `{hostile}` was run")),
                    Err(error) => {
                        let text = error.to_string();
                        // The tenant, the part, the reason and the way out.
                        let explains = ["tenant `acme`: the statement was not sent: `", "` ", "; "].iter().all(|part| text.contains(part));
                        if !explains {
                            wrong.push(format!("case {number}: `{hostile}` reached the database: {text}"));
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!((everything(&two.acme).await, everything(&two.globex).await), before);
    }

    async fn what_is_answered_is_answered_with_the_tenants_own_rows(place: Placement) {
        let two = filled(&place).await;
        let before = everything(&two.globex).await;
        let (mut wrong, mut answered) = (Vec::new(), 0);
        for (number, scoped) in lines(include_str!("scoped.txt")) {
            let rows = two
                .acme
                .run_as(async |tx| tx.query_all_raw(statement(ConnectionTrait::get_database_backend(tx), scoped)).await)
                .await;
            match rows {
                Ok(rows) => {
                    answered += 1;
                    let texts: Vec<_> = rows.iter().flat_map(texts).collect();
                    if texts.iter().any(|text| !text.starts_with("acme")) {
                        wrong.push(format!("case {number}: `{scoped}` answers {texts:?}"));
                    }
                }
                Err(error) if error.to_string().contains("the statement was not sent: `") => {}
                Err(error) => wrong.push(format!("case {number}: `{scoped}` fails: {error}")),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(answered >= 20, "only {answered} were answered");
        assert_eq!(everything(&two.globex).await, before);
    }

    async fn case_1_any_condition_finds_changes_and_deletes_own_rows_only(place: Placement) {
        let two = filled(&place).await;
        let before = everything(&two.globex).await;
        let any = || Condition::any().add(Expr::val(true)).add(member::Column::Cents.eq(1));
        two.acme
            .run_as(async |tx| {
                let found = member::Entity::find().filter(any()).all(tx).await?;
                assert!(found.len() == 4 && found.iter().all(|member| member.name.starts_with("acme")));
                let changed = member::Entity::update_many()
                    .col_expr(member::Column::Name, Expr::value("acme changed"))
                    .filter(any())
                    .exec(tx)
                    .await?;
                let deleted = letter::Entity::delete_many().filter(Condition::any().add(Expr::val(true))).exec(tx).await?;
                assert_eq!((changed.rows_affected, deleted.rows_affected), (4, 3));
                Ok::<_, sea_orm::DbErr>(())
            })
            .await
            .unwrap();
        assert_eq!(everything(&two.globex).await, before);
    }

    async fn case_2_a_condition_of_text_cannot_break_out_of_its_parentheses(place: Placement) {
        let two = filled(&place).await;
        for text in ["1=1) OR (1=1", "true) UNION SELECT * FROM member WHERE (true", "1=1); DELETE FROM member WHERE (1=1"] {
            let found = two.acme.run_as(async |tx| member::Entity::find().filter(Expr::cust(text)).all(tx).await).await;
            match found {
                Ok(found) => assert!(found.iter().all(|member| member.name.starts_with("acme")), "{text}"),
                Err(error) => assert!(error.to_string().contains("tenant `acme`"), "{text}: {error}"),
            }
        }
        assert_eq!(everything(&two.globex).await.0.len(), 4);
    }

    async fn case_3_joins_keep_the_outer_rows_and_add_none(place: Placement) {
        let two = filled(&place).await;
        two.acme
            .read_as(async |tx| {
                for (join, rows) in [(JoinType::LeftJoin, 4), (JoinType::InnerJoin, 3), (JoinType::RightJoin, 3)] {
                    let found: Vec<(Option<String>, Option<String>)> = member::Entity::find()
                        .select_only()
                        .column(member::Column::Name)
                        .column(letter::Column::Title)
                        .join(join, member::Relation::Letter.def())
                        .into_tuple()
                        .all(tx)
                        .await?;
                    assert_eq!(found.len(), rows, "{join:?}");
                    let texts = found.iter().flat_map(|(name, title)| [name, title]).flatten();
                    assert!(texts.clone().all(|text| text.starts_with("acme")), "{join:?}: {found:?}");
                }
                Ok::<_, sea_orm::DbErr>(())
            })
            .await
            .unwrap();
    }

    async fn case_6_loaders_and_related_rows_are_the_tenants(place: Placement) {
        let two = filled(&place).await;
        two.acme
            .read_as(async |tx| {
                let members = member::Entity::find().order_by_asc(member::Column::Id).all(tx).await?;
                let letters = members.load_many(letter::Entity, tx).await?;
                assert_eq!(letters.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1, 0]);
                let letters: Vec<_> = letters.into_iter().flatten().collect();
                assert!(letters.iter().all(|letter| letter.title.starts_with("acme")));
                let writers = letters.load_one(member::Entity, tx).await?;
                assert!(writers.iter().all(|writer| writer.as_ref().unwrap().name.starts_with("acme")));
                let countries = members.load_one(country::Entity, tx).await?;
                assert!(countries.iter().flatten().count() == 4);
                let with = member::Entity::find().find_with_related(letter::Entity).all(tx).await?;
                assert!(with.len() == 4 && with.iter().flat_map(|(_, letters)| letters).all(|letter| letter.title.starts_with("acme")));
                Ok::<_, sea_orm::DbErr>(())
            })
            .await
            .unwrap();
    }

    async fn case_9_an_upsert_of_what_only_the_other_has_makes_an_own_row(place: Placement) {
        let two = filled(&place).await;
        two.globex
            .run_as(async |tx| member::Entity::insert(new_member("only theirs", "globex only")).exec(tx).await)
            .await
            .unwrap();
        let before = everything(&two.globex).await;
        let letter = before.1[0].id;
        let member = everything(&two.acme).await.0[0].id;
        two.acme
            .run_as(async |tx| {
                let by_address = OnConflict::column(member::Column::Email).update_column(member::Column::Name).to_owned();
                member::Entity::insert(new_member("only theirs", "acme own")).on_conflict(by_address).exec(tx).await?;
                let mut same_id = new_letter("acme", member);
                same_id.id = Set(letter);
                let by_id = OnConflict::column(letter::Column::Id).update_column(letter::Column::Title).to_owned();
                letter::Entity::insert(same_id.clone()).on_conflict(by_id.clone()).exec_without_returning(tx).await?;
                letter::Entity::insert(same_id).on_conflict(by_id).exec_without_returning(tx).await?;
                Ok::<_, sea_orm::DbErr>(())
            })
            .await
            .unwrap();
        assert_eq!(everything(&two.globex).await, before);
        let (members, letters) = everything(&two.acme).await;
        assert_eq!((members.len(), letters.len()), (5, 4));
    }

    async fn case_10_the_same_id_and_address_in_both_are_no_conflict(place: Placement) {
        let two = place.two(&data()).await;
        for db in [&two.acme, &two.globex] {
            db.run_as(async |tx| {
                let mut one = new_member("same", db.tenant());
                one.id = Set(7);
                member::Entity::insert(one).exec_without_returning(tx).await
            })
            .await
            .unwrap();
        }
        for db in [&two.acme, &two.globex] {
            let found = db.read_as(async |tx| member::Entity::find_by_id(7).one(tx).await).await.unwrap();
            assert_eq!(found.unwrap().name, db.tenant());
        }
    }

    async fn case_11_a_row_cannot_refer_to_the_other_tenants(place: Placement) {
        let two = filled(&place).await;
        let theirs = two
            .globex
            .run_as(async |tx| member::Entity::insert(new_member("only theirs", "globex only")).exec(tx).await)
            .await
            .unwrap()
            .last_insert_id;
        let ended = two.acme.run_as(async |tx| letter::Entity::insert(new_letter("acme", theirs)).exec_without_returning(tx).await).await;
        let error = ended.unwrap_err();
        assert!(matches!(error.sql_err(), Some(SqlErr::ForeignKeyConstraintViolation(_))), "{error}");
    }

    async fn case_12_counts_and_pages_are_of_what_can_be_listed(place: Placement) {
        let two = filled(&place).await;
        two.acme
            .read_as(async |tx| {
                assert_eq!(member::Entity::find().count(tx).await?, 4);
                assert_eq!(member::Entity::find().distinct().count(tx).await?, 4);
                assert_eq!(member::Entity::find().inner_join(letter::Entity).count(tx).await?, 3);
                let pages = member::Entity::find().order_by_asc(member::Column::Id).paginate(tx, 3);
                assert_eq!((pages.num_items().await?, pages.num_pages().await?), (4, 2));
                assert_eq!(pages.fetch_page(1).await?.len(), 1);
                let groups: Vec<(i64, i64)> = member::Entity::find()
                    .select_only()
                    .column(member::Column::Cents)
                    .column_as(member::Column::Id.count(), "n")
                    .group_by(member::Column::Cents)
                    .into_tuple()
                    .all(tx)
                    .await?;
                assert_eq!(groups, [(100, 4)]);
                Ok::<_, sea_orm::DbErr>(())
            })
            .await
            .unwrap();
    }

    async fn case_15_a_write_that_is_dropped_is_undone_and_the_next_sees_its_own(place: Placement) {
        let two = filled(&place).await;
        let before = everything(&two.acme).await;
        for polls in 0..40 {
            let mut write = Box::pin(two.acme.run_as(async |tx| {
                member::Entity::update_many().col_expr(member::Column::Name, Expr::value("acme lost")).exec(tx).await?;
                member::Entity::insert(new_member("more", "acme more")).exec(tx).await?;
                std::future::pending::<()>().await;
                Ok::<_, sea_orm::DbErr>(())
            }));
            for _ in 0..polls {
                assert!(futures_util::poll!(&mut write).is_pending());
                tokio::task::yield_now().await;
            }
            drop(write);
            let seen = everything(&two.globex).await;
            assert!(seen.0.len() == 4 && seen.0.iter().all(|member| member.name.starts_with("globex")));
        }
        assert_eq!(everything(&two.acme).await, before);
    }
}

async fn random_queries(place: Placement) {
    let two = filled(&place).await;
    let seed = count("CLOACINA_SEED", fastrand::u64(0..1_000_000));
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut kinds = [0; 12];
    for number in 0..count("CLOACINA_STATEMENTS", 1_000) {
        let (mine, other) = if rng.bool() { (&two.acme, &two.globex) } else { (&two.globex, &two.acme) };
        let kind = rng.usize(0..kinds.len());
        let hint = format!("seed {seed}, statement {number}, kind {kind}, of {}", mine.tenant());
        let is_write = kind >= 8;
        let before = if is_write && number % 4 == 0 { Some(everything(other).await) } else { None };
        let mut own = rng.fork();
        match mine.run_as(async |tx| random(kind, tx, &mut own).await).await {
            Ok(texts) => {
                kinds[kind] += 1;
                assert!(texts.iter().all(|text| text.starts_with(mine.tenant())), "{hint}: {texts:?}");
            }
            // A value that is there already.
            Err(error) => assert!(error.sql_err().is_some(), "{hint}: {error}"),
        }
        if let Some(before) = before {
            assert_eq!(everything(other).await, before, "{hint}");
        }
    }
    assert!(kinds.iter().all(|ran| *ran > 0), "some never ran: {kinds:?}");
    for db in [&two.acme, &two.globex] {
        let (members, letters) = everything(db).await;
        assert!(members.iter().all(|member| member.name.starts_with(db.tenant())), "seed {seed}");
        assert!(letters.iter().all(|letter| letter.title.starts_with(db.tenant())), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_queries_of_two_tenants_meet_no_row_of_the_other_in_files() {
    random_queries(Placement::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_queries_of_two_tenants_meet_no_row_of_the_other_in_schemas() {
    random_queries(Placement::schema().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_queries_of_two_tenants_meet_no_row_of_the_other_in_schemas_with_logins() {
    random_queries(Placement::own_role().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_queries_of_two_tenants_meet_no_row_of_the_other_in_shared_tables() {
    random_queries(Placement::shared().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_queries_of_two_tenants_meet_no_row_of_the_other_in_databases() {
    random_queries(Placement::database().await).await;
}

pub(crate) fn count(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |count| count.parse().unwrap())
}

/// A condition on members that may well be true of all of them.
fn condition(rng: &mut fastrand::Rng, depth: u32) -> Condition {
    let mut condition = if rng.bool() { Condition::any() } else { Condition::all() };
    for _ in 0..rng.u32(1..4) {
        condition = match rng.u32(0..8) {
            0 => condition.add(Expr::val(true)),
            1 => condition.add(member::Column::Cents.gt(rng.i64(-10..200))),
            2 => condition.add(member::Column::Name.like("%globex%")),
            3 => condition.add(member::Column::Email.is_in(NAMES)),
            4 => condition.add(member::Column::Id.in_subquery(writers(rng))),
            5 => condition.add(Expr::exists(writers(rng))),
            6 => condition.add(member::Column::Country.is_null().or(member::Column::Country.is_not_null())),
            _ if depth > 0 => {
                let inner = self::condition(rng, depth - 1);
                condition.add(if rng.bool() { inner.not() } else { inner })
            }
            _ => condition.add(member::Column::Id.between(0, 1_000)),
        };
    }
    if rng.u32(0..4) == 0 { condition.not() } else { condition }
}

/// Those who wrote a letter, or do not: of either tenant, if nothing scoped it.
fn writers(rng: &mut fastrand::Rng) -> sea_orm::sea_query::SelectStatement {
    let mut query = letter::Entity::find().select_only().column(letter::Column::MemberId);
    if rng.bool() {
        query = query.filter(letter::Column::Title.starts_with(if rng.bool() { "acme" } else { "globex" }));
    }
    QuerySelect::query(&mut query).to_owned()
}

fn names(members: Vec<member::Model>) -> Vec<String> {
    members.into_iter().map(|member| member.name).collect()
}

/// A random statement of this kind, and the texts in its answer.
async fn random(kind: usize, tx: &TenantTx, rng: &mut fastrand::Rng) -> Result<Vec<String>, sea_orm::DbErr> {
    let mark = tx.tenant().to_owned();
    let which = condition(rng, 2);
    let order = if rng.bool() { Order::Asc } else { Order::Desc };
    let find = member::Entity::find().filter(which.clone()).order_by(member::Column::Name, order);
    let title = |letter: letter::Model| letter.title;
    Ok(match kind {
        0 => names(find.all(tx).await?),
        1 => names(find.limit(rng.u64(0..5)).offset(rng.u64(0..3)).all(tx).await?),
        2 => names(find.paginate(tx, rng.u64(1..5)).fetch_page(rng.u64(0..3)).await?),
        3 => {
            let pairs = find.find_also_related(letter::Entity).all(tx).await?;
            pairs
                .into_iter()
                .flat_map(|(member, letter)| [Some(member.name), letter.map(title)])
                .flatten()
                .collect()
        }
        4 => {
            let pairs = find.find_with_related(letter::Entity).all(tx).await?;
            pairs.into_iter().flat_map(|(_, letters)| letters).map(title).collect()
        }
        5 => {
            let members = find.all(tx).await?;
            let letters = members.load_many(letter::Entity, tx).await?;
            letters.into_iter().flatten().map(title).collect()
        }
        6 => {
            let joins = [JoinType::LeftJoin, JoinType::InnerJoin, JoinType::RightJoin];
            let found: Vec<(Option<String>, Option<String>)> = find
                .select_only()
                .column(member::Column::Name)
                .column(letter::Column::Title)
                .join(joins[rng.usize(0..3)], member::Relation::Letter.def())
                .into_tuple()
                .all(tx)
                .await?;
            found.into_iter().flat_map(|(name, title)| [name, title]).flatten().collect()
        }
        7 => {
            let newest: SimpleExpr = Expr::col((member::Entity, member::Column::Name)).max();
            let found: Option<Option<String>> = member::Entity::find()
                .filter(which)
                .select_only()
                .expr_as(newest, "name")
                .into_tuple()
                .one(tx)
                .await?;
            found.flatten().into_iter().collect()
        }
        8 => {
            let changed = member::Entity::update_many()
                .col_expr(member::Column::Name, Expr::value(format!("{mark} {}", rng.u32(..))))
                .col_expr(member::Column::Cents, Expr::col(member::Column::Cents).add(1_i64))
                .filter(which);
            changed.exec_with_returning(tx).await.map(names)?
        }
        9 => {
            let on = OnConflict::column(member::Column::Email).update_column(member::Column::Name).to_owned();
            let name = format!("{mark} {}", rng.u32(..));
            let email = rng.u32(0..12).to_string();
            vec![
                member::Entity::insert(new_member(&email, &name))
                    .on_conflict(on)
                    .exec_with_returning(tx)
                    .await?
                    .name,
            ]
        }
        10 => {
            letter::Entity::insert(new_letter(&mark, rng.i32(1..8))).exec_without_returning(tx).await?;
            vec![]
        }
        _ => {
            let few = member::Column::Id.gt(rng.i32(4..20));
            member::Entity::delete_many().filter(few).filter(which).exec(tx).await?;
            vec![]
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_6_in_the_servers_log_every_statement_carries_the_scope() {
    let server = Cluster::start().unwrap();
    let url = server.fresh_database().await.unwrap();
    let (superuser, database) = (server.superuser_url_of(&url), url.rsplit('/').next().unwrap());
    connect(&superuser, "public")
        .await
        .batch_execute(&format!("ALTER DATABASE \"{database}\" SET log_statement = 'all'"))
        .await
        .unwrap();
    let two = filled(&Placement::Schema(url)).await;
    two.acme
        .run_as(async |tx| {
            let members = member::Entity::find().all(tx).await?;
            let letters: Vec<_> =
                members.load_many(letter::Entity, tx).await?.into_iter().flatten().collect();
            letters.load_one(member::Entity, tx).await?;
            member::Entity::find().find_with_related(letter::Entity).all(tx).await?;
            member::Entity::find().find_also_related(letter::Entity).all(tx).await?;
            member::Entity::find().paginate(tx, 2).num_items_and_pages().await?;
            members[0].find_related(letter::Entity).all(tx).await?;
            let changed =
                member::ActiveModel { name: Set("acme changed".to_owned()), ..members[0].clone().into() };
            changed.save(tx).await?;
            letters[0].clone().delete(tx).await?;
            Ok::<_, sea_orm::DbErr>(())
        })
        .await
        .unwrap();
    let log = server.log();
    let of_tables = |line: &&str| {
        line.contains("execute sqlx_") && (line.contains(r#""member""#) || line.contains(r#""letter""#))
    };
    let statements: Vec<_> = log.lines().filter(of_tables).collect();
    for what in ["SELECT", "UPDATE", "DELETE"] {
        let mut of_kind = statements.iter().filter(|line| line.contains(&format!(": {what} "))).peekable();
        assert!(of_kind.peek().is_some(), "there is no {what} in {statements:#?}");
        for line in of_kind {
            // Each table that is read or written, once.
            let tables = ["FROM \"member\"", "FROM \"letter\"", "UPDATE \"member\""];
            let named: usize = tables.iter().map(|table| line.matches(table).count()).sum();
            assert!(named > 0 && line.matches(r#""tenant_id" = $"#).count() == named, "{line}");
        }
    }
}

/// Two tenants that have one connection between them.
async fn one_connection(url: &str) -> ([Runner; 2], TenantDb, TenantDb) {
    let data = data();
    let open = async |tenant: &str| {
        let config = RunnerConfig::builder().submit_only(true).build();
        let builder = Runner::builder().database_url(url).schema(tenant).data(&data).config(config);
        builder.db_pool_size(1).build().await.unwrap()
    };
    let (acme, globex) = (open("acme").await, open("globex").await);
    let (first, second) = (acme.data().unwrap(), globex.data().unwrap());
    ([acme, globex], first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_14_one_connection_that_changes_hands_shows_nobody_the_others_rows() {
    let seed = count("CLOACINA_SEED", fastrand::u64(0..1_000_000));
    let mut rng = fastrand::Rng::with_seed(seed);
    let url = Cluster::shared().unwrap().fresh_database().await.unwrap();
    let (runners, acme, globex) = one_connection(&url).await;
    fill(&acme).await;
    fill(&globex).await;
    let ended = Arc::new(AtomicBool::new(false));
    let disturbing = tokio::spawn(disturb(url.clone(), Arc::clone(&ended), rng.fork()));
    let (mut done, mut failed, mut dropped) = (0, 0, 0);
    for number in 0..count("CLOACINA_SWITCHES", 10_000) {
        let db = if number % 2 == 0 { &acme } else { &globex };
        let kind = rng.u32(0..16);
        let work = db.run_as(async |tx| switched(kind, number, tx).await);
        let ended = match rng.u32(0..5) {
            0 => tokio::time::timeout(Duration::from_micros(rng.u64(0..3_000)), work).await,
            _ => Ok(work.await),
        };
        match ended {
            Err(_) => dropped += 1,
            Ok(Err(_)) => failed += 1,
            Ok(Ok(texts)) => {
                done += 1;
                let foreign: Vec<_> = texts.iter().filter(|text| !text.starts_with(db.tenant())).collect();
                assert!(foreign.is_empty(), "seed {seed}, transaction {number}: {foreign:?}");
            }
        }
    }
    ended.store(true, Ordering::Relaxed);
    let disturbed = disturbing.await.unwrap();
    // The last disturbance may still be on its way.
    until("the connection is left alone", async || {
        acme.read_as(async |tx| member::Entity::find().count(tx).await).await.ok()
    })
    .await;
    println!("seed {seed}: {done} done, {failed} failed, {dropped} dropped, {disturbed} times disturbed");
    for (db, tenant) in [(&acme, "acme"), (&globex, "globex")] {
        let members = everything(db).await.0;
        assert!(members.iter().all(|member| member.name.starts_with(tenant)), "seed {seed}");
        let session = connect(&Cluster::shared().unwrap().superuser_url_of(&url), tenant).await;
        let foreign = "SELECT count(*) FROM member WHERE name NOT LIKE current_schema() || '%'";
        assert_eq!(session.query_one(foreign, &[]).await.unwrap().get::<_, i64>(0), 0, "seed {seed}");
    }
    assert!(done > failed, "most should succeed: {done} of them did");
    for runner in runners {
        runner.shutdown().await.unwrap();
    }
}

pub(crate) async fn switched(kind: u32, number: u64, tx: &TenantTx) -> Result<Vec<String>, DataError> {
    let mark = tx.tenant().to_owned();
    let all = async || Ok::<_, DataError>(names(member::Entity::find().all(tx).await?));
    match kind {
        // A value that is there already, a statement that is refused, one that the database does not know, a
        // change of mind.
        0 => {
            member::Entity::insert(new_member("anna", &mark)).exec(tx).await?;
        }
        1 => {
            tx.execute_unprepared("SET search_path = globex").await?;
        }
        2 => {
            tx.execute_unprepared("SELECT nonsense FROM member").await?;
        }
        3 => {
            member::Entity::update_many()
                .col_expr(member::Column::Name, Expr::value(format!("{mark} undone")))
                .exec(tx)
                .await?;
            return Err(sea_orm::DbErr::Custom("it changed its mind".to_owned()).into());
        }
        4 => {
            let name = format!("{mark} {number}");
            let on = OnConflict::column(member::Column::Email).update_column(member::Column::Name).to_owned();
            let one = new_member(&(number % 20).to_string(), &name);
            member::Entity::insert(one).on_conflict(on).exec(tx).await?;
        }
        5 => {
            member::Entity::update_many()
                .col_expr(member::Column::Name, Expr::value(format!("{mark} {number}")))
                .exec(tx)
                .await?;
        }
        _ => {}
    }
    all().await
}

/// Cancels what the one connection runs, as a time limit does, and sometimes ends it.
async fn disturb(url: String, ended: Arc<AtomicBool>, mut rng: fastrand::Rng) -> u32 {
    let operator = connect(&Cluster::shared().unwrap().superuser_url_of(&url), "acme").await;
    let mut disturbed = 0;
    while !ended.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(rng.u64(1..20))).await;
        let how = if rng.u32(0..20) == 0 { "pg_terminate_backend" } else { "pg_cancel_backend" };
        let text = format!(
            "SELECT {how}(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'cloacina data'"
        );
        disturbed += u32::try_from(operator.query(&text, &[]).await.unwrap().len()).unwrap();
    }
    disturbed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_26_a_name_that_is_none_is_refused_before_anything_is_built_of_it() {
    let url = Cluster::shared().unwrap().fresh_database().await.unwrap();
    let long = "x".repeat(200);
    let names = [
        "x host=evil",
        "../b",
        "a;DROP",
        "",
        &long,
        "größe",
        "pg_catalog",
        "information_schema",
        "cloacina",
        "a\"b",
        "a\0b",
        "a'b",
    ];
    for name in names {
        let built = Runner::builder().database_url(&url).schema(name).data(&data()).build().await;
        let error = built.map(drop).expect_err(name).to_string();
        assert!(error.contains("schema") || error.contains("name"), "{name:?}: {error}");
    }
    let session = connect(&url, "public").await;
    let made = session
        .query(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|public|cloacina)'",
            &[],
        )
        .await;
    assert!(made.unwrap().is_empty());
}

/// The kinds of errors that the others of this module do not name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_16_values_beyond_the_statements_own_do_not_stand_for_the_tenant() {
    let place = Placement::sqlite();
    let two = filled(&place).await;
    let more = two
        .acme
        .run_as(async |tx| {
            let backend = ConnectionTrait::get_database_backend(tx);
            let query =
                Statement::from_sql_and_values(backend, "SELECT name FROM member", [Uuid::nil().into()]);
            tx.query_all_raw(query).await.map(drop).map_err(DataError::from)
        })
        .await;
    let error = more.unwrap_err();
    assert!(error.to_string().contains("parameters"), "{error}");
    assert_ne!(error.kind(), DataErrorKind::Unknown);
}
