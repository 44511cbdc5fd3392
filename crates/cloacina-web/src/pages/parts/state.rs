//! States: a colour, a shape and a word, always all three.

use std::borrow::Cow;

use cloacina::{AttemptOutcome, ExecutionStatus, FireOutcome, ScheduleState, TaskState, Waiting};
use maud::{Markup, PreEscaped, Render, html};

macro_rules! icons {
    ($($name:ident $id:literal $path:literal)+) => {
        /// The shape of a state.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Icon { $($name,)+ }

        impl Icon {
            const ALL: &'static [Self] = &[$(Self::$name,)+];

            pub(crate) fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            fn path(self) -> &'static str {
                match self { $(Self::$name => $path,)+ }
            }
        }
    };
}

icons! {
    Ask "ask" r#"<path d="M1.5 2h9v6.2H6.2L3.6 10.6V8.2H1.5zM4 4.3h4M4 6h2.4"/>"#
    Cancelled "cancelled" r#"<circle cx="6" cy="6" r="4.5"/><path d="M2.9 9.1 9.1 2.9"/>"#
    Child "child" r#"<path d="M2.8 1.2v5.3a2 2 0 0 0 2 2h5M7.6 6.2l2.4 2.3-2.4 2.3"/>"#
    Done "done" r#"<path stroke-width="1.8" d="M2 6.6 4.8 9.3 10 3"/>"#
    Failed "failed" r#"<path stroke-width="2.2" d="m2.6 2.6 6.8 6.8M9.4 2.6 2.6 9.4"/>"#
    Lost "lost" r#"<circle cx="6" cy="6" r="4.5" stroke-dasharray="4.2 2.87"/><path stroke-width="2" d="M6 6h.01"/>"#
    Map "map" r#"<rect x="3.6" y="3.6" width="7" height="7" rx="1"/><path d="M1.4 8V2.4a1 1 0 0 1 1-1H8"/>"#
    Paused "paused" r#"<path stroke-width="2.4" d="M4 2.6v6.8M8 2.6v6.8"/>"#
    Pending "pending" r#"<circle cx="6" cy="6" r="4.25"/>"#
    Retry "retry" r#"<path d="M10 6a4 4 0 1 1-1.3-3M9.2.8v2.6H6.6"/>"#
    Running "running" r#"<path fill="currentColor" d="M3.4 2 10 6 3.4 10z"/>"#
    Signal "signal" r#"<path d="M1.5 6h5.2M4.6 3.4 7.2 6 4.6 8.6M10.2 1.8v8.4"/>"#
    Skipped "skipped" r#"<path d="m2 2.8 3.2 3.2L2 9.2M6.4 2.8 9.6 6 6.4 9.2"/>"#
    Slot "slot" r#"<path d="M1.8 3h8.4M1.8 6h8.4M1.8 9h3"/>"#
    Tenant "tenant" r#"<rect x="1.4" y="1.4" width="9.2" height="9.2" rx="1.5"/><path d="M4.7 4.2v3.6M7.3 4.2v3.6"/>"#
    Timer "timer" r#"<circle cx="6" cy="6" r="4.75"/><path d="M6 3.3V6l1.9 1.3"/>"#
    Version "version" r#"<path d="M1.8 1.8h3.9l4.7 4.7-3.9 3.9-4.7-4.7zM1.2 11 11 1.2"/>"#
    Warn "warn" r#"<path d="M6 1.4 11.2 10.6H.8zM6 5v2.4M6 9h.01"/>"#
}

impl Render for Icon {
    fn render(&self) -> Markup {
        html! { svg.i aria-hidden="true" { use href=(format!("#i-{}", self.id())) {} } }
    }
}

/// The shapes that a page uses, once.
pub(crate) fn symbols(page: &str) -> Markup {
    let used = Icon::ALL.iter().filter(|icon| page.contains(&format!("\"#i-{}\"", icon.id())));
    html! {
        svg.vh aria-hidden="true" {
            @for icon in used {
                symbol id=(format!("i-{}", icon.id())) viewBox="0 0 12 12" { (PreEscaped(icon.path())) }
            }
        }
    }
}

/// How a state is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    /// Its colour: the name of a class.
    pub(crate) class: &'static str,
    pub(crate) icon: Icon,
    pub(crate) word: Cow<'static, str>,
}

impl Look {
    pub(crate) const fn new(class: &'static str, icon: Icon, word: &'static str) -> Self {
        Self { class, icon, word: Cow::Borrowed(word) }
    }

    /// With another word.
    pub(crate) fn word(mut self, word: impl Into<Cow<'static, str>>) -> Self {
        self.word = word.into();
        self
    }

    /// As the heading of one object.
    pub(crate) fn big(&self) -> Markup {
        html! { span class={ "st big " (self.class) } { (self.icon) (self.word) } }
    }
}

impl Render for Look {
    fn render(&self) -> Markup {
        html! { span class={ "st " (self.class) } { (self.icon) (self.word) } }
    }
}

pub(crate) const PENDING: Look = Look::new("none", Icon::Pending, "Pending");
pub(crate) const RUNNING: Look = Look::new("work", Icon::Running, "Running");
pub(crate) const RETRYING: Look = Look::new("mind", Icon::Retry, "Retrying");
pub(crate) const LOST: Look = Look::new("mind", Icon::Lost, "Lost");
pub(crate) const PAUSED: Look = Look::new("stop", Icon::Paused, "Paused");
pub(crate) const COMPLETED: Look = Look::new("done", Icon::Done, "Completed");
pub(crate) const FAILED: Look = Look::new("fail", Icon::Failed, "Failed");
pub(crate) const CANCELLED: Look = Look::new("none", Icon::Cancelled, "Cancelled");
pub(crate) const SKIPPED: Look = Look::new("none", Icon::Skipped, "Skipped");
pub(crate) const WAITS: Look = Look::new("wait", Icon::Timer, "Waits");
pub(crate) const WAITS_FOR_TIMER: Look = Look::new("wait", Icon::Timer, "Waits for timer");
pub(crate) const WAITS_FOR_SIGNAL: Look = Look::new("wait", Icon::Signal, "Waits for signal");
pub(crate) const WAITS_FOR_ANSWER: Look = Look::new("wait", Icon::Ask, "Waits for approval");
pub(crate) const WAITS_FOR_CHILD: Look = Look::new("wait", Icon::Child, "Waits for child");
pub(crate) const WAITS_FOR_SLOT: Look = Look::new("wait", Icon::Slot, "Waits for slot");
pub(crate) const WAITS_FOR_VERSION: Look = Look::new("mind", Icon::Version, "Waits for version");
pub(crate) const SUSPENDED: Look = Look::new("stop", Icon::Tenant, "Tenant suspended");
pub(crate) const ACTIVE: Look = Look::new("none", Icon::Done, "Active");

pub(crate) fn of_execution(status: ExecutionStatus) -> Look {
    match status {
        ExecutionStatus::Pending => PENDING,
        ExecutionStatus::Running => RUNNING,
        ExecutionStatus::Waiting => WAITS,
        ExecutionStatus::Paused => PAUSED,
        ExecutionStatus::Completed => COMPLETED,
        ExecutionStatus::Failed => FAILED,
        ExecutionStatus::Cancelled => CANCELLED,
    }
}

pub(crate) fn of_task(state: TaskState) -> Look {
    match state {
        TaskState::Pending => PENDING,
        TaskState::Waiting => WAITS,
        TaskState::Ready => WAITS_FOR_SLOT,
        TaskState::Running => RUNNING,
        TaskState::Completed => COMPLETED,
        TaskState::Failed => FAILED,
        TaskState::Skipped => SKIPPED,
        TaskState::Cancelled => CANCELLED,
    }
}

pub(crate) fn of_wait(wait: &Waiting) -> Look {
    match (&wait.ask, &wait.signal) {
        (Some(_), _) => WAITS_FOR_ANSWER,
        (None, Some(_)) => WAITS_FOR_SIGNAL,
        (None, None) => WAITS_FOR_TIMER,
    }
}

pub(crate) fn of_attempt(outcome: AttemptOutcome) -> Look {
    match outcome {
        AttemptOutcome::Completed => COMPLETED,
        AttemptOutcome::Failed => FAILED,
        AttemptOutcome::Panicked => FAILED.word("Panicked"),
        AttemptOutcome::TimedOut => FAILED.word("Timed out"),
        AttemptOutcome::Snoozed => WAITS_FOR_TIMER.word("Snoozed"),
        AttemptOutcome::Lost => LOST,
        AttemptOutcome::Released => PENDING.word("Given back"),
        AttemptOutcome::Cancelled => CANCELLED,
        AttemptOutcome::Running => RUNNING,
    }
}

pub(crate) fn of_schedule(state: ScheduleState) -> Look {
    match state {
        ScheduleState::Active => Look::new("none", Icon::Timer, "Active"),
        ScheduleState::Paused => PAUSED,
        ScheduleState::Done => COMPLETED.word("Ended"),
        ScheduleState::Broken => FAILED.word("Broken"),
        other => PENDING.word(other.as_str().to_owned()),
    }
}

pub(crate) fn of_fire(outcome: FireOutcome) -> Look {
    match outcome {
        FireOutcome::Started => COMPLETED.word("Started"),
        FireOutcome::Repeated => COMPLETED.word("Was there"),
        FireOutcome::Skipped => SKIPPED,
        FireOutcome::Missed => Look::new("mind", Icon::Warn, "Missed"),
        FireOutcome::Buffered => WAITS_FOR_SLOT.word("Buffered"),
        FireOutcome::Dropped => Look::new("mind", Icon::Cancelled, "Dropped"),
        FireOutcome::Refused => FAILED.word("Refused"),
        other => PENDING.word(other.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_colour_a_shape_and_a_word_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        let executions = ExecutionStatus::ALL.iter().map(|status| of_execution(*status));
        for look in executions {
            assert!(["none", "work", "done", "fail", "mind", "wait", "stop"].contains(&look.class));
            assert!(seen.insert((look.icon.id(), look.word.clone())), "{look:?}");
        }
        let fires: Vec<_> = FireOutcome::ALL.iter().map(|outcome| of_fire(*outcome).word).collect();
        for (position, word) in fires.iter().enumerate() {
            assert!(!fires[..position].contains(word), "{word}");
        }
    }

    #[test]
    fn a_page_brings_the_shapes_that_it_uses_and_no_others() {
        let body = html! { (COMPLETED) (FAILED) }.into_string();
        let symbols = symbols(&body).into_string();
        assert!(symbols.contains("id=\"i-done\"") && symbols.contains("id=\"i-failed\""), "{symbols}");
        assert_eq!(symbols.matches("<symbol").count(), 2);
        assert!(body.contains("<span class=\"st fail\"><svg class=\"i\" aria-hidden=\"true\">"), "{body}");
    }
}
