use cloacina::data::TenantDb;
use cloacina::data::sea_orm::{DbErr, EntityTrait};

mod member {
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "member")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

async fn all(db: &TenantDb) -> Result<Vec<member::Model>, DbErr> {
    member::Entity::find().all(db).await
}

fn main() {}
