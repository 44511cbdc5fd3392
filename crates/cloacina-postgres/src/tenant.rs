//! The registry of tenants, and what is done with their places.

use std::time::{Duration, Instant};

use cloacina_core::id::TenantId;
use cloacina_core::store::{
    NewAudit, Place, PlaceName, Placement, Result, StoreError, StoreErrorKind, TenantLimits, TenantState,
    TenantStatus,
};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::audit;
use crate::error::Failure;
use crate::flight::{Scope, Step, params};
use crate::inner::Inner;
use crate::limits::Checked;
use crate::migrate;
use crate::role;
use crate::row::parse;
use crate::schema::SchemaName;
use crate::statement::{self as sql, Login};

/// The version of the schema `cloacina` that has what a tenant's login calls.
const CONTROL_FOR_TENANTS: i32 = 2;

/// What the registry says of a place.
struct Entry {
    place: Place,
    state: String,
    version: i32,
    min_reader: i32,
    removed_at: Option<jiff::Timestamp>,
    has_login: bool,
    /// Which version of `cloacina` a tenant's login found; others look at it themselves.
    control_version: Option<i32>,
    /// Whether it is in another database.
    elsewhere: bool,
}

/// Where a tenant's rows are, as the registry says it.
pub(crate) fn placement(text: &str, has_login: bool) -> Result<Placement> {
    Ok(match text {
        "schema" if has_login => Placement::OwnRole,
        "schema" => Placement::Schema,
        "shared" => Placement::Shared,
        "database" => Placement::Database,
        _ => {
            let message = format!("`{text}` is no placement that this program knows");
            return Err(StoreError::new(StoreErrorKind::Version, message));
        }
    })
}

/// A tenant by the name that the operator has for it, which need not be its schema's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTenant {
    /// The operator's name.
    pub name: String,
    /// Its schema.
    pub schema_name: String,
    /// Its id.
    pub tenant: TenantId,
    /// How many tenants of this name there have been, this one included.
    pub epoch: i32,
    /// Whether it may work.
    pub state: TenantState,
    /// Where its rows are.
    pub placement: Placement,
}

impl NamedTenant {
    /// Where its rows are.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            tenant: self.tenant,
            name: self.name.clone(),
            schema: self.schema_name.clone(),
            epoch: self.epoch,
            shared: self.placement == Placement::Shared,
        }
    }
}

/// The tenants of a name, told apart from others by more than the case; of all names if none is given.
pub(crate) async fn named(inner: &Inner, name: Option<&str>) -> Result<Vec<NamedTenant>> {
    migrate::control(inner).await?;
    let rows = inner.in_control(&[Step::Run(sql::TENANT_NAMED, params![name])]).await?;
    rows[0]
        .iter()
        .map(|row| {
            let name: String = row.get("name");
            Ok(NamedTenant {
                state: parse(row.get("state"), &name)?,
                placement: placement(row.get("placement"), row.get("has_login"))?,
                epoch: row.get("epoch"),
                schema_name: row.get("schema_name"),
                tenant: TenantId(row.get("tenant_id")),
                name,
            })
        })
        .collect()
}

/// The tenants with the largest tables, the largest first, as far as they were measured.
pub(crate) async fn largest(inner: &Inner, limit: usize) -> Result<Vec<(String, u64)>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = inner.in_control(&[Step::Run(sql::TENANT_LARGEST, params![limit])]).await?;
    let of = |row: &Row| (row.get("name"), row.get::<_, i64>("size_bytes").unsigned_abs());
    Ok(rows[0].iter().map(of).collect())
}

/// The names of the tenants that work in databases of their own.
pub(crate) async fn with_databases(inner: &Inner) -> Result<Vec<String>> {
    migrate::control(inner).await?;
    let rows = inner.in_control(&[Step::Run(sql::DATABASE_LIST, params![])]).await?;
    Ok(rows[0].iter().map(|row| row.get("name")).collect())
}

/// Makes a place for a tenant that the operator calls by another name than its schema's. `None` if there is
/// one of either name.
pub(crate) async fn create_named(
    inner: &Inner,
    schema: &SchemaName,
    name: &str,
    audit: Option<&NewAudit>,
) -> Result<Option<Place>> {
    migrate::control(inner).await?;
    create(inner, schema, name, audit).await
}

/// Removes a place that the store's own login made: no new work, running tasks may end for `drain`, then
/// everything goes.
pub(crate) async fn remove(
    inner: &Inner,
    place: &Place,
    drain: Duration,
    audit: Option<&NewAudit>,
) -> Result<()> {
    if place.shared {
        let message = format!(
            "tenant `{}` shares tables, which stay: an administrator removes it with `DatabaseAdmin::remove_shared_tenant`",
            place.name
        );
        return Err(StoreError::new(StoreErrorKind::Configuration, message));
    }
    let schema = SchemaName::of(place)?;
    let tenant = Uuid::from(place.tenant);
    let states = vec!["active", "suspended", "moving"];
    inner.in_control(&[Step::Run(sql::TENANT_STATE, params![tenant, states, "removing"])]).await?;
    inner.hints.tell_of_work();
    let begun = Instant::now();
    loop {
        let mut side = inner.pool.side().await?;
        let count = [Step::Run(sql::RUNNING_COUNT, params![tenant])];
        let rows = side.transaction(inner.scope(place.tenant, &schema), &count).await;
        let rows = rows.map_err(|failure| failure.into_error(schema.as_str()))?;
        drop(side);
        if rows[0][0].get::<_, i64>("running") == 0 || begun.elapsed() >= drain {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut steps = vec![
        Step::Batch(format!("DROP SCHEMA {} CASCADE", schema.quoted())),
        Step::Run(sql::TENANT_FORGET, params![tenant]),
        Step::Run(sql::TENANT_STATE, params![tenant, vec!["removing"], "removed"]),
    ];
    steps.extend(audit.map(|audit| about(place.tenant, schema.as_str(), audit)));
    inner.in_control(&steps).await?;
    inner.hints.tell_of_work();
    Ok(())
}

/// Notes what somebody does about a tenant.
fn about<'a>(tenant: TenantId, schema: &str, audit: &NewAudit) -> Step<'a> {
    audit::noted(Some(tenant.0), Some(schema.to_owned()), audit, None)
}

/// Suspends a tenant without a login of its own, or lets it go on.
pub(crate) async fn change(
    inner: &Inner,
    place: &Place,
    to: TenantState,
    audit: Option<&NewAudit>,
) -> Result<()> {
    let (from, name) =
        if to == TenantState::Suspended { ("active", "suspended") } else { ("suspended", "active") };
    let step = Step::Run(sql::TENANT_STATE, params![Uuid::from(place.tenant), vec![from], name]);
    let changed = if let Some(audit) = audit {
        let mut side = inner.pool.side().await?;
        let rows = side.begin(Scope::Control, &[step]).await.map_err(Failure::in_control)?;
        let changed = !rows[0].is_empty();
        let note = changed.then(|| about(place.tenant, &place.schema, audit));
        side.finish(&Vec::from_iter(note)).await.map_err(Failure::in_control)?;
        changed
    } else {
        !inner.in_control(&[step]).await?[0].is_empty()
    };
    inner.hints.tell_of_work();
    let now = status(inner, place).await?.state;
    if !changed && now != to {
        let message = format!("tenant `{}` is {now}", place.name);
        return Err(StoreError::new(StoreErrorKind::Place, message));
    }
    Ok(())
}

/// Sets the limits of a tenant without a login of its own.
pub(crate) async fn limit(
    inner: &Inner,
    place: &Place,
    limits: &Checked,
    audit: Option<&NewAudit>,
) -> Result<()> {
    let mut steps = vec![limits.step(place.tenant)];
    steps.extend(audit.map(|audit| about(place.tenant, &place.schema, audit)));
    inner.in_control(&steps).await?;
    inner.hints.tell_of_work();
    Ok(())
}

/// Finds a place, makes or migrates it.
pub(crate) async fn open(inner: &Inner, name: &PlaceName) -> Result<Place> {
    if inner.pool.login == Login::Tenant {
        return open_own(inner, name).await;
    }
    let name = match name {
        PlaceName::Default => SchemaName::main(),
        PlaceName::Named(name) => name.parse()?,
        PlaceName::Tenant(name) => return open_called(inner, name).await,
    };
    open_schema(inner, &name).await
}

async fn open_schema(inner: &Inner, name: &SchemaName) -> Result<Place> {
    migrate::control(inner).await?;
    // Each turn either finds the place or makes it, or another process made it in between.
    for _ in 0..10 {
        if let Some(entry) = find(inner, name).await? {
            return settle(inner, name, entry).await;
        }
        if let Some(place) = create(inner, name, name.as_str(), None).await? {
            return Ok(place);
        }
    }
    let message = format!("the schema `{name}` keeps being made and removed by somebody else");
    Err(StoreError::new(StoreErrorKind::Transient, message))
}

/// The place of a tenant by the name that the operator has for it. It is made by an administrator.
async fn open_called(inner: &Inner, name: &str) -> Result<Place> {
    let missing = || {
        let message = format!(
            "there is no tenant that is called `{}` on {}; make it first, or open a schema by its name",
            name.escape_debug(),
            inner.label()
        );
        StoreError::new(StoreErrorKind::Place, message)
    };
    let found =
        named(inner, Some(name)).await?.pop().filter(|found| found.name == name).ok_or_else(missing)?;
    if found.placement != Placement::Shared {
        return open_schema(inner, &SchemaName::of(&found.place())?).await;
    }
    // The tables are migrated once for all who share them.
    open_schema(inner, &SchemaName::shared()).await?;
    if !matches!(found.state, TenantState::Active | TenantState::Suspended) {
        let message = format!("tenant `{name}` is {}", found.state.as_str());
        return Err(StoreError::new(StoreErrorKind::Place, message));
    }
    Ok(found.place())
}

/// Registers a tenant in the tables that are shared. `None` if there is one of that name. What the tables
/// themselves need is there.
pub(crate) fn share(tenant: TenantId, name: &str) -> Step<'_> {
    Step::Run(sql::TENANT_SHARE, params![Uuid::from(tenant), name])
}

async fn find(inner: &Inner, name: &SchemaName) -> Result<Option<Entry>> {
    let rows = inner.in_control(&[Step::Run(sql::PLACE_FIND, params![name.as_str()])]).await?;
    Ok(rows[0].first().map(|row| Entry {
        place: Place {
            tenant: TenantId(row.get("tenant_id")),
            name: row.get("name"),
            schema: row.get("schema_name"),
            epoch: row.get("epoch"),
            shared: false,
        },
        state: row.get("state"),
        version: row.get("schema_version"),
        min_reader: row.get("min_reader"),
        removed_at: row.get("removed_at"),
        has_login: row.get("has_login"),
        control_version: row.get("control_version"),
        elsewhere: row.get("elsewhere"),
    }))
}

/// The place of a tenant's own login, which is the only one that it can open.
async fn open_own(inner: &Inner, name: &PlaceName) -> Result<Place> {
    let user = inner.pool.address.user();
    let refuse = |kind, message: String| Err(StoreError::new(kind, message));
    let Some(entry) = find(inner, &SchemaName::main()).await? else {
        let message = format!("the login `{user}` belongs to no tenant any more");
        return refuse(StoreErrorKind::Place, message);
    };
    if let PlaceName::Named(asked) | PlaceName::Tenant(asked) = name
        && *asked != entry.place.schema
    {
        let message = format!(
            "the login `{user}` belongs to the tenant in schema `{}`; it cannot open `{}`",
            entry.place.schema,
            asked.escape_debug()
        );
        return refuse(StoreErrorKind::Configuration, message);
    }
    if entry.control_version.is_none_or(|version| version < CONTROL_FOR_TENANTS) {
        let message = format!("the schema `cloacina` of {} is too old for this program", inner.label());
        return refuse(StoreErrorKind::Version, message);
    }
    let name: SchemaName = entry.place.schema.parse()?;
    settle(inner, &name, entry).await
}

/// The place of a tenant, if it may be worked in; brought to this program's version as by [`open`].
pub(crate) async fn place_of(inner: &Inner, tenant: TenantId) -> Result<Option<Place>> {
    let rows = inner.in_control(&[Step::Run(sql::PLACE_OF, params![Uuid::from(tenant)])]).await?;
    let Some(row) = rows[0].first() else { return Ok(None) };
    let place = place(tenant, row);
    let name = SchemaName::of(&place)?;
    match find(inner, &name).await? {
        Some(entry) if place.shared => settle(inner, &name, entry).await.map(|_| Some(place)),
        Some(entry) if entry.place.tenant == tenant => settle(inner, &name, entry).await.map(Some),
        _ => Ok(None),
    }
}

/// A tenant's place, as the statements tell it that look for one.
pub(crate) fn place(tenant: TenantId, row: &Row) -> Place {
    Place {
        tenant,
        name: row.get("name"),
        schema: row.get("schema_name"),
        epoch: row.get("epoch"),
        shared: row.get("shared"),
    }
}

/// What the operator decided about a tenant.
pub(crate) async fn status(inner: &Inner, place: &Place) -> Result<TenantStatus> {
    let rows = inner.in_control(&[Step::Run(sql::TENANT_STATUS, params![Uuid::from(place.tenant)])]).await?;
    let Some(row) = rows[0].first() else {
        return Ok(TenantStatus { state: TenantState::Removed, ..TenantStatus::default() });
    };
    let has_login = row.get("has_login");
    inner.guard(place.tenant, has_login);
    let limit = |column| row.get::<_, Option<i32>>(column).map(i32::cast_unsigned);
    let mut limits = TenantLimits::default();
    limits.max_concurrent_tasks = limit("max_concurrent_tasks");
    limits.max_queue_length = limit("max_queue_length");
    limits.max_waiting = limit("max_waiting");
    limits.max_context_bytes = limit("max_context_bytes");
    Ok(TenantStatus { state: parse(row.get("state"), &place.name)?, limits, has_login })
}

async fn settle(inner: &Inner, name: &SchemaName, entry: Entry) -> Result<Place> {
    if entry.place.schema != name.as_str() {
        let message = format!(
            "there is no schema `{name}`, and none can be made beside `{}`, from which only the case tells it apart",
            entry.place.schema
        );
        return Err(StoreError::new(StoreErrorKind::Configuration, message));
    }
    if entry.elsewhere {
        let message = format!(
            "the tenant in `{name}` has a database of its own, which is called so: open that, or open the tenant by the name that the operator has for it"
        );
        return Err(StoreError::new(StoreErrorKind::Configuration, message));
    }
    if let Some(removed_at) = entry.removed_at {
        let message = format!(
            "the tenant in schema `{name}` was removed at {removed_at}; `DatabaseAdmin::create_tenant` makes a new one of that name"
        );
        return Err(StoreError::new(StoreErrorKind::Place, message));
    }
    // Of a suspended tenant everything may be read.
    if !matches!(entry.state.as_str(), "active" | "suspended") {
        let message = format!("the place in schema `{name}` is {}", entry.state);
        return Err(StoreError::new(StoreErrorKind::Place, message));
    }
    let known = inner.migrations.place_version();
    if entry.version > known && entry.min_reader > known {
        let message = format!(
            "the schema `{name}` is at version {} and needs a program that knows version {}; this one knows {known}",
            entry.version, entry.min_reader
        );
        return Err(StoreError::new(StoreErrorKind::Version, message));
    }
    let place = entry.place;
    inner.guard(place.tenant, entry.has_login);
    if entry.version < known {
        let migrated = match inner.pool.login {
            Login::Operator => migrate::place(inner, &place, name).await,
            Login::Tenant => Err(migrate::may_not_migrate(inner, name)),
        };
        match migrated {
            // The statements work one version back, so a login that may not migrate need not stand still.
            Err(error) if error.kind() == StoreErrorKind::Place && entry.version == known - 1 => {
                tracing::warn!(place = %name, %error, "the place is used as it is, one version behind");
            }
            migrated => migrated?,
        }
    }
    Ok(place)
}

/// Makes the place in two flights: the registry's row, which is the lock, and everything else in one batch.
/// `None` if somebody else was first.
async fn create(
    inner: &Inner,
    name: &SchemaName,
    called: &str,
    audit: Option<&NewAudit>,
) -> Result<Option<Place>> {
    let tenant = TenantId::new();
    let mut side = inner.pool.side().await?;
    let insert = [Step::Run(sql::PLACE_INSERT, params![Uuid::from(tenant), name.as_str(), called])];
    let rows = side.begin(Scope::Control, &insert).await.map_err(Failure::in_control)?;
    let Some(row) = rows[0].first() else {
        side.finish(&[]).await.map_err(Failure::in_control)?;
        return Ok(None);
    };
    let mut text = String::new();
    if !row.get::<_, bool>("there") {
        text = format!("CREATE SCHEMA {};", name.quoted());
    }
    let mut steps = vec![Step::Batch(text), Step::Enter(Scope::Schema(name))];
    steps.extend(migrate::place_steps(inner, tenant, 0));
    if row.get::<_, bool>("managed") {
        // Other logins of the operator are to work here too.
        steps.push(Step::Batch(role::engine_grants(name, None)));
    }
    steps.extend(audit.map(|audit| about(tenant, name.as_str(), audit)));
    match side.finish(&steps).await {
        Ok(_) => Ok(Some(Place {
            tenant,
            name: called.to_owned(),
            schema: name.as_str().to_owned(),
            epoch: row.get("epoch"),
            shared: false,
        })),
        Err(failure) => match failure.code() {
            // Another process made the schema after the look: it is there now.
            Some("42P06" | "23505") => Ok(None),
            Some("42501") => Err(migrate::may_not_create(inner, name.as_str(), &failure)),
            Some("42P07") => Err(StoreError::new(
                StoreErrorKind::Place,
                format!(
                    "the schema `{name}` holds tables of the engine's names that its registry does not know"
                ),
            )),
            _ => Err(failure.into_error(name.as_str())),
        },
    }
}
