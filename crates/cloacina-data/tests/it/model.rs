//! The tables of the tests: members and their letters, and the countries, which are everybody's.

// What the derives of SeaORM make of them has to be as public as they are.
#![allow(unreachable_pub)]

use cloacina::data::sea_orm;
use cloacina::data::sea_orm::sea_query::{ColumnDef, ForeignKey, ForeignKeyAction, Query, Table};
use cloacina::data::{Data, Migration};

pub(crate) mod member {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "member")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub email: String,
        pub name: String,
        pub cents: i64,
        pub country: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_many = "super::letter::Entity")]
        Letter,
        #[sea_orm(
            belongs_to = "super::country::Entity",
            from = "Column::Country",
            to = "super::country::Column::Code"
        )]
        Country,
    }

    impl Related<super::letter::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Letter.def()
        }
    }

    impl Related<super::country::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Country.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod letter {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "letter")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub member_id: i32,
        pub title: String,
        pub sent: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "super::member::Entity",
            from = "Column::MemberId",
            to = "super::member::Column::Id"
        )]
        Member,
    }

    impl Related<super::member::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Member.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod country {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "country")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub code: String,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Everything declared, in two migrations.
pub(crate) fn data() -> Data {
    let countries = Table::create()
        .table("country")
        .col(ColumnDef::new("code").string().not_null().primary_key())
        .col(ColumnDef::new("name").string().not_null())
        .to_owned();
    let members = Table::create()
        .table("member")
        .col(ColumnDef::new("id").integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new("email").string().not_null().unique_key())
        .col(ColumnDef::new("name").string().not_null())
        .col(ColumnDef::new("cents").big_integer().not_null().default(0))
        .col(ColumnDef::new("country").string().null())
        .foreign_key(ForeignKey::create().from("member", "country").to("country", "code"))
        .to_owned();
    let letters = Table::create()
        .table("letter")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("member_id").integer().not_null())
        .col(ColumnDef::new("title").string().not_null())
        .foreign_key(
            ForeignKey::create()
                .from("letter", "member_id")
                .to("member", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned();
    let some = Query::insert()
        .into_table("country")
        .columns(["code", "name"])
        .values_panic(["it".into(), "Italia".into()])
        .values_panic(["fr".into(), "France".into()])
        .to_owned();
    Data::builder()
        .reference(country::Entity)
        .tenant(member::Entity)
        .tenant(letter::Entity)
        .migration(Migration::new(1, "tables").create(countries).create(members).create(letters).fill(some))
        .migration(
            Migration::new(2, "whether letters were sent")
                .add_column("letter", ColumnDef::new("sent").boolean().not_null().default(false).to_owned())
                .index("letter", ["member_id"]),
        )
        .build()
        .unwrap()
}

pub(crate) fn new_member(email: &str, name: &str) -> member::ActiveModel {
    use sea_orm::ActiveValue::{NotSet, Set};
    member::ActiveModel {
        id: NotSet,
        email: Set(email.to_owned()),
        name: Set(name.to_owned()),
        cents: Set(100),
        country: Set(Some("it".to_owned())),
    }
}
