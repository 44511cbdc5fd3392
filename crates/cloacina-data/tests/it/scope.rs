//! What a tenant sees: its own rows, whatever it asks for.

use cloacina::data::sea_orm::ActiveValue::Set;
use cloacina::data::sea_orm::sea_query::{Alias, Expr, ExprTrait, OnConflict};
use cloacina::data::sea_orm::{
    ColumnTrait, Condition, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use cloacina::data::{DataErrorKind, TenantDb, sea_orm};
use futures_util::TryStreamExt;
use uuid::Uuid;

use crate::model::{country, data, letter, member, new_member};
use crate::support::{assert_says, in_each_placement};

/// Members with the same names and ids in both, and a letter each.
async fn fill(db: &TenantDb, mark: &str) {
    db.run_as(async |tx| {
        for name in ["anna", "bea", "carla"] {
            let one = member::Entity::insert(new_member(name, &format!("{mark} {name}"))).exec(tx).await?;
            let letter = letter::ActiveModel {
                id: Set(Uuid::now_v7()),
                member_id: Set(one.last_insert_id),
                title: Set(format!("{mark} to {name}")),
                sent: Set(false),
            };
            letter::Entity::insert(letter).exec_without_returning(tx).await?;
        }
        Ok::<_, sea_orm::DbErr>(())
    })
    .await
    .unwrap();
}

async fn names(db: &TenantDb) -> Vec<String> {
    let members = db
        .read_as(async |tx| member::Entity::find().order_by_asc(member::Column::Email).all(tx).await)
        .await
        .unwrap();
    members.into_iter().map(|member| member.name).collect()
}

in_each_placement! {
    async fn the_same_ids_and_addresses_are_in_both_tenants(place: Placement) {
        let two = place.two(&data()).await;
        fill(&two.acme, "acme").await;
        fill(&two.globex, "globex").await;
        assert_eq!(names(&two.acme).await, ["acme anna", "acme bea", "acme carla"]);
        assert_eq!(names(&two.globex).await, ["globex anna", "globex bea", "globex carla"]);
        let twice = two.acme.run_as(async |tx| member::Entity::insert(new_member("anna", "again")).exec(tx).await).await;
        let error = twice.unwrap_err();
        assert!(matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_))), "{error}");
    }

    async fn whatever_condition_is_asked_for_only_rows_of_the_tenant_answer(place: Placement) {
        let two = place.two(&data()).await;
        fill(&two.acme, "acme").await;
        fill(&two.globex, "globex").await;
        let found = two
            .acme
            .run_as(async |tx| {
                let any = Condition::any().add(member::Column::Cents.eq(-1)).add(Expr::val(true));
                let all = member::Entity::find().filter(any.clone()).all(tx).await?;
                let count = member::Entity::find().filter(any.clone()).count(tx).await?;
                let page = member::Entity::find().order_by_asc(member::Column::Id).paginate(tx, 2).fetch_page(1).await?;
                let changed = member::Entity::update_many()
                    .col_expr(member::Column::Cents, Expr::value(7_i64))
                    .filter(any.clone())
                    .exec(tx)
                    .await?;
                let deleted = letter::Entity::delete_many().filter(Expr::val(true)).exec(tx).await?;
                Ok::<_, sea_orm::DbErr>((all.len(), count, page.len(), changed.rows_affected, deleted.rows_affected))
            })
            .await
            .unwrap();
        assert_eq!(found, (3, 3, 1, 3, 3));
        let untouched = two
            .globex
            .read_as(async |tx| {
                let members = member::Entity::find().filter(member::Column::Cents.eq(100)).count(tx).await?;
                Ok::<_, sea_orm::DbErr>((members, letter::Entity::find().count(tx).await?))
            })
            .await
            .unwrap();
        assert_eq!(untouched, (3, 3));
    }

    async fn relations_joins_and_loaders_stay_within_the_tenant(place: Placement) {
        let two = place.two(&data()).await;
        fill(&two.acme, "acme").await;
        fill(&two.globex, "globex").await;
        two.acme
            .read_as(async |tx| {
                let pairs = member::Entity::find().find_also_related(letter::Entity).all(tx).await?;
                assert_eq!(pairs.len(), 3);
                assert!(pairs.iter().all(|(_, letter)| letter.as_ref().unwrap().title.starts_with("acme")));
                let with = member::Entity::find().find_with_related(letter::Entity).all(tx).await?;
                assert!(with.iter().all(|(_, letters)| letters.len() == 1));
                let members = member::Entity::find().all(tx).await?;
                let letters = sea_orm::LoaderTrait::load_many(&members, letter::Entity, tx).await?;
                assert!(letters.iter().flatten().all(|letter| letter.title.starts_with("acme")));
                let of = member::Entity::find().find_also_related(country::Entity).all(tx).await?;
                assert!(of.iter().all(|(_, country)| country.as_ref().unwrap().name == "Italia"));
                Ok::<_, sea_orm::DbErr>(())
            })
            .await
            .unwrap();
    }

    async fn aggregates_subqueries_and_streams_are_scoped(place: Placement) {
        #[derive(FromQueryResult)]
        struct Sum {
            letters: i64,
        }

        let two = place.two(&data()).await;
        fill(&two.acme, "acme").await;
        fill(&two.globex, "globex").await;
        two.acme
            .read_as(async |tx| {
                let sum = letter::Entity::find()
                    .select_only()
                    .column_as(letter::Column::Id.count(), "letters")
                    .into_model::<Sum>()
                    .one(tx)
                    .await?;
                assert_eq!(sum.unwrap().letters, 3);
                let writers = member::Entity::find()
                    .filter(
                        member::Column::Id.in_subquery(
                            sea_orm::QuerySelect::query(&mut letter::Entity::find().select_only().column(letter::Column::MemberId))
                                .to_owned(),
                        ),
                    )
                    .all(tx)
                    .await?;
                assert_eq!(writers.len(), 3);
                let (titles, count): (Vec<String>, usize) = {
                    let stream = letter::Entity::find().stream(tx).await?;
                    let letters: Vec<_> = stream.try_collect().await?;
                    (letters.iter().map(|letter: &letter::Model| letter.title.clone()).collect(), letters.len())
                };
                assert!(count == 3 && titles.iter().all(|title| title.starts_with("acme")));
                let tuples: Vec<(String, i64)> = member::Entity::find()
                    .select_only()
                    .column(member::Column::Name)
                    .column(member::Column::Cents)
                    .into_tuple()
                    .all(tx)
                    .await?;
                assert!(tuples.iter().all(|(name, cents)| name.starts_with("acme") && *cents == 100));
                Ok::<_, sea_orm::DbErr>(())
            })
            .await
            .unwrap();
    }

    async fn an_upsert_meets_only_rows_of_the_tenant(place: Placement) {
        let two = place.two(&data()).await;
        two.globex.run_as(async |tx| member::Entity::insert(new_member("anna", "globex anna")).exec(tx).await).await.unwrap();
        for name in ["acme anna", "acme anna, again"] {
            two.acme
                .run_as(async |tx| {
                    member::Entity::insert(new_member("anna", name))
                        .on_conflict(OnConflict::column(member::Column::Email).update_column(member::Column::Name).to_owned())
                        .exec(tx)
                        .await
                })
                .await
                .unwrap();
        }
        assert_eq!(names(&two.acme).await, ["acme anna, again"]);
        assert_eq!(names(&two.globex).await, ["globex anna"]);
    }

    async fn a_letter_cannot_belong_to_a_member_of_another_tenant(place: Placement) {
        let two = place.two(&data()).await;
        let theirs = two
            .globex
            .run_as(async |tx| {
                for name in ["anna", "bea"] {
                    member::Entity::insert(new_member(name, name)).exec(tx).await?;
                }
                member::Entity::find().filter(member::Column::Email.eq("bea")).one(tx).await
            })
            .await
            .unwrap()
            .unwrap();
        let letter = letter::ActiveModel {
            id: Set(Uuid::now_v7()),
            member_id: Set(theirs.id),
            title: Set("to somebody else's".to_owned()),
            sent: Set(false),
        };
        let written = two.acme.run_as(async |tx| letter::Entity::insert(letter).exec_without_returning(tx).await).await;
        let error = written.unwrap_err();
        assert!(matches!(error.sql_err(), Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_))), "{error}");
    }

    async fn what_names_the_tenants_column_or_an_undeclared_table_is_refused(place: Placement) {
        let two = place.two(&data()).await;
        let column = two
            .acme
            .run_as(async |tx| member::Entity::find().filter(Expr::col(Alias::new("tenant_id")).is_not_null()).all(tx).await.map_err(cloacina::data::DataError::from))
            .await;
        assert!(column.unwrap_err().to_string().contains("tenant_id"));
        for statement in [
            "SELECT * FROM workflow_executions",
            "SELECT * FROM cloacina_data_migration",
            "DELETE FROM member; DELETE FROM letter",
            "DROP TABLE member",
            "INSERT INTO country (code, name) VALUES ('xx', 'Nowhere')",
        ] {
            use sea_orm::ConnectionTrait as _;
            let refused = two.acme.run_as(async |tx| tx.execute_unprepared(statement).await).await;
            let error = refused.unwrap_err();
            assert!(error.to_string().contains("acme"), "{statement}: {error}");
        }
        assert_says(
            &two.acme.run_as(async |tx| {
                use sea_orm::ConnectionTrait as _;
                drop(tx.execute_unprepared("SELECT 1 FROM nothing").await);
                Ok::<_, cloacina::data::DataError>(())
            }).await.unwrap_err(),
            DataErrorKind::Poisoned,
            "met an error before",
        );
    }

    async fn reference_rows_are_everybodys(place: Placement) {
        let two = place.two(&data()).await;
        for db in [&two.acme, &two.globex] {
            let countries = db.read_as(async |tx| country::Entity::find().count(tx).await).await.unwrap();
            assert_eq!(countries, 2);
        }
    }
}
