//! What the engine records right before a transaction is committed.

use cloacina_core::id::ExecutionId;
use cloacina_core::store::{Flushed, NewExecution, NewSignal, SignalSent, SignalTarget};
use cloacina_core::{Deferred, Submitter};
use tracing::{info, warn};

/// What waits for the commit, each in the order in which it was asked for.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) executions: Vec<Deferred>,
    pub(super) signals: Vec<NewSignal>,
}

/// How much waited at some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    executions: usize,
    signals: usize,
}

/// What was written of it, before the commit.
#[derive(Default)]
pub(super) struct Written {
    pub(super) executions: Vec<Deferred>,
    /// Those that were addressed to somebody.
    pub(super) signals: Vec<(ExecutionId, NewSignal)>,
    /// What became of each of those.
    pub(super) sent: Vec<SignalSent>,
    /// The addresses under which nothing was found.
    pub(super) lost: Vec<NewSignal>,
    pub(super) flushed: Option<Flushed>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.executions.is_empty() && self.signals.is_empty()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { executions: self.executions.len(), signals: self.signals.len() }
    }

    pub(super) fn back_to(&mut self, mark: Mark) {
        self.executions.truncate(mark.executions);
        self.signals.truncate(mark.signals);
    }

    /// The execution of a workflow that waits under this idempotency key, and the hash of its input.
    pub(super) fn find(&self, workflow: &str, key: &str) -> Option<(ExecutionId, i64)> {
        self.executions.iter().find_map(|deferred| {
            let NewExecution { id, workflow: of, idempotency, .. } = &**deferred.execution();
            let known = idempotency.as_ref().filter(|known| known.key == key)?;
            (&*of.name == workflow).then_some((*id, known.input_hash))
        })
    }
}

impl Written {
    /// It was committed: the engine looks at what it left, and says which signals had no effect.
    pub(super) fn committed(self, tenant: &str, submitter: Option<&Submitter>) -> Option<Flushed> {
        let Self { executions, signals, mut sent, lost, flushed } = self;
        if let Some(flushed) = &flushed {
            Deferred::committed(executions, flushed.now);
        }
        for ((execution, NewSignal { name, .. }), sent) in signals.iter().zip(&sent) {
            let problem = match sent {
                SignalSent::AlreadyOver(..) => {
                    info!(tenant, %execution, signal = &**name, "a signal of a transaction came when the execution was over");
                    continue;
                }
                SignalSent::NotFound => "there is no such execution",
                SignalSent::NotAChoice(_) => "it brings none of the choices that are asked for",
                SignalSent::TooMany(_) => "10,000 signals of the execution wait to be taken",
                _ => continue,
            };
            warn!(tenant, %execution, signal = &**name, "a signal of a transaction had no effect: {problem}");
        }
        for NewSignal { name, target, .. } in lost {
            let SignalTarget::Key { workflow, .. } = target else { continue };
            warn!(
                tenant,
                workflow = &*workflow,
                signal = &*name,
                "a signal of a transaction had no effect: the workflow has no execution under that key"
            );
            sent.push(SignalSent::NotFound);
        }
        if let Some(submitter) = submitter.filter(|_| !sent.is_empty()) {
            submitter.signalled(&sent);
        }
        flushed
    }

    /// Only the database knows whether it was committed.
    pub(super) fn unknown(self, submitter: Option<&Submitter>) {
        Deferred::unknown(self.executions);
        if let Some(submitter) = submitter.filter(|_| !self.signals.is_empty()) {
            submitter.signalled(&[]);
        }
    }
}
