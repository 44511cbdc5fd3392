//! Which tenants the metrics of the process name.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metrics::{Counter, counter};
use parking_lot::Mutex;

/// Which tenants the metrics of the process name. The others are counted together, as `other`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TenantLabel {
    /// None: no series has a label `tenant`, however many tenants there are.
    #[default]
    Off,
    /// These.
    Listed(BTreeSet<String>),
    /// Those that use the slots of this process most, so many at a time. It is looked every minute who they
    /// are. In its life a process names ten times as many at most, because a series cannot be taken back.
    Top(usize),
}

/// Has the metrics of the process name tenants, in `cloacina_tenant_slot_seconds_total`. What was counted
/// before stays as it is.
pub fn label_tenants(label: TenantLabel) {
    ON.store(label != TenantLabel::Off, Ordering::Relaxed);
    *SLOT_TIME.lock() = Some(SlotTime::new(label, Instant::now()));
}

static ON: AtomicBool = AtomicBool::new(false);
static SLOT_TIME: Mutex<Option<SlotTime>> = Mutex::new(None);

/// A task of a tenant held a slot for so long.
pub(crate) fn used_slot(tenant: &str, took: Duration) {
    if ON.load(Ordering::Relaxed)
        && let Some(slot_time) = &mut *SLOT_TIME.lock()
    {
        slot_time.add(tenant, took.as_secs_f64(), Instant::now());
    }
}

/// How long it takes until it is looked again who uses most.
const RANKED: Duration = Duration::from_secs(60);

/// How many tenants are named in all, for each that is at a time.
const NAMED: usize = 10;

/// What a tenant used that is forgotten, in seconds.
const LITTLE: f64 = 0.001;

/// The label of all tenants without one, and of one that is called so.
const OTHER: &str = "other";

/// Who used the slots of the process, and whom the metrics name.
#[derive(Debug)]
struct SlotTime {
    label: TenantLabel,
    /// What each used lately: half of it is forgotten every minute.
    lately: HashMap<String, f64>,
    /// Those that are named now, and all that ever were.
    named: BTreeSet<String>,
    ever: BTreeSet<String>,
    /// The series of a label, and what is not counted in it yet: a counter counts whole seconds.
    counters: HashMap<String, (Counter, f64)>,
    ranked: Instant,
}

impl SlotTime {
    fn new(label: TenantLabel, now: Instant) -> Self {
        let named = match &label {
            TenantLabel::Listed(listed) => listed.clone(),
            _ => BTreeSet::new(),
        };
        let (lately, counters) = (HashMap::new(), HashMap::new());
        Self { label, lately, ever: named.clone(), named, counters, ranked: now }
    }

    fn add(&mut self, tenant: &str, seconds: f64, now: Instant) {
        if let TenantLabel::Top(most) = self.label {
            match self.lately.get_mut(tenant) {
                Some(lately) => *lately += seconds,
                None => {
                    self.lately.insert(tenant.to_owned(), seconds);
                }
            }
            if now.duration_since(self.ranked) >= RANKED {
                self.ranked = now;
                self.rank(most);
            } else if self.named.len() < most {
                self.name(tenant, most);
            }
        }
        let label = if self.named.contains(tenant) { tenant } else { OTHER };
        self.spend(label, seconds);
    }

    fn spend(&mut self, label: &str, seconds: f64) {
        if !self.counters.contains_key(label) {
            let new = counter!("cloacina_tenant_slot_seconds_total", "tenant" => label.to_owned());
            self.counters.insert(label.to_owned(), (new, 0.0));
        }
        if let Some((counter, rest)) = self.counters.get_mut(label) {
            *rest += seconds;
            let whole = rest.trunc();
            *rest -= whole;
            counter.increment(whole as u64);
        }
    }

    /// Names those who used most lately, and forgets half of what everybody used.
    fn rank(&mut self, most: usize) {
        let mut first: Vec<(f64, String)> =
            self.lately.iter().map(|(tenant, seconds)| (*seconds, tenant.clone())).collect();
        first.sort_by(|(one, name), (other, another)| other.total_cmp(one).then_with(|| name.cmp(another)));
        self.named.clear();
        for (_, tenant) in first.into_iter().take(most) {
            self.name(&tenant, most);
        }
        self.lately.retain(|_, seconds| {
            *seconds /= 2.0;
            *seconds > LITTLE
        });
    }

    fn name(&mut self, tenant: &str, most: usize) {
        if self.ever.contains(tenant) || self.ever.len() < most.saturating_mul(NAMED) {
            self.ever.insert(tenant.to_owned());
            self.named.insert(tenant.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use metrics::{
        CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
        with_local_recorder,
    };

    use super::*;

    /// Adds up what is counted, by the label.
    #[derive(Default, Clone)]
    struct Counted(Arc<Mutex<BTreeMap<String, u64>>>);

    struct Of(Counted, String);

    impl CounterFn for Of {
        fn increment(&self, value: u64) {
            *self.0.0.lock().entry(self.1.clone()).or_default() += value;
        }

        fn absolute(&self, _value: u64) {}
    }

    impl Recorder for Counted {
        fn describe_counter(&self, _key: KeyName, _unit: Option<Unit>, _text: SharedString) {}
        fn describe_gauge(&self, _key: KeyName, _unit: Option<Unit>, _text: SharedString) {}
        fn describe_histogram(&self, _key: KeyName, _unit: Option<Unit>, _text: SharedString) {}

        fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
            let label = key.labels().next().map(|label| label.value().to_owned());
            Counter::from_arc(Arc::new(Of(self.clone(), label.unwrap_or_default())))
        }

        fn register_gauge(&self, _key: &Key, _metadata: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _key: &Key, _metadata: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    /// What is counted of tenants that use slots for so many seconds in each of so many minutes.
    fn counted(label: TenantLabel, minutes: &[&[(&str, f64)]]) -> BTreeMap<String, u64> {
        let counted = Counted::default();
        with_local_recorder(&counted, || {
            let begun = Instant::now();
            let mut slot_time = SlotTime::new(label, begun);
            for (minute, uses) in (1..).zip(minutes) {
                for (tenant, seconds) in *uses {
                    slot_time.add(tenant, *seconds, begun + minute * RANKED);
                }
            }
        });
        counted.0.lock().clone()
    }

    #[test]
    fn those_that_are_listed_are_named() {
        let listed = TenantLabel::Listed(["acme".to_owned()].into());
        let counted = counted(listed, &[&[("acme", 0.75), ("acme", 0.5), ("initech", 1.0), ("globex", 2.0)]]);
        assert_eq!(counted, [("acme".to_owned(), 1), (OTHER.to_owned(), 3)].into());
    }

    #[test]
    fn those_that_use_most_take_the_place_of_those_that_do_not() {
        let minutes: [&[(&str, f64)]; 3] = [
            &[("small", 1.0), ("smaller", 1.0), ("large", 50.0)],
            // Now it is looked who they are.
            &[("large", 10.0), ("small", 1.0)],
            &[("small", 1.0)],
        ];
        let counted = counted(TenantLabel::Top(1), &minutes);
        assert_eq!(counted["small"], 1, "the first that there is");
        assert_eq!(counted["large"], 10);
        assert_eq!(counted[OTHER], 53);
    }

    #[test]
    fn ten_thousand_tenants_have_few_series_whoever_uses_most() {
        let names: Vec<String> = (0..10_000).map(|n| format!("tenant {n}")).collect();
        let minutes: Vec<Vec<(&str, f64)>> = (0..200)
            .map(|minute| {
                let first = minute * 50 % names.len();
                let (before, from) = names.split_at(first);
                let use_of = |n| if n < 50 { 9.0 } else { 0.01 };
                from.iter().chain(before).enumerate().map(|(n, name)| (name.as_str(), use_of(n))).collect()
            })
            .collect();
        let minutes: Vec<&[(&str, f64)]> = minutes.iter().map(Vec::as_slice).collect();
        let counted = counted(TenantLabel::Top(20), &minutes);
        assert!((20..=201).contains(&counted.len()), "{} series", counted.len());
        let all: u64 = counted.values().sum();
        assert!((109_900 - 201..=109_900).contains(&all), "{all} s");
    }
}
