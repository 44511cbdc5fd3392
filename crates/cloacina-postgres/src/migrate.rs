//! The tables, made and changed by numbered scripts.
//!
//! Each script runs once, in a transaction of its own: those of the schema `cloacina` under a lock on its
//! table of migrations, those of a place under the lock on the tenant's row. A script that was applied is
//! never edited: its checksum is compared.
//!
//! A script says which is the oldest program that can still work once it was applied (`min_reader`). So a
//! program of version N works on N and N − 1, and on N + 1 if that script allows it, and a rolling deploy
//! stops nobody.

use cloacina_core::id::TenantId;
use cloacina_core::store::{Place, PlaceVersion, Result, StoreError, StoreErrorKind};
use uuid::Uuid;

use crate::error::Failure;
use crate::flight::{Scope, Step, params};
use crate::inner::Inner;
use crate::migrations::Migration;
use crate::role::{self, OWNER, quoted};
use crate::schema::SchemaName;
use crate::statement as sql;

/// Makes or migrates the schema `cloacina`, once per store.
pub(crate) async fn control(inner: &Inner) -> Result<()> {
    let mut ready = inner.control_ready.lock().await;
    if *ready {
        return Ok(());
    }
    for _ in 0..10 {
        match control_applied(inner).await? {
            Some(applied) if applied >= inner.migrations.control.len() => {
                *ready = true;
                return Ok(());
            }
            Some(applied) => control_migrate(inner, applied).await?,
            None => control_create(inner).await?,
        }
    }
    Err(StoreError::new(StoreErrorKind::Transient, "the schema `cloacina` keeps being made by somebody else"))
}

/// How many of the scripts were applied, if any; an error if they are not ours.
async fn control_applied(inner: &Inner) -> Result<Option<usize>> {
    let rows = match inner.in_control(&[Step::Run(sql::MIGRATION_LIST, params![])]).await {
        Ok(mut rows) => rows.remove(0),
        // The table is not there, or is not for us.
        Err(error) if error.kind() == StoreErrorKind::Place && error.to_string().contains("42501") => {
            return Err(may_not_use(inner, &error));
        }
        Err(error) if error.kind() == StoreErrorKind::Place => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut applied = 0;
    for row in &rows {
        let (scope, number): (&str, i32) = (row.get("scope"), row.get("number"));
        let known = inner.migrations.known(scope);
        let last = known.last().map_or(0, |last| last.number);
        let error = |message: String| Err(StoreError::new(StoreErrorKind::Version, message));
        match known.iter().find(|migration| migration.number == number) {
            Some(migration) if migration.checksum() != row.get::<_, i64>("checksum") => {
                return error(format!(
                    "the migration `{scope}` {number} that was applied to {} has another text than the one of this program",
                    inner.label()
                ));
            }
            Some(_) => {}
            // Of places each says for itself what it needs.
            None if scope == "control" && row.get::<_, i32>("min_reader") > last => {
                return error(format!(
                    "the schema `cloacina` of {} is at version {number}; this program knows {last}",
                    inner.label()
                ));
            }
            None => {}
        }
        applied += usize::from(scope == "control");
    }
    Ok(Some(applied))
}

/// Which version a place has.
#[derive(Debug)]
pub struct VersionOf {
    /// What the operator calls the tenant.
    pub name: String,
    /// The database of its own that it is in; that says which version it has.
    pub elsewhere: Option<String>,
    /// The version, as this database knows it.
    pub version: PlaceVersion,
}

/// Which version the schema `cloacina` has, and the places have: all, or that of one name. Changes nothing.
pub(crate) async fn versions(inner: &Inner, name: Option<&str>) -> Result<(PlaceVersion, Vec<VersionOf>)> {
    let latest = |migrations: &[Migration]| migrations.last().map_or(0, |last| last.number.cast_unsigned());
    let (control, place) = (latest(&inner.migrations.control), latest(&inner.migrations.place));
    let applied = match inner.in_control(&[Step::Run(sql::MIGRATION_LIST, params![])]).await {
        Ok(rows) => rows,
        Err(error) if error.to_string().contains("42501") => return Err(may_not_use(inner, &error)),
        // There is no such table yet.
        Err(error) if error.kind() == StoreErrorKind::Place => {
            return Ok((PlaceVersion::new(0, control, 0), Vec::new()));
        }
        Err(error) => return Err(error),
    };
    let mut registry = PlaceVersion::new(0, control, 0);
    for row in applied[0].iter().filter(|row| row.get::<_, &str>("scope") == "control") {
        registry.version = registry.version.max(row.get::<_, i32>("number").cast_unsigned());
        registry.min_reader = registry.min_reader.max(row.get::<_, i32>("min_reader").cast_unsigned());
    }
    let rows = match inner.in_control(&[Step::Run(sql::TENANT_VERSIONS, params![name])]).await {
        Ok(mut rows) => rows.remove(0),
        // An old registry does not know all of that. It is migrated first, and asked again.
        Err(error) if error.kind() == StoreErrorKind::Place && registry.is_old() => Vec::new(),
        Err(error) => return Err(error),
    };
    let places = rows.iter().map(|row| {
        let number = |column| row.get::<_, i32>(column).cast_unsigned();
        let (elsewhere, schema): (bool, String) = (row.get("elsewhere"), row.get("schema_name"));
        VersionOf {
            name: row.get("name"),
            elsewhere: elsewhere.then_some(schema),
            version: PlaceVersion::new(number("schema_version"), place, number("min_reader")),
        }
    });
    Ok((registry, places.collect()))
}

async fn control_create(inner: &Inner) -> Result<()> {
    let mut side = inner.pool.side().await?;
    let looked = side.begin(Scope::Control, &[]).await;
    looked.map_err(Failure::in_control)?;
    // An administrator may have made the schema for a login that may not.
    let text = "DO $$ BEGIN IF pg_catalog.to_regnamespace('cloacina') IS NULL THEN CREATE SCHEMA cloacina; END IF; END $$; \
                SET LOCAL search_path = cloacina, pg_temp";
    let mut steps = vec![Step::Batch(text.to_owned())];
    steps.extend(inner.migrations.control.iter().map(|migration| Step::Batch(migration.text.clone())));
    // The statement of that name cannot be prepared before its table is there.
    steps.extend(inner.migrations.control.iter().map(|migration| {
        Step::Batch(format!(
            "INSERT INTO migration (scope, number, checksum, min_reader) VALUES ('control', {}, {}, {})",
            migration.number,
            migration.checksum(),
            migration.min_reader
        ))
    }));
    match side.finish(&steps).await {
        Ok(_) => Ok(()),
        Err(failure) => match failure.code() {
            // Another process is making the same; its commit ends the race.
            Some("42P06" | "42P07" | "23505" | "42710" | "42723") => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                Ok(())
            }
            Some("42501") => Err(may_not_create(inner, "cloacina", &failure)),
            _ => Err(failure.in_control()),
        },
    }
}

async fn control_migrate(inner: &Inner, applied: usize) -> Result<()> {
    let last = inner.migrations.control.last().map_or(0, |last| last.number);
    for migration in &inner.migrations.control[applied..] {
        let mut side = inner.pool.side().await?;
        let lock = "LOCK TABLE cloacina.migration IN SHARE ROW EXCLUSIVE MODE".to_owned();
        let steps = [Step::Batch(lock), Step::Run(sql::MIGRATION_LIST, params![])];
        let rows = side.begin(Scope::Control, &steps).await.map_err(Failure::in_control)?;
        let there = rows[1].iter().any(|row| {
            row.get::<_, &str>("scope") == "control" && row.get::<_, i32>("number") == migration.number
        });
        let mut steps = Vec::new();
        if !there {
            // What belongs to another role goes on belonging to it.
            let owner = format!(
                "DO $$ BEGIN IF pg_has_role('{OWNER}', 'MEMBER') AND EXISTS (SELECT FROM pg_namespace WHERE nspname = 'cloacina' \
                 AND pg_get_userbyid(nspowner) = '{OWNER}') THEN SET LOCAL ROLE {OWNER}; END IF; \
                 EXCEPTION WHEN undefined_object THEN NULL; END $$"
            );
            let mut text = format!("{owner}; SET LOCAL search_path = cloacina, pg_temp; {}", migration.text);
            if migration.number == last {
                text.push_str(&role::granted_by_the_owner());
            }
            steps = vec![Step::Batch(text), record("control", migration)];
        }
        side.finish(&steps).await.map_err(Failure::in_control)?;
    }
    Ok(())
}

/// Migrates a place to the version that this program knows.
pub(crate) async fn place(inner: &Inner, place: &Place, name: &SchemaName) -> Result<()> {
    let mut version = 0;
    while version < inner.migrations.place_version() {
        let mut side = inner.pool.side().await?;
        let lock = [Step::Run(sql::PLACE_LOCK, params![Uuid::from(place.tenant)])];
        let rows = side
            .begin(Scope::Schema(name), &lock)
            .await
            .map_err(|failure| failure.into_error(name.as_str()))?;
        let Some(row) = rows[0].first() else {
            let message = format!("the schema `{name}` was removed from the registry");
            return Err(StoreError::new(StoreErrorKind::Place, message));
        };
        version = row.get("schema_version");
        let next = inner.migrations.place.iter().find(|migration| migration.number == version + 1);
        let mut steps = Vec::new();
        if let Some(migration) = next {
            // What belongs to another role goes on belonging to it, and is granted to whom the rest is
            // granted to.
            let owner = row.get::<_, Option<&str>>("owner").filter(|_| row.get("other_owner"));
            steps.extend(owner.map(|owner| Step::Batch(format!("SET LOCAL ROLE {}", quoted(owner)))));
            steps.push(Step::Batch(migration.text.clone()));
            if owner == Some(OWNER) {
                steps.push(Step::Batch(role::engine_grants(name, row.get("group_name"))));
                if *name == SchemaName::shared() {
                    steps.push(Step::Batch(role::shared_security()));
                }
            }
            steps.extend(owner.map(|_| Step::Batch("SET LOCAL ROLE NONE".to_owned())));
            steps.extend(applied(place.tenant, migration));
        }
        match side.finish(&steps).await {
            Err(failure) if failure.code() == Some("42501") => return Err(may_not_migrate(inner, name)),
            finished => drop(finished.map_err(|failure| failure.into_error(name.as_str()))?),
        }
        version += i32::from(next.is_some());
    }
    Ok(())
}

/// All scripts above `version`, for a transaction that is in the place's schema and holds its row.
pub(crate) fn place_steps(inner: &Inner, tenant: TenantId, version: i32) -> Vec<Step<'_>> {
    let pending = inner.migrations.place.iter().filter(|migration| migration.number > version);
    pending
        .flat_map(|migration| {
            [Step::Batch(migration.text.clone())].into_iter().chain(applied(tenant, migration))
        })
        .collect()
}

/// Notes that a script was applied to a place.
fn applied<'a>(tenant: TenantId, migration: &Migration) -> [Step<'a>; 2] {
    [
        Step::Run(sql::PLACE_VERSION, params![Uuid::from(tenant), migration.number, migration.min_reader]),
        record("place", migration),
    ]
}

fn record<'a>(scope: &'static str, migration: &Migration) -> Step<'a> {
    Step::Run(
        sql::MIGRATION_INSERT,
        params![scope, migration.number, migration.checksum(), migration.min_reader],
    )
}

/// The error for a login that may use a place, but not change its tables.
pub(crate) fn may_not_migrate(inner: &Inner, schema: &SchemaName) -> StoreError {
    let user = inner.pool.address.user();
    StoreError::new(
        StoreErrorKind::Place,
        format!(
            "the schema `{schema}` is of an older version, and the login `{user}` may not change it; \
             an administrator does with `DatabaseAdmin::migrate_tenants`"
        ),
    )
}

/// The error for a login that may not use what another one made.
fn may_not_use(inner: &Inner, error: &StoreError) -> StoreError {
    let user = inner.pool.address.user();
    StoreError::new(
        StoreErrorKind::Place,
        format!(
            "{error}; the login that owns the schema can allow it with: GRANT USAGE ON SCHEMA cloacina TO \"{user}\"; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA cloacina TO \"{user}\"; \
             or, where tenants have logins of their own: GRANT cloacina_engine TO \"{user}\";"
        ),
    )
}

/// The error for a login that lacks the right, with the statement that an administrator has to run.
pub(crate) fn may_not_create(inner: &Inner, schema: &str, failure: &Failure) -> StoreError {
    let (database, user) = (inner.pool.address.database(), inner.pool.address.user());
    StoreError::new(
        StoreErrorKind::Place,
        format!(
            "the login `{user}` may not make the schema `{schema}` or tables in it ({}); an administrator can allow it with: \
             GRANT CREATE ON DATABASE \"{database}\" TO \"{user}\"; or, where the schema exists, \
             GRANT USAGE, CREATE ON SCHEMA \"{schema}\" TO \"{user}\";",
            failure.described()
        ),
    )
}
