//! The tables of an airline: its flights, and what was counted of them.

// What the derives of SeaORM make of them has to be as public as they are.
#![allow(unreachable_pub)]

use cloacina::data::sea_orm::sea_query::{ColumnDef, Index, Table};
use cloacina::data::{Data, Migration, Result};

pub(crate) mod flight {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "flights")]
    pub struct Model {
        /// The line of the file.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        pub month: i32,
        /// Of the scheduled departure.
        pub hour: i32,
        pub dest: String,
        /// When it left; never, if it was cancelled.
        pub dep_time: Option<i32>,
        /// Minutes after the scheduled arrival, negative is early; nothing if it did not arrive where it
        /// should have.
        pub arr_delay: Option<i32>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod figure {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "figures")]
    pub struct Model {
        /// By what it was counted: month, hour or destination.
        #[sea_orm(primary_key, auto_increment = false)]
        pub kind: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub key: String,
        pub flights: i64,
        pub departed: i64,
        pub arrived: i64,
        pub delay_minutes: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) fn data() -> Result<Data> {
    let number = |name: &'static str| ColumnDef::new(name).integer().not_null().to_owned();
    let count = |name: &'static str| ColumnDef::new(name).big_integer().not_null().to_owned();
    let flights = Table::create()
        .table("flights")
        .col(number("id").primary_key())
        .col(number("month"))
        .col(number("hour"))
        .col(ColumnDef::new("dest").string().not_null())
        .col(ColumnDef::new("dep_time").integer().null())
        .col(ColumnDef::new("arr_delay").integer().null())
        .to_owned();
    let figures = Table::create()
        .table("figures")
        .col(ColumnDef::new("kind").string().not_null())
        .col(ColumnDef::new("key").string().not_null())
        .col(count("flights"))
        .col(count("departed"))
        .col(count("arrived"))
        .col(count("delay_minutes"))
        .primary_key(Index::create().col("kind").col("key"))
        .to_owned();
    Data::builder()
        .tenant(flight::Entity)
        .tenant(figure::Entity)
        .migration(Migration::new(1, "flights and figures").create(flights).create(figures))
        .build()
}
