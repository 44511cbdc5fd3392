//! Users and their documents: models with the tenant's columns, and no `tenant_id`.

// What the derives of SeaORM make of them has to be as public as they are.
#![allow(unreachable_pub)]

use cloacina::data::sea_orm::sea_query::{ColumnDef, ForeignKey, Table};
use cloacina::data::{Data, Migration, Result};

pub(crate) mod user {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "users")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub name: String,
        pub email: String,
        pub role: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_many = "super::document::Entity")]
        Document,
    }

    impl Related<super::document::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Document.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod document {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "documents")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub title: String,
        pub content: String,
        pub owner_id: Uuid,
        pub is_public: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "super::user::Entity",
            from = "Column::OwnerId",
            to = "super::user::Column::Id"
        )]
        Owner,
    }

    impl Related<super::user::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Owner.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// The tables, the same in every placement. Keys, unique keys and foreign keys are led by the tenant without
/// being told to.
pub(crate) fn data() -> Result<Data> {
    let users = Table::create()
        .table("users")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("name").string().not_null())
        .col(ColumnDef::new("email").string().not_null().unique_key())
        .col(ColumnDef::new("role").string().not_null().default("user"))
        .to_owned();
    let documents = Table::create()
        .table("documents")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("title").string().not_null())
        .col(ColumnDef::new("content").text().not_null())
        .col(ColumnDef::new("owner_id").uuid().not_null())
        .col(ColumnDef::new("is_public").boolean().not_null().default(false))
        .foreign_key(ForeignKey::create().from("documents", "owner_id").to("users", "id"))
        .to_owned();
    Data::builder()
        .tenant(user::Entity)
        .tenant(document::Entity)
        .migration(Migration::new(1, "users and their documents").create(users).create(documents))
        .build()
}
