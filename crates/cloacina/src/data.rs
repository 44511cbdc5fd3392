//! The tenants' own data: tables that are declared once, and reached only in a transaction that belongs to
//! one tenant.
//!
//! ```no_run
//! # #[cfg(all(feature = "macros", feature = "sqlite"))]
//! # mod example {
//! use cloacina::data::sea_orm::entity::prelude::*;
//! use cloacina::data::sea_orm::sea_query::{ColumnDef, ExprTrait, Table};
//! use cloacina::data::{Data, Migration, TenantTx, sea_orm};
//! use cloacina::runner::Runner;
//! use cloacina::{Context, Error, task};
//!
//! mod account {
//!     use cloacina::data::sea_orm;
//!     use cloacina::data::sea_orm::entity::prelude::*;
//!
//!     #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
//!     #[sea_orm(table_name = "account")]
//!     pub struct Model {
//!         #[sea_orm(primary_key, auto_increment = false)]
//!         pub name: String,
//!         pub cents: i64,
//!     }
//!
//!     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
//!     pub enum Relation {}
//!
//!     impl ActiveModelBehavior for ActiveModel {}
//! }
//!
//! /// What it takes, and that it is done, is one commit.
//! #[task(id = "charge")]
//! async fn charge(context: &mut Context, tx: &TenantTx) -> Result<(), DbErr> {
//!     let cents = context.get::<i64>("cents").unwrap_or_default();
//!     account::Entity::update_many()
//!         .col_expr(account::Column::Cents, Expr::col(account::Column::Cents).sub(cents))
//!         .filter(account::Column::Name.eq("till"))
//!         .exec(tx)
//!         .await?;
//!     Ok(())
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let accounts = Table::create()
//!     .table("account")
//!     .col(ColumnDef::new("name").string().not_null().primary_key())
//!     .col(ColumnDef::new("cents").big_integer().not_null())
//!     .to_owned();
//! let data = Data::builder()
//!     .tenant(account::Entity)
//!     .migration(Migration::new(1, "accounts").create(accounts))
//!     .build()?;
//! let runner = Runner::builder().database_url("sqlite://./acme.db").data(&data).build().await?;
//! let db = runner.data()?;
//! let all = db.read(async |tx| Ok(account::Entity::find().all(tx).await?)).await?;
//! # Ok(())
//! # }
//! # }
//! ```

#[cfg(feature = "postgres")]
pub use cloacina_data::{Across, CredentialSource, ReadTx, Scope, TenantLogin};
pub use cloacina_data::{
    Data, DataBuilder, DataError, DataErrorKind, DataMetrics, Finding, Migration, Refusal, Result, TenantDb,
    TenantTx, sea_orm,
};
