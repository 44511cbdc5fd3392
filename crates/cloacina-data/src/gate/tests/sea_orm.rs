//! Statements as SeaORM has them rendered.

use ::sea_query::extension::postgres::PgExpr;
use ::sea_query::extension::sqlite::SqliteExpr;
use ::sea_query::{
    Asterisk, CaseStatement, CommonTableExpression, Cond, Expr, ExprTrait, Func, JoinType, LikeExpr,
    LockBehavior, LockType, NullOrdering, OnConflict, Order, PostgresQueryBuilder, Query,
    QueryStatementWriter, SelectStatement, SqliteQueryBuilder, UnionType, WindowStatement, WithClause,
};

use super::*;

/// A table's column.
fn col(table: &'static str, column: &'static str) -> Expr {
    Expr::col((table, column))
}

/// `Cake::find()`.
fn cakes() -> SelectStatement {
    Query::select().columns([("cake", "id"), ("cake", "name")]).from("cake").to_owned()
}

#[derive(Default)]
struct Cases(String);

impl Cases {
    fn both(&mut self, name: &str, statement: &impl QueryStatementWriter) {
        self.name(name);
        self.postgres_answer(statement);
        self.sqlite_answer(statement);
    }

    fn postgres(&mut self, name: &str, statement: &impl QueryStatementWriter) {
        self.name(name);
        self.postgres_answer(statement);
    }

    fn sqlite(&mut self, name: &str, statement: &impl QueryStatementWriter) {
        self.name(name);
        self.sqlite_answer(statement);
    }

    fn name(&mut self, name: &str) {
        self.0.push_str(&format!("{name}\n"));
    }

    fn postgres_answer(&mut self, statement: &impl QueryStatementWriter) {
        let (sql, values) = statement.build(PostgresQueryBuilder);
        self.answer(Dialect::Postgres, &sql, values.0.len());
    }

    fn sqlite_answer(&mut self, statement: &impl QueryStatementWriter) {
        let (sql, values) = statement.build(SqliteQueryBuilder);
        self.answer(Dialect::Sqlite, &sql, values.0.len());
    }

    fn answer(&mut self, dialect: Dialect, sql: &str, values: usize) {
        let answer = gate(dialect).admit(sql);
        if let Ok(admitted) = &answer {
            assert!(admitted.fits(values), "{sql} has {values} values");
        }
        self.0.push_str(&format!("  {dialect:?}\n    < {sql}\n    > {}\n", written(answer.as_deref())));
    }
}

#[test]
fn what_sea_orm_renders_is_understood() {
    let mut cases = Cases::default();
    queries(&mut cases);
    writes(&mut cases);
    of_one_database(&mut cases);
    expect("sea_orm.txt", &cases.0);
}

fn queries(cases: &mut Cases) {
    cases.both("find", &cakes());
    cases.both("find by id", cakes().and_where(col("cake", "id").eq(1)).limit(1));
    cases.both("a page", cakes().order_by(("cake", "id"), Order::Asc).limit(10).offset(20));
    cases.both(
        "count of a page",
        Query::select().expr(Expr::cust("COUNT(*) AS num_items")).from_subquery(cakes(), "sub_query"),
    );
    cases.both(
        "find also related",
        Query::select()
            .expr_as(col("cake", "id"), "A_id")
            .expr_as(col("cake", "name"), "A_name")
            .expr_as(col("fruit", "id"), "B_id")
            .expr_as(col("fruit", "cake_id"), "B_cake_id")
            .from("cake")
            .join(JoinType::LeftJoin, "fruit", col("cake", "id").equals(("fruit", "cake_id")))
            .order_by(("cake", "id"), Order::Asc),
    );
    cases.both(
        "many to many",
        cakes()
            .join(JoinType::InnerJoin, "cake_filling", col("cake_filling", "cake_id").equals(("cake", "id")))
            .join_as(
                JoinType::InnerJoin,
                "filling",
                "t1",
                col("cake_filling", "filling_id").equals(("t1", "id")),
            )
            .and_where(col("t1", "name").like("%nut%")),
    );
    cases.both(
        "aliases",
        Query::select()
            .column(("t0", "id"))
            .from_as("cake", "t0")
            .join_as(JoinType::RightJoin, "fruit", "t1", col("t0", "id").equals(("t1", "cake_id")))
            .join_as(JoinType::FullOuterJoin, "country", "t2", col("t2", "code").equals(("t1", "country")))
            .join_as(JoinType::CrossJoin, "filling", "t3", Expr::value(true)),
    );
    cases.both("in a list", cakes().and_where(col("cake", "id").is_in([1, 2, 3])));
    cases.both("in an empty list", cakes().and_where(col("cake", "id").is_in(Vec::<i32>::new())));
    cases.both("not in an empty list", cakes().and_where(col("cake", "id").is_not_in(Vec::<i32>::new())));
    cases.both(
        "in tuples",
        cakes().and_where(
            Expr::tuple([col("cake", "id"), col("cake", "name")])
                .in_tuples([(1, "a".to_owned()), (2, "b".to_owned())]),
        ),
    );
    cases.both(
        "in a subquery",
        cakes().and_where(
            col("cake", "id").in_subquery(Query::select().column("cake_id").from("fruit").to_owned()),
        ),
    );
    cases.both(
        "exists",
        cakes().and_where(Expr::exists(
            Query::select()
                .expr(Expr::val(1))
                .from("fruit")
                .and_where(col("fruit", "cake_id").equals(("cake", "id")))
                .to_owned(),
        )),
    );
    cases.both(
        "does any exist",
        Query::select().expr(Expr::cust("1")).from_subquery(cakes().limit(1).to_owned(), "sub_query"),
    );
    cases.both(
        "conditions",
        cakes().cond_where(
            Cond::any()
                .add(col("cake", "price").between(1, 5))
                .add(Cond::all().add(col("cake", "name").is_null()).add(col("cake", "gluten_free").eq(true)))
                .add(Cond::all().not().add(col("cake", "price").gt(3.5))),
        ),
    );
    cases.both(
        "like with an escape",
        cakes().and_where(col("cake", "name").like(LikeExpr::new("a|_b%").escape('|'))),
    );
    cases.both(
        "like with a backslash",
        cakes().and_where(col("cake", "name").like(LikeExpr::new("a\\_b%").escape('\\'))),
    );
    cases.both("starts with", cakes().and_where(col("cake", "name").not_like("a%")));
    cases.both("distinct", cakes().distinct());
    cases.both(
        "group and having",
        Query::select()
            .column(("cake", "name"))
            .expr_as(col("cake", "id").count(), "count")
            .expr_as(Func::sum(col("cake", "price")), "sum")
            .expr_as(col("cake", "price").cast_as("text"), "text")
            .from("cake")
            .group_by_col(("cake", "name"))
            .and_having(col("cake", "id").count().gt(1)),
    );
    cases.both("count distinct", Query::select().expr(col("cake", "name").count_distinct()).from("cake"));
    cases.both(
        "functions",
        Query::select()
            .expr(Func::upper(col("cake", "name")))
            .expr(Func::char_length(col("cake", "name")))
            .expr(Func::coalesce([col("cake", "name"), Expr::val("none")]))
            .expr(Func::if_null(col("cake", "name"), "none"))
            .expr(Func::round_with_precision(col("cake", "price"), 2))
            .expr(Func::random())
            .expr(Func::max(col("cake", "price")))
            .expr(Expr::current_timestamp())
            .expr(Func::cust("bakery_round").arg(col("cake", "price")))
            .from("cake"),
    );
    cases.both(
        "case",
        Query::select()
            .expr_as(
                CaseStatement::new()
                    .case(col("cake", "price").gt(10), "dear")
                    .case(col("cake", "price").lt(2), "cheap")
                    .finally("fair"),
                "how",
            )
            .from("cake"),
    );
    cases.both(
        "a window",
        Query::select()
            .column(("cake", "id"))
            .expr_window_as(
                Func::cust("ROW_NUMBER"),
                WindowStatement::partition_by(("cake", "name"))
                    .order_by(("cake", "price"), Order::Desc)
                    .to_owned(),
                "place",
            )
            .expr_window_name(Func::sum(col("cake", "price")), "w")
            .from("cake")
            .window("w", WindowStatement::partition_by(("cake", "shop")).to_owned()),
    );
    cases.both(
        "a subquery as a value",
        cakes().expr_as(
            Expr::SubQuery(
                None,
                Box::new(
                    Query::select()
                        .expr(Func::count(col("fruit", "id")))
                        .from("fruit")
                        .and_where(col("fruit", "cake_id").equals(("cake", "id")))
                        .to_owned()
                        .into(),
                ),
            ),
            "fruits",
        ),
    );
    cases.both(
        "a join with a subquery",
        cakes().join_subquery(
            JoinType::LeftJoin,
            Query::select()
                .column("cake_id")
                .expr_as(Func::count(Expr::col("id")), "n")
                .from("fruit")
                .group_by_col("cake_id")
                .to_owned(),
            "f",
            col("f", "cake_id").equals(("cake", "id")),
        ),
    );
    cases.both(
        "a union",
        cakes()
            .union(
                UnionType::All,
                Query::select().columns([("fruit", "id"), ("fruit", "name")]).from("fruit").to_owned(),
            )
            .union(UnionType::Distinct, cakes()),
    );
    cases.both(
        "intersect",
        Query::select()
            .column("id")
            .from("cake")
            .union(UnionType::Intersect, Query::select().column("cake_id").from("fruit").to_owned()),
    );
    cases.both(
        "except",
        Query::select()
            .column("id")
            .from("cake")
            .union(UnionType::Except, Query::select().column("cake_id").from("fruit").to_owned()),
    );
    cases.both(
        "a common table expression",
        &Query::select().column(("cake", "id")).from_as("cte", "cake").to_owned().with(
            WithClause::new()
                .cte(CommonTableExpression::new().query(cakes()).table_name("cte").to_owned())
                .to_owned(),
        ),
    );
    cases.both(
        "a recursive one",
        &Query::select().column(Asterisk).from("tree").to_owned().with(
            WithClause::new()
                .recursive(true)
                .cte(
                    CommonTableExpression::new()
                        .table_name("tree")
                        .columns(["id", "depth"])
                        .query(
                            Query::select()
                                .column("id")
                                .expr(Expr::val(1))
                                .from("cake")
                                .and_where(Expr::col("parent").is_null())
                                .union(
                                    UnionType::All,
                                    Query::select()
                                        .column(("cake", "id"))
                                        .expr(col("tree", "depth").add(1))
                                        .from("cake")
                                        .join(
                                            JoinType::InnerJoin,
                                            "tree",
                                            col("tree", "id").equals(("cake", "parent")),
                                        )
                                        .to_owned(),
                                )
                                .to_owned(),
                        )
                        .to_owned(),
                )
                .to_owned(),
        ),
    );
    cases.both(
        "a list of values",
        Query::select().column(("v", "column1")).from_values([(1, "a".to_owned()), (2, "b".to_owned())], "v"),
    );
    cases.both("a reference table", Query::select().column(("country", "code")).from("country"));
}

fn writes(cases: &mut Cases) {
    cases.both(
        "insert",
        Query::insert().into_table("cake").columns(["id", "name"]).values_panic([1.into(), "Apple".into()]),
    );
    cases.both(
        "insert many and return",
        Query::insert()
            .into_table("cake")
            .columns(["id", "name"])
            .values_panic([1.into(), "Apple".into()])
            .values_panic([2.into(), Option::<String>::None.into()])
            .returning(Query::returning().columns(["id", "name"])),
    );
    cases.both(
        "insert into a table called like its column",
        Query::insert()
            .into_table("status")
            .columns(["status"])
            .values_panic(["new".into()])
            .returning(Query::returning().columns(["id", "status"])),
    );
    cases.both("insert nothing but defaults", Query::insert().into_table("cake").or_default_values());
    cases.both(
        "insert or do nothing",
        Query::insert()
            .into_table("cake")
            .columns(["id", "name"])
            .values_panic([1.into(), "Apple".into()])
            .on_conflict(OnConflict::column("id").do_nothing().to_owned()),
    );
    cases.both(
        "insert or update",
        Query::insert()
            .into_table("cake")
            .columns(["shop", "name", "price"])
            .values_panic(["mill".into(), "Apple".into(), 3.into()])
            .on_conflict(
                OnConflict::columns(["shop", "name"])
                    .update_columns(["price"])
                    .value("sold", col("cake", "sold").add(1))
                    .action_and_where(col("cake", "price").lt(100))
                    .to_owned(),
            )
            .returning_col("id"),
    );
    cases.both(
        "insert or update by a partial index",
        Query::insert().into_table("cake").columns(["name"]).values_panic(["Apple".into()]).on_conflict(
            OnConflict::column("name")
                .target_and_where(Expr::col("sold").is_null())
                .update_column("name")
                .to_owned(),
        ),
    );
    cases.both(
        "insert from a select",
        Query::insert()
            .into_table("cake")
            .columns(["name"])
            .select_from(
                Query::select().column("name").from("fruit").and_where(Expr::col("ripe").eq(true)).to_owned(),
            )
            .unwrap(),
    );
    cases.both(
        "update",
        Query::update().table("cake").value("name", "Pear").and_where(col("cake", "id").eq(1)),
    );
    cases.both(
        "update and return",
        Query::update()
            .table("cake")
            .values([("name", "Pear".into()), ("price", col("cake", "price").mul(2))])
            .and_where(col("cake", "id").eq(1))
            .returning(Query::returning().columns([("cake", "id"), ("cake", "name")])),
    );
    cases.both("update all", Query::update().table("cake").value("sold", Option::<i32>::None));
    cases.both(
        "update many by case",
        Query::update()
            .table("cake")
            .value(
                "price",
                CaseStatement::new()
                    .case(Expr::col("id").eq(1), 10)
                    .case(Expr::col("id").eq(2), 20)
                    .finally(Expr::col("price")),
            )
            .and_where(Expr::col("id").is_in([1, 2])),
    );
    cases.both(
        "update from another table",
        Query::update()
            .table("cake")
            .from("fruit")
            .value("price", col("fruit", "price"))
            .and_where(col("fruit", "cake_id").equals(("cake", "id"))),
    );
    cases.both("delete", Query::delete().from_table("cake").and_where(col("cake", "id").eq(1)));
    cases.both("delete all", Query::delete().from_table("cake"));
    cases.both(
        "delete by a subquery and return",
        Query::delete()
            .from_table("cake")
            .and_where(
                col("cake", "id").in_subquery(
                    Query::select()
                        .column(("fruit", "cake_id"))
                        .from("fruit")
                        .and_where(col("fruit", "ripe").eq(false))
                        .to_owned(),
                ),
            )
            .returning_all(),
    );
    cases.both(
        "a delete after a common table expression",
        &Query::delete()
            .from_table("cake")
            .and_where(
                col("cake", "id").in_subquery(Query::select().column("cake_id").from("old").to_owned()),
            )
            .to_owned()
            .with(
                WithClause::new()
                    .cte(
                        CommonTableExpression::new()
                            .query(Query::select().column("cake_id").from("fruit").to_owned())
                            .table_name("old")
                            .to_owned(),
                    )
                    .to_owned(),
            ),
    );
}

fn of_one_database(cases: &mut Cases) {
    cases
        .postgres("a custom condition", cakes().and_where(Expr::cust_with_values("price % $2 = $1", [3, 0])));
    cases.sqlite("a custom condition", cakes().and_where(Expr::cust_with_values("price % ? = ?", [3, 0])));
    cases.postgres("for update", cakes().lock(LockType::Update));
    cases.postgres(
        "for update of one",
        cakes()
            .join(JoinType::InnerJoin, "country", col("cake", "country").equals(("country", "code")))
            .lock_with_tables_behavior(LockType::Share, ["cake"], LockBehavior::SkipLocked),
    );
    cases.postgres("distinct on", cakes().distinct_on([("cake", "name")]));
    cases.postgres("ilike", cakes().and_where(col("cake", "name").ilike("%a%")));
    cases.postgres(
        "json",
        cakes()
            .and_where(PgExpr::cast_json_field(PgExpr::get_json_field(col("cake", "data"), "a"), "b").eq("x"))
            .and_where(col("cake", "data").contains(Expr::val("{}").cast_as("jsonb")))
            .and_where(Expr::cust(r#""cake"."data" ?| ARRAY['a', 'b']"#)),
    );
    cases.postgres(
        "enums",
        Query::insert()
            .into_table("cake")
            .columns(["mood", "moods"])
            .values_panic([Expr::val("happy").as_enum("mood"), Expr::val("{}").as_enum("mood[]")]),
    );
    cases.postgres(
        "an enum read as text",
        Query::select().expr(col("cake", "mood").cast_as("text")).from("cake"),
    );
    cases.postgres("any", cakes().and_where(Expr::cust_with_values("\"cake\".\"id\" = ANY($1)", [1])));
    cases.postgres(
        "search",
        cakes()
            .and_where(Expr::cust_with_values(
                "to_tsvector('english', \"cake\".\"name\") @@ plainto_tsquery($1)",
                ["pear"],
            ))
            .order_by_with_nulls(("cake", "name"), Order::Desc, NullOrdering::Last),
    );
    cases.postgres(
        "lateral",
        cakes().join_lateral(
            JoinType::LeftJoin,
            Query::select()
                .column(("fruit", "name"))
                .from("fruit")
                .and_where(col("fruit", "cake_id").equals(("cake", "id")))
                .limit(1)
                .to_owned(),
            "f",
            Expr::value(true),
        ),
    );
    cases.sqlite(
        "json",
        cakes()
            .and_where(
                SqliteExpr::cast_json_field(SqliteExpr::get_json_field(col("cake", "data"), "a"), "b")
                    .eq("x"),
            )
            .and_where(col("cake", "name").glob("a*")),
    );
}
