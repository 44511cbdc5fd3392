//! All that was said in this program.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{LazyLock, Mutex};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};
use uuid::Uuid;

use crate::support::{Database, in_time};

static HEARD: Mutex<Vec<Said>> = Mutex::new(Vec::new());
static COUNT: LazyLock<watch::Sender<usize>> = LazyLock::new(|| {
    // Others write what they are given at these levels.
    let filter = EnvFilter::new("off,cloacina=trace,says=trace");
    tracing_subscriber::registry().with(Ear.with_filter(filter)).init();
    watch::Sender::new(0)
});

/// An event.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) level: Level,
    pub(crate) fields: Fields,
    /// Those of the spans around it.
    pub(crate) around: Fields,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(BTreeMap<&'static str, String>);

impl Fields {
    /// What stands in a field; nothing if it is not there.
    pub(crate) fn of(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl Said {
    /// All of it.
    pub(crate) fn text(&self) -> String {
        let mut text = self.level.to_string();
        for (name, value) in self.fields.0.iter().chain(&self.around.0) {
            write!(text, " {name}={value}").unwrap();
        }
        text
    }

    pub(crate) fn is(&self, level: Level, tenant: &str, words: &str) -> bool {
        self.level == level && self.fields.of("tenant") == tenant && self.fields.of("message").contains(words)
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

struct Ear;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut said =
            Said { level: *event.metadata().level(), fields: Fields::default(), around: Fields::default() };
        event.record(&mut said.fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                said.around.0.extend(fields.0.clone());
            }
        }
        HEARD.lock().unwrap().push(said);
        COUNT.send_modify(|count| *count += 1);
    }
}

/// Listens from now on.
pub(crate) fn listen() {
    LazyLock::force(&COUNT);
}

/// A place of a tenant whose name nobody else has.
pub(crate) fn tenant_of(database: &Database) -> (Database, String) {
    listen();
    let name = format!("t{}", Uuid::now_v7().simple());
    (database.of(&name), name)
}

/// All that was said so far for which this holds.
pub(crate) fn all(holds: impl Fn(&Said) -> bool) -> Vec<Said> {
    HEARD.lock().unwrap().iter().filter(|said| holds(said)).cloned().collect()
}

/// Waits until something is said for which this holds.
pub(crate) async fn said(holds: impl Fn(&Said) -> bool) -> Said {
    let mut count = COUNT.subscribe();
    in_time(async {
        loop {
            count.borrow_and_update();
            if let Some(said) = all(&holds).into_iter().next() {
                return said;
            }
            count.changed().await.unwrap();
        }
    })
    .await
}
