//! What the places of many tenants hold, read without opening one: some places in each transaction.
//!
//! A place that cannot be read is told with its error, and keeps no other from being read. Tenants with
//! logins of their own may have locked their tables, so they are waited for as little as anywhere.

use std::collections::HashSet;
use std::sync::Arc;

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::store::{
    ExecutionHeader, ExecutionList, OpenWait, Place, Placement, Result, StoreError, TenantState, WaitFilter,
};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::execution::{list_step, listed};
use crate::flight::{Scope, Step, Use, params};
use crate::inner::Inner;
use crate::row::column;
use crate::schema::SchemaName;
use crate::statement as sql;
use crate::tenant::NamedTenant;
use crate::wait::{wait_step, waits_of};

/// How many places are read in one transaction.
const PLACES: usize = 64;

/// Rows, each with the name of its tenant, and the tenants whose places could not be read.
pub type Across<T> = (Vec<(String, T)>, Vec<(String, StoreError)>);

/// Of how many tenants in the same tables it is asked at once whether they have anything.
const TENANTS: usize = 1_000;

/// A statement that says which of some tenants have anything that is looked for.
type Any<'a> = &'a (dyn Fn(Vec<Uuid>) -> Step<'static> + Sync);

/// Whether a tenant's place is in this database and may be read.
fn is_here(tenant: &NamedTenant) -> bool {
    tenant.placement != Placement::Database
        && matches!(tenant.state, TenantState::Active | TenantState::Suspended)
}

/// The newest executions of a list in all these places.
pub(crate) async fn executions(
    inner: Arc<Inner>,
    tenants: Vec<NamedTenant>,
    list: ExecutionList,
) -> Result<Across<ExecutionHeader>> {
    let statuses =
        if list.filter.statuses.is_empty() { ExecutionStatus::ALL } else { &list.filter.statuses[..] };
    let states: Vec<&'static str> = statuses.iter().map(|status| status.as_str()).collect();
    let any = move |tenants| Step::Run(sql::EXECUTION_ANY, params![tenants, states.clone()]);
    let (holding, mut unreadable) = holding(&inner, &tenants, &any).await;
    let mut found = Vec::new();
    for some in holding.chunks(PLACES) {
        let step = |place: &Place| list_step(place, &list);
        let (rows, errors) = read(&inner, some, step, listed).await;
        found.extend(rows);
        found.sort_unstable_by_key(|(_, header)| std::cmp::Reverse(header.id));
        found.truncate(list.limit);
        unreadable.extend(errors);
    }
    Ok((found, unreadable))
}

/// The waits of all these places, tenant after tenant in the order of names: after the wait of a tenant that
/// `filter` says, which is the first one's.
pub(crate) async fn waits(
    inner: Arc<Inner>,
    tenants: Vec<NamedTenant>,
    filter: WaitFilter,
) -> Result<Across<OpenWait>> {
    let asking = filter.asking;
    let any = move |tenants| Step::Run(sql::WAIT_ANY, params![tenants, asking]);
    let (mut holding, mut unreadable) = holding(&inner, &tenants, &any).await;
    holding.sort_by(|one, other| one.name.cmp(&other.name));
    let first = tenants.first().map(|tenant| tenant.tenant);
    let mut found = Vec::new();
    for some in holding.chunks(PLACES) {
        let step = |place: &Place| {
            let after = filter.after.filter(|_| Some(place.tenant) == first);
            wait_step(place, &WaitFilter { after, ..filter.clone() })
        };
        let (rows, errors) = read(&inner, some, step, |rows, place| Ok(waits_of(rows, place))).await;
        found.extend(rows);
        unreadable.extend(errors);
        if found.len() >= filter.limit {
            found.truncate(filter.limit);
            break;
        }
    }
    Ok((found, unreadable))
}

/// The tenants that have anything that is looked for: most have not, and it costs little to learn that. Those
/// in the same tables are asked about together, and those that may keep others waiting come last.
async fn holding<'a>(
    inner: &Inner,
    tenants: &'a [NamedTenant],
    any: Any<'_>,
) -> (Vec<&'a NamedTenant>, Vec<(String, StoreError)>) {
    let mut here: Vec<&NamedTenant> = tenants.iter().filter(|tenant| is_here(tenant)).collect();
    here.sort_by_key(|tenant| (tenant.placement == Placement::OwnRole, &tenant.schema_name));
    let groups: Vec<&[&NamedTenant]> = here
        .chunk_by(|one, other| one.schema_name == other.schema_name)
        .flat_map(|group| group.chunks(TENANTS))
        .collect();
    let (mut holding, mut unreadable) = (Vec::new(), Vec::new());
    for some in groups.chunks(PLACES) {
        let firsts: Vec<&NamedTenant> = some.iter().map(|group| group[0]).collect();
        let ids = |place: &Place| -> Vec<Uuid> {
            let group = some.iter().find(|group| group[0].tenant == place.tenant);
            group.into_iter().flat_map(|group| group.iter()).map(|tenant| tenant.tenant.0).collect()
        };
        let id = |row: &Row| column::<Uuid>(row, "tenant_id", "cloacina");
        let held = |rows: &[Row], _: &Place| rows.iter().map(id).collect::<Result<Vec<Uuid>>>();
        let (found, errors) = read(inner, &firsts, |place| any(ids(place)), held).await;
        let found: HashSet<Uuid> = found.into_iter().map(|(_, tenant)| tenant).collect();
        let all = some.iter().flat_map(|group| group.iter());
        holding.extend(all.filter(|tenant| found.contains(&tenant.tenant.0)).copied());
        for (name, error) in errors {
            // All who share the tables cannot be read.
            let group = some.iter().find(|group| group[0].name == name);
            let names = group.into_iter().flat_map(|group| group.iter()).map(|tenant| tenant.name.clone());
            unreadable.extend(names.map(|name| (name, StoreError::new(error.kind(), error.to_string()))));
        }
    }
    (holding, unreadable)
}

/// Reads some places: together, or if that fails, one after the other.
async fn read<T>(
    inner: &Inner,
    tenants: &[&NamedTenant],
    step: impl Fn(&Place) -> Step<'static>,
    rows_of: impl Fn(&[Row], &Place) -> Result<Vec<T>>,
) -> Across<T> {
    let (mut found, mut unreadable): Across<T> = Default::default();
    let places: Vec<Place> = tenants.iter().map(|tenant| tenant.place()).collect();
    let answers: Vec<Result<Vec<Row>>> = match together(inner, tenants, &places, &step).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) if places.len() == 1 => vec![Err(error)],
        Err(_) => {
            let mut answers = Vec::with_capacity(places.len());
            for (tenant, place) in tenants.iter().zip(&places) {
                let (one, place) = (std::slice::from_ref(tenant), std::slice::from_ref(place));
                let answer = together(inner, one, place, &step).await;
                answers.push(answer.map(|mut rows| rows.pop().unwrap_or_default()));
            }
            answers
        }
    };
    for (place, answer) in places.iter().zip(answers) {
        match answer.and_then(|rows| rows_of(&rows, place)) {
            Ok(rows) => found.extend(rows.into_iter().map(|row| (place.name.clone(), row))),
            Err(error) => unreadable.push((place.name.clone(), error)),
        }
    }
    (found, unreadable)
}

/// Reads places in one transaction.
async fn together(
    inner: &Inner,
    tenants: &[&NamedTenant],
    places: &[Place],
    step: &impl Fn(&Place) -> Step<'static>,
) -> Result<Vec<Vec<Row>>> {
    let schemas: Vec<SchemaName> = places.iter().map(SchemaName::of).collect::<Result<_>>()?;
    let (Some(tenant), Some(first)) = (tenants.first(), schemas.first()) else { return Ok(Vec::new()) };
    let is_guarded = tenants.iter().any(|tenant| tenant.placement == Placement::OwnRole);
    let scope = |schema| if is_guarded { Scope::Guarded(schema) } else { Scope::Schema(schema) };
    let (mut steps, mut answers) = (Vec::new(), Vec::with_capacity(places.len()));
    let mut entered = first;
    for (place, schema) in places.iter().zip(&schemas) {
        if schema != entered {
            steps.push(Step::Enter(scope(schema)));
            entered = schema;
        }
        answers.push(steps.len());
        steps.push(step(place));
    }
    let _turn = inner.reading.take(tenant.tenant, inner.pool.reads() / 2).await;
    let mut side = inner.pool.get(Use::Read).await?;
    places.iter().for_each(|place| side.touch(place.tenant));
    let rows = side.transaction(scope(first), &steps).await;
    let mut rows = rows.map_err(|failure| failure.into_error(first.as_str()))?;
    Ok(answers.into_iter().map(|step| std::mem::take(&mut rows[step])).collect())
}
