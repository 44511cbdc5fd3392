use cloacina::data::sea_orm::ActiveValue::{NotSet, Set};
use cloacina::data::sea_orm::prelude::Uuid;

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

fn main() {
    let _ = member::ActiveModel { id: NotSet, name: Set("anna".to_owned()), tenant_id: Set(Uuid::nil()) };
    let _ = member::Column::TenantId;
}
