//! Schedules, on a clock that a test moves.

use std::sync::Arc;
use std::time::Duration;

use cloacina::{
    CatchUp, Context, ErrorKind, ExecutionFilter, ExecutionStatus, Fire, FireOutcome, Missed, Overlap, Redo,
    RunnerConfig, Schedule, ScheduleInfo, ScheduleState, TaskDefinition, Timestamp, Triggered, Uuid,
    Workflow,
};
use cloacina_core::clock::Clock;
use cloacina_core::store::PlaceName;
use cloacina_core::{Hub, PlaceRunner};
use cloacina_testing::clock::ManualClock;
use cloacina_testing::memory::MemoryDatabase;
use tokio::sync::mpsc;

use crate::support::{Database, Gate, assert_error, failing, idle, in_time, quick, task, until, workflow};

/// The manual clock starts at 15:06:40.
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

on_each_store! {
    async fn a_schedule_starts_executions_that_run_where_their_code_is(database: Database) {
        let (fired, mut fires) = mpsc::unbounded_channel();
        let settings = || quick().min_schedule_period(Duration::from_secs(1));
        let submitter = database.configured(settings().submit_only(true), []).await;
        let runner = database.configured(settings(), [telling("report", &fired)]).await;
        let each_second = Schedule::new("each second", "report")
            .every(Duration::from_secs(1))
            .input(Context::new().with("kind", "full"))
            .overlap(Overlap::Allow);
        submitter.schedules().put(each_second).await.unwrap();
        let first = fires.recv().await.unwrap();
        let second = fires.recv().await.unwrap();
        assert_eq!((first.name.as_str(), first.backfill), ("each second", false));
        assert_eq!((second.previous, second.nominal > first.nominal), (Some(first.nominal), true));
        let Triggered::Started(id) = runner.schedules().trigger("each second").await.unwrap() else {
            panic!("it may run beside the others")
        };
        let result = runner.execution(id).wait_for_completion().await.unwrap();
        assert!(result.status.is_success(), "{result:?}");
        assert_eq!(result.final_context, Context::new().with("kind", "full"));
        let fires = runner.schedules().fires("each second", None, 10).await.unwrap();
        assert!(fires.iter().all(|fire| fire.outcome == FireOutcome::Started), "{fires:?}");
        runner.schedules().delete("each second").await.unwrap();
        assert_eq!(runner.schedules().list().await.unwrap().len(), 0);
        let name = runner.register_cron_workflow("report", "0 2 * * MON-FRI", "Europe/Zurich").await.unwrap();
        assert_eq!(runner.register_cron_workflow("report", "0 2 * * MON-FRI", "Europe/Zurich").await.unwrap(), name);
        let info = submitter.schedules().get(&name).await.unwrap();
        assert_eq!((info.workflow.as_str(), info.zone.as_deref()), ("report", Some("Europe/Zurich")));
        runner.shutdown().await.unwrap();
        submitter.shutdown().await.unwrap();
    }

    async fn a_schedule_that_somebody_spoiled_is_broken_and_no_other(database: Database) {
        let spoilt = [
            "SET spec = '7'",
            "SET spec = '{\"workflow\": \"quiet\", \"every_ms\": [0], \"priority\": 5, \"catch_up\": \"latest\", \"overlap\": \"skip\"}'",
            "SET spec = '{\"workflow\": \"quiet\", \"cron\": [\"x\"], \"priority\": 5, \"catch_up\": \"latest\", \"overlap\": \"skip\"}'",
            "SET progress = '{\"buffered\": 1}'",
            // Nothing can be noted of a time before 1970.
            "SET progress = '{\"buffered\": [{\"nominal\": \"1066-10-14T00:00:00Z\"}]}'",
        ];
        let settings = || quick().min_schedule_period(Duration::from_secs(1));
        let runner = database.configured(settings(), [workflow("quiet", [idle("t")])]).await;
        let schedules = runner.schedules();
        let new = |name: &str| Schedule::new(name, "quiet").every(Duration::from_secs(2));
        for n in 0..spoilt.len() {
            schedules.put(new(&n.to_string())).await.unwrap();
        }
        let mut statements = String::new();
        for (n, what) in spoilt.iter().enumerate() {
            statements.push_str(&format!("UPDATE schedules {what} WHERE name = '{n}';"));
        }
        // Rows of nobody, and an end that was none.
        statements.push_str(
            "INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause) SELECT tenant_id, 2, updated_at, tenant_id, 'x' FROM schedules WHERE name = '0';
             INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause) SELECT tenant_id, 2, updated_at, id, '00000000-0000-0000-0000-000000000001' FROM schedules WHERE name = '0'",
        );
        crate::hostile::write(&database, &statements).await;
        schedules.put(new("sound")).await.unwrap();
        let states = async || {
            let all = schedules.list().await.unwrap();
            // Those that are spoilt may have fired before.
            let fires = |info: &ScheduleInfo| info.last_execution.is_some() || info.name != "sound";
            all.into_iter().map(|info| (info.state, fires(&info))).collect::<Vec<_>>()
        };
        let expected: Vec<_> = std::iter::repeat_n((ScheduleState::Broken, true), spoilt.len())
            .chain([(ScheduleState::Active, true)])
            .collect();
        until(async || states().await == expected).await;
        let reason = schedules.get("1").await.unwrap().reason.unwrap();
        assert!(reason.contains("put it again"), "{reason}");
        let error = schedules.trigger("0").await.unwrap_err();
        assert_error(&error, ErrorKind::WrongState, "put it again");
        schedules.put(new("0")).await.unwrap();
        until(async || states().await[0] == (ScheduleState::Active, true)).await;
        runner.shutdown().await.unwrap();
    }

    async fn a_backfill_passes_over_what_ran_although_the_log_does_not_know(database: Database) {
        let runner = database.runner([workflow("quiet", [idle("t")])]).await;
        let schedules = runner.schedules();
        schedules.put(Schedule::new("s", "quiet").every(HOUR)).await.unwrap();
        let now = cloacina_core::clock::Clock::now(&cloacina_core::clock::SystemClock);
        let backfill = || schedules.backfill("s", now - 5 * HOUR..now);
        let done = async || schedules.get("s").await.unwrap().backfilling == 0;
        let times = backfill().start().await.unwrap();
        until(done).await;
        crate::hostile::write(&database, "DELETE FROM schedule_fires").await;
        assert_eq!(backfill().start().await.unwrap(), times);
        until(done).await;
        let fires = schedules.fires("s", None, 10).await.unwrap();
        assert!(fires.iter().all(|fire| fire.outcome == FireOutcome::Repeated), "{fires:?}");
        assert_eq!(runner.list(ExecutionFilter::all(), None, 10).await.unwrap().len(), times.len());
        runner.shutdown().await.unwrap();
    }

    async fn the_end_of_an_execution_starts_what_waits_for_it(database: Database) {
        let gate = Gate::new();
        let runner = database.runner([workflow("gated", [gate.task("t")])]).await;
        let schedules = runner.schedules();
        schedules.put(Schedule::new("s", "gated").every(HOUR).overlap(Overlap::Buffer(2))).await.unwrap();
        let Triggered::Started(first) = schedules.trigger("s").await.unwrap() else { panic!("nothing runs") };
        assert_eq!(gate.started().await.execution_id(), first);
        for expected in [Triggered::Buffered, Triggered::Buffered, Triggered::Skipped] {
            assert_eq!(schedules.trigger("s").await.unwrap(), expected);
        }
        gate.open(1);
        let second = gate.started().await.execution_id();
        // Cancelled from outside, it has ended as well.
        runner.execution(second).cancel().await.unwrap();
        let third = gate.started().await.execution_id();
        assert!(first != second && second != third);
        // The cancelled one may still stand at the gate.
        gate.open(2);
        in_time(runner.execution(third).wait_for_completion()).await.unwrap();
        assert_eq!(schedules.get("s").await.unwrap().buffered, 0);
        // A reason that no database keeps as it is.
        schedules.pause("s", "an\0 incident\r\n").await.unwrap();
        assert_eq!(schedules.get("s").await.unwrap().reason.as_deref(), Some("an incident"));
        runner.shutdown().await.unwrap();
    }
}

/// A database in memory whose time a test moves.
struct World {
    database: MemoryDatabase,
    clock: ManualClock,
    gate: Gate,
    fired: mpsc::UnboundedSender<Fire>,
    fires: mpsc::UnboundedReceiver<Fire>,
}

impl World {
    fn new() -> Self {
        let (fired, fires) = mpsc::unbounded_channel();
        Self { database: MemoryDatabase::new(), clock: ManualClock::new(), gate: Gate::new(), fired, fires }
    }

    fn settings(&self) -> RunnerConfig {
        quick()
            .clock(Arc::new(self.clock.clone()))
            // Hours pass while a task waits at the gate.
            .task_timeout(None)
            .workflow(telling("report", &self.fired))
            .workflow(workflow("gated", [self.gate.task("t")]))
            .workflow(workflow("broken", [failing("t")]))
            .workflow(workflow("quiet", [idle("t")]))
            .build()
    }

    async fn open(&self) -> PlaceRunner {
        self.open_with(self.settings()).await
    }

    async fn open_with(&self, settings: RunnerConfig) -> PlaceRunner {
        let hub = Hub::start(Arc::new(self.database.open()), &settings);
        let name = PlaceName::Named("acme".to_owned());
        PlaceRunner::open(hub, name, settings, Vec::new()).await.unwrap().unwrap()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the time on, second by second or faster, until something holds.
    async fn pass_until(&self, step: Duration, holds: impl AsyncFn() -> bool) {
        in_time(async {
            while !holds().await {
                self.clock.advance(step);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Moves the time on until the schedule has fired, and returns what the task was told.
    async fn fire(&mut self) -> Fire {
        in_time(async {
            loop {
                if let Ok(fire) = self.fires.try_recv() {
                    return fire;
                }
                self.clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
    }
}

/// A workflow that tells by which fire it was started.
fn telling(name: &str, to: &mpsc::UnboundedSender<Fire>) -> Workflow {
    let to = to.clone();
    let tell: TaskDefinition = task("tell", move |context| {
        let to = to.clone();
        async move {
            let keys: Vec<&str> = context.iter().map(|(key, _)| key).collect();
            assert_eq!(keys, ["kind"], "the engine's own key is not seen");
            to.send(context.schedule().unwrap().clone()).unwrap();
            Ok(context)
        }
    });
    workflow(name, [tell])
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn hourly(workflow: &str) -> Schedule {
    Schedule::new("hourly", workflow).cron("0 * * * *").unwrap().input(Context::new().with("kind", "full"))
}

async fn outcomes(runner: &PlaceRunner) -> Vec<(String, FireOutcome)> {
    let fires = runner.schedules().fires("hourly", None, 100).await.unwrap();
    fires.iter().rev().map(|fire| (fire.nominal.strftime("%H:%M").to_string(), fire.outcome)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_fires_at_its_times_and_its_tasks_know_which() {
    let mut world = World::new();
    let runner = world.open().await;
    runner.schedules().put(hourly("report")).await.unwrap();
    let first = world.fire().await;
    assert_eq!((first.name.as_str(), first.nominal), ("hourly", at("2025-06-15T16:00:00Z")));
    assert_eq!((first.previous, first.missed, first.backfill), (None, 0, false));
    let second = world.fire().await;
    assert_eq!((second.nominal, second.previous), (at("2025-06-15T17:00:00Z"), Some(first.nominal)));
    let info = runner.schedules().get("hourly").await.unwrap();
    assert_eq!((info.state, info.next), (ScheduleState::Active, Some(at("2025-06-15T18:00:00Z"))));
    assert_eq!(info.last, Some(second.nominal));
    let next = runner.schedules().next("hourly", 2).await.unwrap();
    assert_eq!(next, [at("2025-06-15T18:00:00Z"), at("2025-06-15T19:00:00Z")]);
    let expected = [("16:00".to_owned(), FireOutcome::Started), ("17:00".to_owned(), FireOutcome::Started)];
    assert_eq!(outcomes(&runner).await, expected);
    let last = runner.execution(info.last_execution.unwrap());
    let result = in_time(last.wait_for_completion()).await.unwrap();
    assert_eq!(result.final_context, Context::new().with("kind", "full"));
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_is_caught_up_with_as_the_schedule_says() {
    let mut world = World::new();
    let runner = world.open().await;
    let schedules = runner.schedules();
    schedules.put(hourly("report")).await.unwrap();
    let second = |name, catch_up| {
        let schedule = Schedule::new(name, "quiet").cron("0 * * * *").unwrap();
        schedule.catch_up(catch_up).window(3 * HOUR).overlap(Overlap::Allow)
    };
    schedules.put(second("all", CatchUp::All)).await.unwrap();
    schedules.put(second("none", CatchUp::Nothing)).await.unwrap();
    in_time(runner.shutdown()).await.unwrap();
    world.clock.advance(5 * HOUR);
    let runner = world.open().await;
    let fire = world.fire().await;
    assert_eq!((fire.nominal, fire.missed, fire.previous), (at("2025-06-15T20:00:00Z"), 4, None));
    let fires = async |name| {
        let fires = runner.schedules().fires(name, None, 100).await.unwrap();
        fires.into_iter().map(|fire| (fire.outcome, fire.missed)).collect::<Vec<_>>()
    };
    until(async || fires("all").await.len() == 4 && fires("none").await.len() == 1).await;
    let started = (FireOutcome::Started, 0);
    assert_eq!(fires("all").await, [started, started, started, (FireOutcome::Missed, 1)]);
    assert_eq!(fires("none").await, [(FireOutcome::Missed, 4)]);
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_does_not_start_beside_the_one_before_unless_it_may() {
    for (overlap, expected) in [
        (Overlap::Skip, FireOutcome::Skipped),
        (Overlap::Buffer(1), FireOutcome::Buffered),
        (Overlap::Allow, FireOutcome::Started),
        (Overlap::CancelOther, FireOutcome::Started),
    ] {
        let world = World::new();
        let runner = world.open().await;
        runner.schedules().put(hourly("gated").overlap(overlap)).await.unwrap();
        world.pass_until(MINUTE, async || world.gate.has_started().await).await;
        let first = world.gate.started().await;
        world.pass_until(MINUTE, async || outcomes(&runner).await.len() == 2).await;
        assert_eq!(outcomes(&runner).await[1].1, expected, "{overlap:?}");
        let status = runner.get_execution_status(first.execution_id()).await.unwrap();
        let replaced = overlap == Overlap::CancelOther;
        assert_eq!(status == ExecutionStatus::Cancelled, replaced, "{overlap:?}: {status}");
        if expected == FireOutcome::Buffered {
            // The end of the one brings the other, long before the next time.
            world.gate.open(1);
            let info = world.gate.started().await;
            assert_ne!(info.execution_id(), first.execution_id());
            assert_eq!(outcomes(&runner).await[1].1, FireOutcome::Started);
        }
        world.gate.open(10);
        in_time(runner.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_whose_executions_fail_pauses_itself_and_is_resumed() {
    let world = World::new();
    let runner = world.open().await;
    let schedules = runner.schedules();
    schedules.put(hourly("broken").pause_after_failures(2)).await.unwrap();
    let state = async || schedules.get("hourly").await.unwrap().state;
    world.pass_until(MINUTE, async || state().await == ScheduleState::Paused).await;
    let info = schedules.get("hourly").await.unwrap();
    assert_eq!((info.failures, info.next), (2, None));
    assert!(info.reason.unwrap().starts_with("2 executions in a row failed"));
    assert_eq!(outcomes(&runner).await.len(), 2);
    world.clock.advance(3 * HOUR);
    schedules.resume("hourly", Missed::Skip).await.unwrap();
    let info = schedules.get("hourly").await.unwrap();
    assert_eq!((info.state, info.failures), (ScheduleState::Active, 0));
    assert!(info.next.unwrap() > world.now());
    assert_eq!(outcomes(&runner).await.last().unwrap().1, FireOutcome::Missed);
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_is_put_again_keeps_its_place_and_one_that_changed_settles_first() {
    let mut world = World::new();
    let mut settings = world.settings();
    settings.submit_only = true;
    let submitter = world.open_with(settings).await;
    let schedules = submitter.schedules();
    schedules.put(hourly("report")).await.unwrap();
    let next = async || schedules.get("hourly").await.unwrap().next;
    world.clock.advance(30 * MINUTE);
    schedules.put(hourly("report")).await.unwrap();
    assert_eq!(next().await, Some(at("2025-06-15T16:00:00Z")));
    // Whoever comes first, this or whoever looks at what is due: the old definition owes one run for both
    // hours, and the new one begins now.
    world.clock.advance(2 * HOUR - 30 * MINUTE);
    schedules.put(hourly("report").cron("*/20 * * * *").unwrap()).await.unwrap();
    assert_eq!(next().await, Some(at("2025-06-15T17:20:00Z")));
    assert_eq!(outcomes(&submitter).await, [("17:00".to_owned(), FireOutcome::Started)]);
    let runner = world.open().await;
    assert_eq!(world.fire().await.missed, 1);
    in_time(runner.shutdown()).await.unwrap();
    in_time(submitter.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schedules_of_an_origin_are_exactly_what_was_applied() {
    let world = World::new();
    let runner = world.open().await;
    let schedules = runner.schedules();
    let new = |name: &str| Schedule::new(name, "quiet").every(HOUR);
    let names = async || {
        let all = schedules.list().await.unwrap();
        all.into_iter().map(|info| info.name).collect::<Vec<_>>()
    };
    schedules.put(new("by hand")).await.unwrap();
    schedules.apply("code", [new("a"), new("b")]).await.unwrap();
    schedules.apply("other", [new("c")]).await.unwrap();
    assert_eq!(names().await, ["a", "b", "by hand", "c"]);
    schedules.apply("code", [new("b"), new("d")]).await.unwrap();
    assert_eq!(names().await, ["b", "by hand", "c", "d"]);
    let error = schedules.apply("code", [new("c"), new("e")]).await.unwrap_err();
    assert_error(&error, ErrorKind::Conflict, "belongs to the origin `other`");
    assert_eq!(names().await, ["b", "by hand", "c", "d"], "all or nothing");
    schedules.apply("code", []).await.unwrap();
    assert_eq!(names().await, ["by hand", "c"]);
    schedules.delete("c").await.unwrap();
    let error = schedules.get("c").await.unwrap_err();
    assert_error(&error, ErrorKind::NotFound, "tenant `acme` has no schedule `c`");
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_starts_one_more_and_leaves_the_times_alone() {
    let mut world = World::new();
    let runner = world.open().await;
    let schedules = runner.schedules();
    schedules.put(hourly("report")).await.unwrap();
    schedules.pause("hourly", "an incident").await.unwrap();
    let Triggered::Started(id) = schedules.trigger("hourly").await.unwrap() else { panic!("it is started") };
    let fire = in_time(world.fires.recv()).await.unwrap();
    assert_eq!((fire.nominal, fire.previous), (world.now(), None));
    in_time(runner.execution(id).wait_for_completion()).await.unwrap();
    let info = schedules.get("hourly").await.unwrap();
    assert_eq!((info.state, info.reason.as_deref()), (ScheduleState::Paused, Some("an incident")));
    schedules.resume("hourly", Missed::Skip).await.unwrap();
    assert_eq!(world.fire().await.nominal, at("2025-06-15T16:00:00Z"));
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_runs_what_did_not_run_in_order_and_few_at_once() {
    let mut world = World::new();
    let runner = world.open().await;
    let schedules = runner.schedules();
    schedules.put(hourly("report")).await.unwrap();
    assert_eq!(world.fire().await.nominal, at("2025-06-15T16:00:00Z"));
    world.clock.advance(Duration::from_secs(1));
    let range = at("2025-06-15T13:00:00Z")..at("2025-06-15T16:00:01Z");
    let planned = schedules.backfill("hourly", range.clone()).dry_run().await.unwrap();
    let hours = ["2025-06-15T13:00:00Z", "2025-06-15T14:00:00Z", "2025-06-15T15:00:00Z"].map(at);
    assert_eq!(planned, hours);
    assert_eq!(schedules.backfill("hourly", range.clone()).start().await.unwrap(), hours);
    for hour in hours {
        let fire = in_time(world.fires.recv()).await.unwrap();
        assert_eq!((fire.nominal, fire.backfill, fire.previous), (hour, true, Some(hour - HOUR)));
    }
    until(async || schedules.get("hourly").await.unwrap().backfilling == 0).await;
    assert_eq!(schedules.backfill("hourly", range.clone()).dry_run().await.unwrap(), []);
    let all = schedules.backfill("hourly", range).redo(Redo::All).running(4).start().await.unwrap();
    assert_eq!(all.len(), 4);
    for _ in all {
        assert!(in_time(world.fires.recv()).await.unwrap().backfill);
    }
    let future = world.now()..world.now() + HOUR;
    let error = schedules.backfill("hourly", future).start().await.unwrap_err();
    assert_error(&error, ErrorKind::Configuration, "reaches into the future");
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_ends_after_its_last_time_or_its_last_execution() {
    let mut world = World::new();
    let runner = world.open().await;
    let schedules = runner.schedules();
    let input = || Context::new().with("kind", "full");
    let past = Schedule::new("past", "report").at(at("2025-06-15T15:00:00Z")).input(input());
    schedules.put(past.clone()).await.unwrap();
    assert_eq!(in_time(world.fires.recv()).await.unwrap().nominal, at("2025-06-15T15:00:00Z"));
    schedules.put(past).await.unwrap();
    assert_eq!(schedules.get("past").await.unwrap().state, ScheduleState::Done);
    schedules.put(hourly("report").at_most(2)).await.unwrap();
    assert_eq!(world.fire().await.nominal, at("2025-06-15T16:00:00Z"));
    assert_eq!(world.fire().await.nominal, at("2025-06-15T17:00:00Z"));
    assert_eq!(schedules.get("hourly").await.unwrap().state, ScheduleState::Done);
    world.clock.advance(3 * HOUR);
    assert_eq!(outcomes(&runner).await.len(), 2);
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_runners_start_each_time_once() {
    let world = World::new();
    let runners = [world.open().await, world.open().await, world.open().await];
    let each_minute = |name: &str| {
        let schedule = Schedule::new(name, "quiet").cron("* * * * *").unwrap();
        schedule.catch_up(CatchUp::All).window(24 * HOUR).overlap(Overlap::Allow)
    };
    for n in 0..4 {
        runners[n % 3].schedules().put(each_minute(&n.to_string())).await.unwrap();
    }
    let count = async |name: &str| {
        let fires = runners[0].schedules().fires(name, None, 1_000).await.unwrap();
        assert!(fires.iter().all(|fire| fire.outcome == FireOutcome::Started), "{fires:?}");
        fires.len()
    };
    world.pass_until(7 * Duration::from_secs(1), async || count("0").await >= 60).await;
    until(async || {
        let mut counts = Vec::new();
        for n in 0..4 {
            counts.push(count(&n.to_string()).await);
        }
        counts.iter().all(|other| *other == counts[0])
    })
    .await;
    let all = runners[0].list(ExecutionFilter::all(), None, 10_000).await.unwrap();
    assert_eq!(all.len(), 4 * count("0").await);
    for runner in runners {
        in_time(runner.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_with_as_many_executions_as_it_may_have_is_tried_again() {
    let world = World::new();
    let mut settings = world.settings();
    settings.max_queue_length = Some(1);
    let runner = world.open_with(settings).await;
    runner.execute_async("gated", Context::new()).await.unwrap();
    world.gate.started().await;
    runner.schedules().put(hourly("quiet")).await.unwrap();
    assert_eq!(runner.schedules().trigger("hourly").await.unwrap(), Triggered::Refused);
    let refused = ("16:00".to_owned(), FireOutcome::Refused);
    world.pass_until(MINUTE, async || outcomes(&runner).await.contains(&refused)).await;
    world.gate.open(1);
    let started = ("16:00".to_owned(), FireOutcome::Started);
    world.pass_until(Duration::from_secs(1), async || outcomes(&runner).await.contains(&started)).await;
    in_time(runner.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_schedule_cannot_say_is_refused() {
    let world = World::new();
    let runner = world.open().await;
    let put = async |schedule: Schedule| runner.schedules().put(schedule).await.unwrap_err();
    for (schedule, words) in [
        (Schedule::new("s", "w"), "has no time"),
        (Schedule::new("", "w").every(HOUR), "the name of a schedule is empty"),
        (Schedule::new("x".repeat(201), "w").every(HOUR), "longer than 200 bytes"),
        (Schedule::new("s", "cloacina/w").every(HOUR), "the name of the workflow begins with"),
        (Schedule::new("s", "w").every(Duration::from_secs(5)), "min_schedule_period"),
        (Schedule::new("s", "w").cron("0 0 31 2 *").unwrap(), "never fires within ten years"),
        (Schedule::new("s", "w").every(HOUR).priority(10), "priority 10 is above 9"),
    ] {
        assert_error(&put(schedule).await, ErrorKind::Configuration, words);
    }
    let nan = Schedule::new("s", "w").every(HOUR).input(Context::new().with("x", f64::NAN));
    assert_error(&put(nan).await, ErrorKind::Context, "x");
    let unknown = runner.schedules().trigger("nobody").await.unwrap_err();
    assert_error(&unknown, ErrorKind::NotFound, "nobody");
    let forged = Context::new().with("cloacina/schedule", 1);
    let error = runner.execute_async("quiet", forged).await.unwrap_err();
    assert_error(&error, ErrorKind::Context, "which is the engine's");
    let _: Uuid = runner.execute_async("quiet", Context::new()).await.unwrap().execution_id;
    in_time(runner.shutdown()).await.unwrap();
}
