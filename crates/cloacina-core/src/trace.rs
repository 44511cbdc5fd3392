//! Traces over processes and days: who submitted an execution, and which attempts belong to it.
//!
//! The W3C trace context of the span in which an execution was submitted lies in its [origin](crate::origin).
//! With the feature `opentelemetry` a span of its own is made there, and every attempt begins in its trace as
//! long as that is short: later attempts begin traces of their own that are linked to it, because a trace
//! that goes on for days is shown, sampled and stored badly.

use std::sync::Arc;
use std::time::Duration;

/// For how long after its submission the attempts of an execution belong to the trace of that.
const SAME_TRACE: Duration = Duration::from_secs(300);

/// How many bytes a trace context of the version 00 has.
const LENGTH: usize = 55;

/// A W3C trace context, if the text is one that can be gone on with: `00-<trace>-<span>-<flags>`, in small
/// hexadecimal digits. Source: <https://www.w3.org/TR/trace-context/#traceparent-header>, section 3.2.
pub(crate) fn traceparent(text: &str) -> Option<Arc<str>> {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = *parts else { return None };
    let is_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|byte| byte != b'0');
    let is_one =
        text.len() == LENGTH && version == "00" && is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2);
    is_one.then(|| text.into())
}

/// How an attempt belongs to the trace of its execution's submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// It is a part of it.
    Within(Arc<str>),
    /// It begins one of its own, which is linked to it.
    Linked(Arc<str>),
}

impl Belongs {
    /// Of an execution that is so old, and of which a wait is over or not.
    pub(crate) fn new(trace: Arc<str>, age: Duration, has_waited: bool) -> Self {
        if has_waited || age > SAME_TRACE { Self::Linked(trace) } else { Self::Within(trace) }
    }
}

#[cfg(not(feature = "opentelemetry"))]
mod spans {
    use std::sync::Arc;

    use super::Belongs;
    use crate::execution::AttemptOutcome;

    /// An execution is submitted: by which trace context its attempts are to be found.
    pub(crate) fn submitted(_workflow: &str, given: Option<Arc<str>>) -> Option<Arc<str>> {
        given
    }

    /// The span of an attempt, as long as its end is not told.
    #[derive(Debug, Default)]
    pub(crate) struct AttemptSpan {}

    impl AttemptSpan {
        /// The attempt begins in this span.
        pub(crate) fn begins(
            &self,
            _span: &tracing::Span,
            _task: &str,
            _workflow: &str,
            _of: Option<&Belongs>,
        ) {
        }

        /// It ended.
        pub(crate) fn ends(&self, _outcome: AttemptOutcome, _error: Option<&str>) {}
    }
}

#[cfg(feature = "opentelemetry")]
mod spans {
    use std::str::FromStr;
    use std::sync::{Arc, OnceLock};

    use opentelemetry::trace::{
        SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    };
    use tracing::{Span, info_span};
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    use super::Belongs;
    use crate::execution::AttemptOutcome;

    /// The name of the engine as a system that passes messages on, in the words of OpenTelemetry.
    const SYSTEM: (&str, &str) = ("messaging.system", "cloacina");
    const DESTINATION: &str = "messaging.destination.name";

    /// An execution is submitted: by which trace context its attempts are to be found. That of a span which
    /// is made here, below the one that the caller is in or that was given; if there is no layer that wants
    /// it, the given one.
    pub(crate) fn submitted(workflow: &str, given: Option<Arc<str>>) -> Option<Arc<str>> {
        let span = info_span!("submit", workflow, otel.kind = "producer");
        if let Some(parent) = given.as_deref().and_then(remote) {
            // Refused where nobody wants spans: then nothing is made either.
            let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
        }
        named(&span, "submit", workflow, workflow);
        stored(&span).or(given)
    }

    /// The trace context of a span, if it has one.
    fn stored(span: &Span) -> Option<Arc<str>> {
        let context = span.context();
        let span = context.span();
        let of = span.span_context();
        let (trace, id, flags) = (of.trace_id(), of.span_id(), of.trace_flags().to_u8());
        of.is_valid().then(|| format!("00-{trace}-{id}-{flags:02x}").into())
    }

    /// A stored trace context as that of a span in another process.
    fn remote(stored: &str) -> Option<SpanContext> {
        let stored = super::traceparent(stored)?;
        let mut parts = stored.split('-').skip(1);
        let trace = TraceId::from_hex(parts.next()?).ok()?;
        let span = SpanId::from_hex(parts.next()?).ok()?;
        let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
        let state = TraceState::from_str("").unwrap_or_default();
        Some(SpanContext::new(trace, span, TraceFlags::new(flags), true, state))
    }

    /// Says what a span is about, as OpenTelemetry names it. The span begins by that.
    fn named(span: &Span, verb: &str, object: &str, workflow: &str) {
        span.set_attribute(SYSTEM.0, SYSTEM.1);
        span.set_attribute(DESTINATION, workflow.to_owned());
        span.context().span().update_name(format!("{verb} {object}"));
    }

    /// The span of an attempt, as long as its end is not told.
    #[derive(Debug, Default)]
    pub(crate) struct AttemptSpan(OnceLock<Span>);

    impl AttemptSpan {
        /// The attempt begins in this span.
        pub(crate) fn begins(&self, span: &Span, task: &str, workflow: &str, of: Option<&Belongs>) {
            if span.is_disabled() {
                return;
            }
            span.record("otel.kind", "consumer");
            match of {
                Some(Belongs::Within(trace)) => {
                    if let Some(parent) = remote(trace) {
                        let parent = opentelemetry::Context::new().with_remote_span_context(parent);
                        let _ = span.set_parent(parent);
                    }
                }
                Some(Belongs::Linked(trace)) => {
                    if let Some(linked) = remote(trace) {
                        span.add_link(linked);
                    }
                }
                None => {}
            }
            named(span, "run", task, workflow);
            // It begins once.
            let _ = self.0.set(span.clone());
        }

        /// It ended.
        pub(crate) fn ends(&self, outcome: AttemptOutcome, error: Option<&str>) {
            let Some(span) = self.0.get() else { return };
            span.set_attribute("cloacina.outcome", outcome.as_str());
            if let Some(error) = error {
                span.set_status(Status::error(error.to_owned()));
            }
        }
    }
}

pub(crate) use spans::{AttemptSpan, submitted};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_context_that_can_be_gone_on_with_is_one() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(good).as_deref(), Some(good));
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319ü-7ad6b7169203331-01",
        ] {
            assert_eq!(traceparent(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_trace_ends_with_a_wait_and_after_a_while() {
        let of = |age, waited| Belongs::new("t".into(), age, waited);
        assert_eq!(of(SAME_TRACE, false), Belongs::Within("t".into()));
        assert_eq!(of(SAME_TRACE + Duration::from_nanos(1), false), Belongs::Linked("t".into()));
        assert_eq!(of(Duration::ZERO, true), Belongs::Linked("t".into()));
    }
}
