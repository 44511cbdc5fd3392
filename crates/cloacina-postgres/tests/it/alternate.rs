//! Tenants that take turns on one connection while much goes wrong: nobody is told of, or writes to, what is
//! another's.
//!
//! The operator's store has one connection for flushes and one for everything else; behind the pooler both
//! are one server process. Values are refused, statements are cancelled as a timeout does it, locks are not
//! had, connections end, callers go away. Every id, name, input, error and patch says whose it is, and every
//! answer is looked at.
//!
//! `CLOACINA_ALTERNATIONS` says how many operations, `CLOACINA_ALTERNATION` which history: its seed, 0 if it
//! is not set.

use std::collections::{HashMap, HashSet};
use std::num::ParseIntError;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, RunnerId};
use cloacina_core::store::{
    Claim, Claimed, Control, DueKind, ExecutionFilter, ExecutionHeader, ExecutionList, Flush, Idempotency,
    NewExecution, NewTask, Outcome, Payload, Place, PlaceFlush, PlaceFlushed, PlaceName, RunnerRegistration,
    Store, StoreError, StoreErrorKind, TaskOutcome, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use cloacina_postgres::admin::{Database, DatabaseAdmin, TenantConfig};
use cloacina_postgres::{PostgresOptions, PostgresStore};
use cloacina_testing::cluster::Cluster;
use cloacina_testing::pooler::Pooler;
use fastrand::Rng;
use tokio_postgres::Client;

use crate::support::{client, fresh_database, passes};

/// Two in schemas of the operator's own, two that also have a login.
const TENANTS: [&str; 4] = ["acme", "Globex", "initech", "umbrella"];
const WITH_LOGIN: Range<usize> = 2..4;
const OPERATIONS: usize = 10_000;
/// Behind the pooler every statement is planned anew, and whoever loses a connection looks for over a second
/// what became of it.
const POOLED_OPERATIONS: usize = 5_000;
/// The keys that every tenant uses, each for an execution of its own.
const KEYS: usize = 50;

#[tokio::test]
async fn tenants_that_take_turns_on_one_connection_never_meet() {
    Alternation::new(false).await.play(number("CLOACINA_ALTERNATIONS", OPERATIONS)).await;
}

#[tokio::test]
async fn tenants_that_take_turns_on_a_poolers_connection_never_meet() {
    Alternation::new(true).await.play(number("CLOACINA_ALTERNATIONS", POOLED_OPERATIONS)).await;
}

fn number<T: FromStr<Err = ParseIntError>>(variable: &str, usually: T) -> T {
    std::env::var(variable).map_or(usually, |text| text.parse().unwrap())
}

struct Tenant {
    name: &'static str,
    place: Arc<Place>,
    /// Everything that was sent, whatever became of it.
    sent: Vec<ExecutionId>,
    /// What is there for certain: recorded, and nothing has ended it.
    there: HashSet<ExecutionId>,
    held: Vec<Claimed>,
    by_key: HashMap<String, HashSet<ExecutionId>>,
}

/// What became of a call.
enum Answer<T> {
    Got(T),
    Failed,
    /// The caller went away before there was one.
    Dropped,
}

impl<T> Answer<T> {
    fn got(self) -> Option<T> {
        if let Self::Got(answer) = self { Some(answer) } else { None }
    }
}

#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    dropped: usize,
    refused: usize,
    failed: usize,
}

struct Alternation {
    seed: u64,
    rng: Rng,
    store: Arc<PostgresStore>,
    runner: RunnerId,
    tenants: Vec<Tenant>,
    owners: HashMap<ExecutionId, usize>,
    /// As the operator, to cancel and end what the store has under way.
    beside: Client,
    superuser: Client,
    tally: Tally,
    _pooler: Option<Pooler>,
}

impl Alternation {
    async fn new(pooled: bool) -> Self {
        let seed = number("CLOACINA_ALTERNATION", 0);
        let url = fresh_database().await;
        let server = Cluster::shared().unwrap();
        server.make_administrator(&url).await.unwrap();
        let database = url.rsplit('/').next().unwrap();
        let admin = DatabaseAdmin::new(Database::new(&url, database, 1));
        for name in &TENANTS[WITH_LOGIN] {
            let username = format!("{database}_{name}");
            let config = TenantConfig { schema_name: (*name).to_owned(), username, password: String::new() };
            admin.create_tenant(config).await.unwrap();
        }
        let pooler = if pooled { Some(Pooler::start(&[&url], 1).await.unwrap()) } else { None };
        let through = pooler.as_ref().map_or_else(|| url.clone(), |pooler| pooler.url_with_direct(&url));
        // The third is for LISTEN.
        let options = PostgresOptions { max_connections: 3, ..PostgresOptions::default() };
        let store = PostgresStore::connect(&through, options).await.unwrap();
        assert_eq!(store.lanes(), 1);
        let mut tenants = Vec::new();
        for name in TENANTS {
            let place = store.place_open(&PlaceName::Named(name.to_owned())).await.unwrap();
            tenants.push(Tenant {
                name,
                place: Arc::new(place),
                sent: Vec::new(),
                there: HashSet::new(),
                held: Vec::new(),
                by_key: HashMap::new(),
            });
        }
        let runner = RunnerId::new();
        let registration = RunnerRegistration {
            id: runner,
            lease: Duration::from_secs(3600),
            process: None,
            host_name: None,
            workflows: workflows(),
        };
        store.runner_register(&registration, None).await.unwrap();
        Self {
            seed,
            rng: Rng::with_seed(seed),
            store,
            runner,
            tenants,
            owners: HashMap::new(),
            beside: client(&url).await,
            superuser: client(&server.superuser_url_of(&url)).await,
            tally: Tally::default(),
            _pooler: pooler,
        }
    }

    async fn play(mut self, operations: usize) {
        let begun = Instant::now();
        for operation in 0..operations {
            self.turn(operation % TENANTS.len()).await;
        }
        for tenant in 0..TENANTS.len() {
            self.look_at_rows(tenant).await;
        }
        eprintln!("{operations} operations, seed {}, {:.0?}: {:?}", self.seed, begun.elapsed(), self.tally);
        let Tally { answered, dropped, refused, failed } = self.tally;
        assert!(answered > operations / 3 && [dropped, refused, failed].iter().all(|count| *count > 0));
    }

    async fn turn(&mut self, tenant: usize) {
        match self.rng.u8(0..20) {
            0..5 => self.flush(tenant).await,
            5 => self.submit_what_cannot_be_kept(tenant).await,
            6..9 => self.load(tenant).await,
            9..11 => self.headers(tenant).await,
            11..13 => self.list(tenant).await,
            13..15 => self.control(tenant).await,
            15 => self.find(tenant).await,
            16 => self.attempts(tenant).await,
            17 => self.count(tenant).await,
            18 => self.lower(tenant).await,
            _ => self.prune(tenant).await,
        }
    }

    /// Makes a call, or begins to, while something may go wrong.
    async fn call<T>(
        &mut self,
        tenant: usize,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Answer<T> {
        let leaves_after = (self.rng.u8(0..6) == 0).then(|| Duration::from_micros(self.rng.u64(0..4_000)));
        let locks = WITH_LOGIN.contains(&tenant) && self.rng.u8(0..200) == 0;
        let trouble = match self.rng.u16(0..800) {
            0 => Some("pg_terminate_backend"),
            1..40 => Some("pg_cancel_backend"),
            _ => None,
        };
        let trouble_after = Duration::from_micros(self.rng.u64(0..2_000));
        if locks {
            let lock = format!("BEGIN; LOCK TABLE {}.workflow_executions", self.tenants[tenant].place.name);
            self.superuser.batch_execute(&lock).await.unwrap();
        }
        let make_trouble = async {
            let Some(function) = trouble else { return };
            passes(trouble_after).await;
            let text = format!(
                "SELECT {function}(pid) FROM pg_stat_activity WHERE usename = current_user AND application_name LIKE 'cloacina%'"
            );
            self.beside.batch_execute(&text).await.unwrap();
        };
        let leave = async {
            match leaves_after {
                Some(after) => passes(after).await,
                None => std::future::pending().await,
            }
        };
        let call = async {
            tokio::select! {
                biased;
                answer = call => Some(answer),
                () = leave => None,
            }
        };
        let (answer, ()) = tokio::join!(call, make_trouble);
        if locks {
            self.superuser.batch_execute("ROLLBACK").await.unwrap();
        }
        match answer {
            Some(Ok(answer)) => {
                self.tally.answered += 1;
                Answer::Got(answer)
            }
            Some(Err(error)) => {
                match error.kind() {
                    StoreErrorKind::Data => self.tally.refused += 1,
                    StoreErrorKind::Transient | StoreErrorKind::Busy | StoreErrorKind::Unknown => {
                        self.tally.failed += 1;
                    }
                    _ => panic!("seed {}, {}: {error:?}", self.seed, TENANTS[tenant]),
                }
                Answer::Failed
            }
            None => {
                self.tally.dropped += 1;
                Answer::Dropped
            }
        }
    }

    /// Submits, records and claims, for one tenant or for all that share a flush with it.
    async fn flush(&mut self, tenant: usize) {
        let together = !WITH_LOGIN.contains(&tenant) && self.rng.bool();
        let tenants = if together { vec![tenant, 1 - tenant] } else { vec![tenant] };
        let places = tenants.iter().map(|tenant| self.place_flush(*tenant)).collect();
        let Some(places) = self.send(tenant, places).await.got() else { return };
        for (tenant, flushed) in tenants.into_iter().zip(places) {
            self.look_at_flushed(tenant, flushed);
        }
    }

    fn place_flush(&mut self, tenant: usize) -> PlaceFlush {
        let submits = (0..self.rng.usize(0..3)).map(|_| Arc::new(self.new_execution(tenant))).collect();
        let outcomes = std::mem::take(&mut self.tenants[tenant].held).into_iter().map(|held| {
            self.tenants[tenant].there.remove(&held.execution);
            let outcome = match self.rng.u8(0..3) {
                0 => TaskOutcome::Released,
                _ => TaskOutcome::Completed { patch: Some(marked(TENANTS[tenant])) },
            };
            let Claimed { execution, task, attempt, .. } = held;
            let (successors, handles) = (Vec::new(), Vec::new());
            Arc::new(Outcome { successors, handles, ..Outcome::new(execution, task, attempt, outcome) })
        });
        let outcomes = outcomes.collect();
        // Whatever its name: a claim takes what lies in the place.
        let claim = Claim { limit: self.rng.usize(1..4), workflows: workflows() };
        let place = Arc::clone(&self.tenants[tenant].place);
        let timed = Vec::new();
        PlaceFlush {
            place,
            first_claim: true,
            submits,
            outcomes,
            timed,
            related: Vec::new(),
            claim: Some(claim),
        }
    }

    fn new_execution(&mut self, tenant: usize) -> NewExecution {
        let id = ExecutionId::new();
        self.owners.insert(id, tenant);
        self.tenants[tenant].sent.push(id);
        let new = described(id, TENANTS[tenant]);
        if self.rng.u8(0..3) > 0 {
            return new;
        }
        let key = format!("key-{}", self.rng.usize(0..KEYS));
        self.tenants[tenant].by_key.entry(key.clone()).or_default().insert(id);
        NewExecution { idempotency: Some(Idempotency { key, input_hash: 1 }), ..new }
    }

    async fn send(&mut self, tenant: usize, places: Vec<PlaceFlush>) -> Answer<Vec<PlaceFlushed>> {
        let (store, flush) =
            (Arc::clone(&self.store), Flush { runner: Some(self.runner), now: None, places });
        self.call(tenant, async move { store.flush(0, &flush).await.map(|flushed| flushed.places) }).await
    }

    fn look_at_flushed(&mut self, tenant: usize, flushed: PlaceFlushed) {
        let PlaceFlushed { submitted, recorded, freed, closed, submitters, claimed } = flushed;
        assert_eq!(submitters, [], "nobody wants to be told");
        let ids = submitted.iter().copied();
        let ids = ids.chain(recorded.iter().map(|recorded| recorded.execution));
        let ids = ids.chain(freed.iter().map(|freed| freed.execution));
        let ids = ids.chain(closed.iter().map(|closed| closed.execution));
        ids.for_each(|id| self.must_own(tenant, id));
        self.tenants[tenant].there.extend(submitted);
        for claimed in &claimed {
            self.must_own(tenant, claimed.execution);
            assert_eq!(*claimed.workflow.name, *workflow_of(TENANTS[tenant]).name);
            if let Some(fresh) = &claimed.fresh {
                assert_eq!(fresh.input, marked(TENANTS[tenant]));
            }
        }
        self.tenants[tenant].held.extend(claimed);
    }

    /// Together with another tenant's submit, where that may be: then neither is recorded.
    async fn submit_what_cannot_be_kept(&mut self, tenant: usize) {
        let name = TENANTS[tenant];
        let (id, beside) = (ExecutionId::new(), ExecutionId::new());
        let good = described(id, name);
        let broken = match self.rng.u8(0..3) {
            0 => NewExecution { input: "{".into(), ..good },
            1 => NewExecution { priority: 10, ..good },
            _ => NewExecution {
                tasks: [NewTask { name: "a\0b".to_owned(), is_wait: false, waiting_on: 0 }].into(),
                ..good
            },
        };
        let place_flush = |tenant: &Tenant, new| PlaceFlush {
            place: Arc::clone(&tenant.place),
            first_claim: false,
            submits: vec![Arc::new(new)],
            outcomes: vec![],
            timed: vec![],
            related: Vec::new(),
            claim: None,
        };
        let mut places = vec![place_flush(&self.tenants[tenant], broken)];
        if !WITH_LOGIN.contains(&tenant) {
            let other = &self.tenants[1 - tenant];
            places.push(place_flush(other, described(beside, other.name)));
        }
        // Neither id has an owner: wherever it turns up, it is wrong.
        match self.send(tenant, places).await {
            Answer::Got(_) => panic!("seed {}: a broken value was kept", self.seed),
            Answer::Failed | Answer::Dropped => {}
        }
    }

    async fn load(&mut self, tenant: usize) {
        let (store, place, ids) = self.question(tenant);
        let asked = ids.clone();
        let Some(records) =
            self.call(tenant, async move { store.execution_load(&place, &ids).await }).await.got()
        else {
            return;
        };
        for record in &records {
            self.look_at_header(tenant, &record.header);
            assert_eq!(record.input, marked(TENANTS[tenant]));
            for task in &record.tasks {
                assert_eq!(task.name, TENANTS[tenant]);
                assert!(task.patch.as_ref().is_none_or(|patch| *patch == marked(TENANTS[tenant])));
            }
        }
        self.nothing_is_missing(tenant, &asked, records.iter().map(|record| record.header.id));
    }

    async fn headers(&mut self, tenant: usize) {
        let (store, place, ids) = self.question(tenant);
        let asked = ids.clone();
        let Some(headers) =
            self.call(tenant, async move { store.execution_headers(&place, &ids).await }).await.got()
        else {
            return;
        };
        headers.iter().for_each(|header| self.look_at_header(tenant, header));
        self.nothing_is_missing(tenant, &asked, headers.iter().map(|header| header.id));
    }

    async fn list(&mut self, tenant: usize) {
        let (store, place, _) = self.question(tenant);
        // Half of the time another tenant's workflow is asked for.
        let of = if self.rng.bool() { tenant } else { self.rng.usize(0..TENANTS.len()) };
        let filter = match self.rng.bool() {
            true => ExecutionFilter::all(),
            false => ExecutionFilter::all().workflow(&*workflow_of(TENANTS[of]).name),
        };
        let list = ExecutionList { filter, before: None, limit: 30 };
        let listed = self.call(tenant, async move { store.execution_list(&place, &list).await }).await;
        listed.got().iter().flatten().for_each(|header| self.look_at_header(tenant, header));
    }

    async fn control(&mut self, tenant: usize) {
        let (store, place, ids) = self.question(tenant);
        let Some(&id) = ids.first() else { return };
        let control = match self.rng.u8(0..3) {
            0 => Control::Cancel { reason: format!("no longer wanted by {}", TENANTS[tenant]) },
            1 => Control::Pause,
            _ => Control::Resume,
        };
        let is_own = self.owners[&id] == tenant;
        let was_there = self.tenants[tenant].there.contains(&id);
        if is_own {
            self.tenants[tenant].there.remove(&id);
        }
        let controlled = self
            .call(tenant, async move { store.execution_control(&place, id, control, None, None).await })
            .await;
        if let Some(controlled) = controlled.got() {
            let found = controlled != cloacina_core::store::Controlled::NotFound;
            assert!(is_own || !found, "seed {}: {id} is not {}'s", self.seed, TENANTS[tenant]);
            assert!(!was_there || found, "seed {}: {id} of {} is not there", self.seed, TENANTS[tenant]);
        }
    }

    async fn find(&mut self, tenant: usize) {
        let (store, place, _) = self.question(tenant);
        let of = self.rng.usize(0..TENANTS.len());
        let (workflow, key) = (workflow_of(TENANTS[of]), format!("key-{}", self.rng.usize(0..KEYS)));
        let asked = key.clone();
        let found =
            self.call(tenant, async move { store.execution_find(&place, &workflow.name, &asked).await });
        if let Some(Some((id, _))) = found.await.got() {
            self.must_own(tenant, id);
            assert!(self.tenants[tenant].by_key[&key].contains(&id));
        }
    }

    async fn attempts(&mut self, tenant: usize) {
        let (store, place, ids) = self.question(tenant);
        let Some(&id) = ids.first() else { return };
        let runner = self.runner;
        let is_own = self.owners[&id] == tenant;
        let attempts = self.call(tenant, async move {
            Ok((store.attempt_list(&place, id).await?, store.task_held(&place, runner).await?))
        });
        let Some((attempts, held)) = attempts.await.got() else { return };
        assert!(is_own || attempts.is_none(), "seed {}: {id} is not {}'s", self.seed, TENANTS[tenant]);
        assert!(attempts.iter().flatten().all(|attempt| attempt.task_id == TENANTS[tenant]));
        held.iter().for_each(|held| self.must_own(tenant, held.execution));
    }

    async fn count(&mut self, tenant: usize) {
        let (store, place, _) = self.question(tenant);
        let counted = self.call(tenant, async move {
            let figures = store.place_figures(&place, None).await?;
            Ok((store.execution_count(&place, usize::MAX >> 1).await?, figures))
        });
        let Some((open, figures)) = counted.await.got() else { return };
        let Tenant { there, sent, .. } = &self.tenants[tenant];
        assert!((there.len()..=sent.len()).contains(&open), "{} of {}", open, TENANTS[tenant]);
        assert!(usize::try_from(figures.executions).unwrap() <= sent.len());
    }

    async fn lower(&mut self, tenant: usize) {
        let (store, place, _) = self.question(tenant);
        let lowered =
            self.call(tenant, async move { store.bell_lower(&[place], DueKind::ALL, None).await }).await;
        for next in lowered.got().into_iter().flatten() {
            assert!(next.work.is_none() || !self.tenants[tenant].sent.is_empty());
        }
    }

    async fn prune(&mut self, tenant: usize) {
        let (store, place, _) = self.question(tenant);
        let limit = self.rng.usize(1..5);
        let pruned = self
            .call(tenant, async move {
                store.execution_prune(&place, ExecutionStatus::Completed, Duration::ZERO, limit, None).await
            })
            .await;
        assert!(pruned.got().is_none_or(|pruned| pruned <= limit));
    }

    /// A few ids, of the tenant's own and of others.
    fn question(&mut self, tenant: usize) -> (Arc<PostgresStore>, Arc<Place>, Vec<ExecutionId>) {
        let mut ids = Vec::new();
        for _ in 0..4 {
            let of = if self.rng.bool() { tenant } else { self.rng.usize(0..TENANTS.len()) };
            let sent = &self.tenants[of].sent;
            // The latest ones are the most likely to be there still.
            let latest = &sent[sent.len().saturating_sub(40)..];
            ids.extend(self.rng.choice(latest));
        }
        (Arc::clone(&self.store), Arc::clone(&self.tenants[tenant].place), ids)
    }

    #[track_caller]
    fn must_own(&self, tenant: usize, id: ExecutionId) {
        let owner = self.owners.get(&id).map(|owner| TENANTS[*owner]);
        assert_eq!(owner, Some(TENANTS[tenant]), "seed {}: whose is {id}?", self.seed);
    }

    #[track_caller]
    fn look_at_header(&self, tenant: usize, header: &ExecutionHeader) {
        self.must_own(tenant, header.id);
        assert_eq!(header.workflow, workflow_of(TENANTS[tenant]));
        assert!(header.error.as_ref().is_none_or(|error| error.contains(TENANTS[tenant])));
    }

    #[track_caller]
    fn nothing_is_missing(
        &self,
        tenant: usize,
        asked: &[ExecutionId],
        found: impl Iterator<Item = ExecutionId>,
    ) {
        let found: HashSet<_> = found.collect();
        let there = &self.tenants[tenant].there;
        let mut missing = asked.iter().filter(|id| there.contains(id) && !found.contains(id));
        assert_eq!(missing.next(), None, "seed {}: not found for {}", self.seed, TENANTS[tenant]);
    }

    /// Past the store: whose rows lie in the tables of a place.
    async fn look_at_rows(&self, tenant: usize) {
        let Tenant { place, there, .. } = &self.tenants[tenant];
        for (table, column) in [
            ("workflow_executions", "id"),
            ("task_executions", "execution_id"),
            ("ready_tasks", "execution_id"),
            ("task_attempts", "execution_id"),
        ] {
            let text = format!("SELECT tenant_id, {column} FROM \"{}\".{table}", place.name);
            let mut found = HashSet::new();
            for row in self.superuser.query(&text, &[]).await.unwrap() {
                assert_eq!(row.get::<_, uuid::Uuid>(0), place.tenant.0, "{table} of {}", place.name);
                let id = ExecutionId(row.get(1));
                self.must_own(tenant, id);
                found.insert(id);
            }
            let is_complete = matches!(table, "workflow_executions" | "task_executions");
            assert!(!is_complete || there.is_subset(&found), "{table} of {}", place.name);
        }
    }
}

fn workflow_of(tenant: &str) -> WorkflowKey {
    WorkflowKey { name: format!("etl_{tenant}").into(), fingerprint: Fingerprint(7) }
}

fn workflows() -> Arc<[WorkflowKey]> {
    TENANTS.map(workflow_of).into()
}

/// A value that says whose it is.
fn marked(tenant: &str) -> Payload {
    format!("{{\"of\":\"{tenant}\"}}").into()
}

fn described(id: ExecutionId, tenant: &str) -> NewExecution {
    NewExecution {
        submitter: None,
        tags: Vec::new(),
        submitted_by: None,
        on_failure: None,
        rerun: None,
        child: None,
        id,
        workflow: workflow_of(tenant),
        priority: 5,
        input: marked(tenant),
        idempotency: None,
        start_at: None,
        deadline: None,
        tasks: [NewTask { name: tenant.to_owned(), is_wait: false, waiting_on: 0 }].into(),
        claimed: Vec::new(),
    }
}
