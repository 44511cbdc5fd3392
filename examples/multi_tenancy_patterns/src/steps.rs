//! The seven steps. They are given two tenants' data and know nothing of where it is.

use anyhow::{Context as _, Result, bail, ensure};
use cloacina::data::sea_orm::sea_query::Expr;
use cloacina::data::sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, JoinType, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, RelationTrait, TransactionTrait,
};
use cloacina::data::{TenantDb, TenantTx};
use uuid::Uuid;

use crate::model::{document, user};

/// A tenant, and what it puts into its tables.
pub(crate) struct Tenant {
    /// As the output calls it.
    pub(crate) label: &'static str,
    pub(crate) db: TenantDb,
    pub(crate) person: &'static str,
    pub(crate) email: &'static str,
    pub(crate) title: &'static str,
}

impl Tenant {
    pub(crate) fn acme(db: TenantDb) -> Self {
        let (person, email, title) = ("Alice Johnson", "alice@acme.com", "Acme Q1 Report");
        Self { label: "Acme", db, person, email, title }
    }

    pub(crate) fn widget(db: TenantDb) -> Self {
        let (person, email, title) = ("Bob Smith", "bob@widget.com", "Widget Product Roadmap");
        Self { label: "Widget", db, person, email, title }
    }
}

/// Goes through all steps. An error says which tenant saw or changed what is not its own.
pub(crate) async fn run(acme: &Tenant, widget: &Tenant) -> Result<()> {
    let both = [acme, widget];
    for tenant in both {
        clear(tenant).await?;
    }

    println!("--- Example 1: INSERT Users (Tenant-Scoped) ---");
    let alice = insert_user(acme).await?;
    let bob = insert_user(widget).await?;

    println!("\n--- Example 2: SELECT with Auto Tenant Filtering ---");
    for tenant in both {
        select_users(tenant).await?;
    }

    println!("\n--- Example 3: INSERT Documents (Tenant-Scoped) ---");
    let report = insert_document(acme, alice).await?;
    let roadmap = insert_document(widget, bob).await?;

    println!("\n--- Example 4: SELECT Documents (Tenant Isolated) ---");
    for tenant in both {
        select_documents(tenant).await?;
    }

    println!("\n--- Example 5: UPDATE with Tenant Filtering ---");
    update(acme, widget).await?;

    println!("\n--- Example 6: COUNT (Tenant-Scoped) ---");
    for tenant in both {
        let users = tenant.db.read(async |tx| Ok(user::Entity::find().count(tx).await?)).await?;
        println!("[{}] Total users: {users}", tenant.label);
        ensure!(users == 1, "{} counts {users} users and has 1", tenant.label);
    }

    println!("\n--- Example 7: Verify Tenant Isolation ---");
    verify(acme, (bob, roadmap)).await?;
    verify(widget, (alice, report)).await?;
    println!("✓ Each tenant's statements are scoped without being told to, whatever is in their conditions");
    println!("✓ Acme cannot see Widget's data and vice versa: in joins, relations and subqueries neither");
    println!("✓ UPDATE and DELETE of everything, and of the other's ids, touch the own rows only");
    println!("✓ INSERT fills in the tenant; no statement may name it");
    for tenant in both {
        clear(tenant).await?;
    }
    Ok(())
}

/// Removes what an earlier run left that was killed. A DELETE of everything: of everything that is this
/// tenant's.
async fn clear(tenant: &Tenant) -> Result<()> {
    let cleared = tenant.db.run(async |tx| {
        document::Entity::delete_many().exec(tx).await?;
        user::Entity::delete_many().exec(tx).await?;
        Ok(())
    });
    cleared.await.with_context(|| format!("{}: its tables cannot be cleared", tenant.label))
}

async fn insert_user(tenant: &Tenant) -> Result<Uuid> {
    let id = Uuid::new_v4();
    let row = user::ActiveModel {
        id: Set(id),
        name: Set(tenant.person.to_owned()),
        email: Set(tenant.email.to_owned()),
        role: NotSet,
    };
    let user = tenant.db.run(async |tx| Ok(user::Entity::insert(row).exec_with_returning(tx).await?)).await?;
    ensure!(user.id == id && user.role == "user", "{}: another row came back: {user:?}", tenant.label);
    println!("[{}] Created user: {} ({})", tenant.label, user.name, user.email);
    Ok(id)
}

async fn select_users(tenant: &Tenant) -> Result<()> {
    let users = tenant.db.read(async |tx| Ok(user::Entity::find().all(tx).await?)).await?;
    println!("[{}] Found {} users:", tenant.label, users.len());
    for user in &users {
        println!("  - {} ({})", user.name, user.email);
    }
    let own = matches!(&users[..], [only] if only.name == tenant.person && only.email == tenant.email);
    ensure!(own, "{} finds other users than its own: {users:?}", tenant.label);
    Ok(())
}

async fn insert_document(tenant: &Tenant, owner: Uuid) -> Result<Uuid> {
    let row = document::ActiveModel {
        id: Set(Uuid::new_v4()),
        title: Set(tenant.title.to_owned()),
        content: Set(format!("of {}", tenant.label)),
        owner_id: Set(owner),
        is_public: NotSet,
    };
    let document =
        tenant.db.run(async |tx| Ok(document::Entity::insert(row).exec_with_returning(tx).await?)).await?;
    println!("[{}] Created document: {}", tenant.label, document.title);
    Ok(document.id)
}

async fn select_documents(tenant: &Tenant) -> Result<()> {
    let documents = tenant.db.read(async |tx| Ok(document::Entity::find().all(tx).await?)).await?;
    println!("[{}] Found {} documents:", tenant.label, documents.len());
    for document in &documents {
        println!("  - {}", document.title);
    }
    let own = matches!(&documents[..], [only] if only.title == tenant.title);
    ensure!(own, "{} finds other documents than its own: {documents:?}", tenant.label);
    Ok(())
}

/// An UPDATE without a condition changes all users: all of Acme's.
async fn update(acme: &Tenant, widget: &Tenant) -> Result<()> {
    let updated = acme
        .db
        .run(async |tx| {
            Ok(user::Entity::update_many()
                .col_expr(user::Column::Role, Expr::value("super_admin"))
                .exec(tx)
                .await?)
        })
        .await?;
    println!("[Acme] Updated {} user(s) to super_admin", updated.rows_affected);
    ensure!(updated.rows_affected == 1, "Acme updated {} users and has 1", updated.rows_affected);
    for (tenant, role) in [(acme, "super_admin"), (widget, "user")] {
        let users = tenant.db.read(async |tx| Ok(user::Entity::find().all(tx).await?)).await?;
        ensure!(users.iter().all(|user| user.role == role), "{} has {users:?}", tenant.label);
    }
    Ok(())
}

/// Tries to reach what is another tenant's.
async fn verify(tenant: &Tenant, (their_user, their_document): (Uuid, Uuid)) -> Result<()> {
    let label = tenant.label;
    let db = &tenant.db;
    db.read(async |tx| Ok(not_seen(tx, label, their_user, their_document).await?)).await?;

    // Within a transaction that is rolled back, whatever it does.
    let touched = db
        .run(async |tx| {
            let user = user::Entity::delete_by_id(their_user).exec(tx).await?;
            let document = document::Entity::update_many()
                .col_expr(document::Column::Title, Expr::value("taken"))
                .filter(document::Column::Id.eq(their_document))
                .exec(tx)
                .await?;
            let everything = document::Entity::delete_many().exec(tx).await?;
            Err::<(), _>(
                Undone([user.rows_affected, document.rows_affected, everything.rows_affected]).into(),
            )
        })
        .await
        .expect_err("it is rolled back");
    let Undone(touched) = touched.downcast_ref().copied().with_context(|| format!("{touched:#}"))?;
    ensure!(touched == [0, 0, 1], "{label} touched rows that are not its own: {touched:?}");

    // A document of the own cannot be another tenant's user's: the foreign key is led by the tenant.
    let row = document::ActiveModel {
        id: Set(Uuid::new_v4()),
        title: Set("foreign".to_owned()),
        content: Set(String::new()),
        owner_id: Set(their_user),
        is_public: NotSet,
    };
    let foreign = db.run(async |tx| Ok(document::Entity::insert(row).exec(tx).await?)).await;
    ensure!(foreign.is_err(), "{label} gave a document to another tenant's user");

    // The tenant is no column that a statement may name, and no other place a table to be looked for in.
    for (text, words) in [
        ("SELECT id FROM users WHERE tenant_id IS NOT NULL", "leave the column out"),
        ("UPDATE users SET tenant_id = '00000000-0000-0000-0000-000000000000'", "leave the column out"),
        ("SELECT id FROM patterns_widget.users", "is a qualified name"),
        ("SELECT id FROM workflow_executions", "is not a declared table"),
        ("SET ROLE cloacina_owner", "is not a statement on rows"),
    ] {
        let answer = db.run(async |tx| Ok(tx.execute_unprepared(text).await?)).await;
        match answer {
            Err(error) if error.to_string().contains(words) => {}
            Err(error) => bail!("{label}: `{text}` failed in another way: {error}"),
            Ok(_) => bail!("{label}: `{text}` was run"),
        }
    }
    Ok(())
}

async fn not_seen(tx: &TenantTx, label: &str, their_user: Uuid, their_document: Uuid) -> Result<()> {
    let by_id = user::Entity::find_by_id(their_user).one(tx).await?;
    ensure!(by_id.is_none(), "{label} finds another tenant's user by its id: {by_id:?}");

    // Whatever is alternative to it, the tenant's condition holds.
    let either = Condition::any()
        .add(user::Column::Id.eq(their_user))
        .add(user::Column::Name.is_not_null())
        .add(Expr::value(true));
    let any = user::Entity::find().filter(either).order_by_asc(user::Column::Id).all(tx).await?;
    ensure!(any.len() == 1 && any[0].id != their_user, "{label} escapes its filter with OR: {any:?}");

    let joined = user::Entity::find()
        .join(JoinType::LeftJoin, user::Relation::Document.def())
        .filter(document::Column::Title.is_not_null())
        .count(tx)
        .await?;
    ensure!(joined == 1, "{label} joins {joined} rows and has 1");

    let related = document::Entity::find().find_also_related(user::Entity).all(tx).await?;
    let own = matches!(&related[..], [(document, Some(owner))]
        if document.id != their_document && owner.id == document.owner_id && owner.id != their_user);
    ensure!(own, "{label} finds another tenant's rows by a relation: {related:?}");

    let mut owners = document::Entity::find().select_only().column(document::Column::OwnerId);
    let subquery = user::Column::Id.in_subquery(QuerySelect::query(&mut owners).to_owned());
    let found = user::Entity::find().filter(subquery).all(tx).await?;
    ensure!(found.len() == 1 && found[0].id != their_user, "{label} finds others by a subquery: {found:?}");

    // A transaction within is the same tenant's.
    let within = tx.begin().await?;
    let users = user::Entity::find().count(&within).await?;
    ensure!(users == 1, "{label} counts {users} users in a transaction within and has 1");
    Ok(())
}

/// How many rows a transaction touched that was rolled back.
#[derive(Debug, Clone, Copy)]
struct Undone([u64; 3]);

impl std::fmt::Display for Undone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rolled back: {:?}", self.0)
    }
}

impl std::error::Error for Undone {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Placement;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_that_share_their_data_are_found_out() {
        let directory = tempfile::tempdir().unwrap();
        let place = Placement::Files(directory.path().to_owned());
        let both = place.open().await.unwrap();
        let db = || both[0].data().unwrap();
        let error = run(&Tenant::acme(db()), &Tenant::widget(db())).await.unwrap_err();
        assert!(error.to_string().contains("finds other users than its own"), "{error:#}");
        for runner in &both {
            runner.shutdown().await.unwrap();
        }
    }
}
