//! Random histories: processes submit, claim, run, lose answers, are declared dead, cancel each other's
//! executions, and those whose deadline has passed.
//!
//! A usual run plays 2,000 histories; `CLOACINA_HISTORIES` says how many, or which (`17..18`).

use std::ops::Range;

use fastrand::Rng;

use super::world::{Process, World, at, outcome};
use crate::execution::ExecutionStatus;
use crate::id::ExecutionId;
use crate::store::{Control, DueKind};

/// How many steps of trouble a history has.
const TROUBLE: usize = 60;

/// In how many steps everything has to end once nobody makes trouble any more.
const PATIENCE: usize = 2_000;

#[test]
fn every_execution_ends_once_and_whoever_waits_for_it_is_told() {
    for seed in seeds() {
        if let Err(panic) = std::panic::catch_unwind(|| play(seed)) {
            eprintln!(
                "the history of seed {seed} went wrong; repeat it with CLOACINA_HISTORIES={seed}..{}",
                seed + 1
            );
            std::panic::resume_unwind(panic);
        }
    }
}

fn seeds() -> Range<u64> {
    let Ok(seeds) = std::env::var("CLOACINA_HISTORIES") else { return 0..2_000 };
    let (first, end) = seeds.split_once("..").unwrap_or(("0", &seeds));
    let number =
        |text: &str| text.parse().expect("CLOACINA_HISTORIES is a number, or two with `..` between them");
    number(first)..number(end)
}

fn play(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new();
    let mut processes: Vec<Process> = (0..rng.usize(1..=3)).map(|_| world.process()).collect();
    let mut executions: Vec<ExecutionId> = Vec::new();
    for _ in 0..TROUBLE {
        let number = rng.usize(0..processes.len());
        if rng.u32(0..60) == 0 {
            crash(&mut world, &mut processes, number);
            continue;
        }
        let process = &mut processes[number];
        match rng.u32(0..24) {
            0..=3 if executions.len() < 8 => {
                let workflow = rng.usize(0..world.workflows.len());
                let how = (rng.bool(), rng.bool());
                let deadline = (rng.u32(0..4) == 0).then(|| world.now + rng.i64(0..12));
                executions.push(process.submit_until(&world, workflow, how, deadline));
            }
            4 => world.now += 1,
            5 => process.lose_the_answer(&mut world),
            6 if rng.u32(0..4) == 0 => world.rescue(process.runner()),
            7 | 8 => {
                if let Some(execution) = rng.choice(&executions).copied() {
                    let control = match rng.u32(0..4) {
                        0 => Control::Cancel { reason: "why not".to_owned() },
                        1 => Control::Pause,
                        _ => Control::Resume,
                    };
                    if world.control(execution, &control) {
                        processes.iter_mut().for_each(|process| process.notices.extend([execution]));
                    }
                }
            }
            10 => settle_due(&mut world, &mut processes, number),
            9 => {
                let recorded = executions.iter().copied().filter(|id| world.status(*id).is_some());
                if let Some(execution) = rng.choice(recorded.collect::<Vec<_>>()) {
                    process.wait(&world, execution);
                }
            }
            _ => step(&mut world, process, &mut rng),
        }
    }
    calm(&mut world, &mut processes, &executions, &mut rng);
    check(&world, &mut processes, &executions);
}

/// One thing that an engine does by itself.
fn step(world: &mut World, process: &mut Process, rng: &mut Rng) {
    match rng.u32(0..9) {
        0 | 1 => process.flush(world),
        2 | 3 => process.take_over(world),
        4 => {
            if let Some(attempt) = rng.choice(process.running.keys().copied().collect::<Vec<_>>()) {
                process.end(attempt, outcome(rng));
            }
        }
        5 => process.claim(rng.usize(1..=4)),
        6 => {
            if rng.bool() {
                process.hear();
            }
            process.audit(world);
        }
        7 => process.poll(world),
        _ => {
            process.load(world);
            process.resolve(world);
        }
    }
}

/// A process takes due rows, and the others hear of it.
fn settle_due(world: &mut World, processes: &mut [Process], number: usize) {
    let expired = processes[number].settle_due(world);
    processes.iter_mut().for_each(|process| process.notices.extend(&expired));
}

/// A process is killed; another is started in its place, and takes its work back.
fn crash(world: &mut World, processes: &mut [Process], number: usize) {
    let runner = processes[number].runner();
    processes[number] = world.process();
    world.rescue(runner);
}

/// Nobody makes trouble any more, and everything comes to its end.
fn calm(world: &mut World, processes: &mut [Process], executions: &[ExecutionId], rng: &mut Rng) {
    for execution in executions {
        if world.control(*execution, &Control::Resume) {
            processes.iter_mut().for_each(|process| process.notices.extend([*execution]));
        }
    }
    for _ in 0..PATIENCE {
        world.now += 1;
        settle_due(world, processes, rng.usize(0..processes.len()));
        let mut idle = true;
        for process in processes.iter_mut() {
            process.flush(world);
            process.take_over(world);
            process.load(world);
            process.resolve(world);
            if let Some(attempt) = rng.choice(process.running.keys().copied().collect::<Vec<_>>()) {
                process.end(attempt, outcome(rng));
            }
            process.audit_held(world);
            process.hear();
            process.audit(world);
            process.poll(world);
            // The bell rings.
            process.place.state().claiming.note_any();
            process.claim(4);
            idle &= process.waiting.is_empty() || process.waiting.len() == 1;
            idle &= process.place.state().work.is_idle() && process.place.state().waiters.is_empty();
        }
        let over = |id: &ExecutionId| world.status(*id).is_none_or(ExecutionStatus::is_terminal);
        if idle && executions.iter().all(over) {
            let next = world.rows.lower(DueKind::ALL, at(world.now));
            assert_eq!(next.due, None, "what is over has nothing due");
            for process in processes.iter_mut() {
                // The first flush may find that its runner was declared dead.
                (0..2).for_each(|_| process.flush(world));
                process.take_over(world);
            }
            return;
        }
    }
    panic!("not everything came to its end");
}

fn check(world: &World, processes: &mut [Process], executions: &[ExecutionId]) {
    for execution in executions {
        // One that was not recorded was on its way in a process that was killed.
        assert!(world.status(*execution).is_none_or(ExecutionStatus::is_terminal));
    }
    for process in processes {
        {
            let state = process.place.state();
            assert!(state.is_idle(), "nothing is held");
            assert!(state.work.live.is_empty(), "nothing is remembered that nobody needs");
            assert!(state.waiters.is_empty() && state.waiters.next_poll().is_none());
        }
        assert!(process.running.is_empty());
        assert_eq!(process.place.slots.used(), 0, "every slot came back");
        for waits in &mut process.waiters {
            let status = world.status(waits.execution).expect("only what is recorded is waited for");
            let result = waits.result().expect("whoever waits is told");
            assert_eq!(result.status, status);
        }
        for (execution, handle) in &process.handles {
            if let Some(result) = handle.get().and_then(|ended| ended.result()) {
                assert_eq!(Some(result.status), world.status(*execution), "a handle remembers the truth");
            }
        }
    }
}
