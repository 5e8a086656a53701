//! What each router counts and logs, heard as an operator would.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

use crate::oracle::Oracle;
use crate::story::Story;

/// The counters of one router. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Meters(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

/// What a router has spent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) calls: u64,
    pub(crate) retries: u64,
    pub(crate) hedges: u64,
}

/// Counters of what routers do under trouble, and the word for each. A night in which one of them stays at zero has not tried it.
const DONE: [(&str, &str); 9] = [
    ("homing_retries_total", "retries"),
    ("homing_retry_budget_waits_total", "budget-waits"),
    ("homing_hedges_total", "hedges"),
    ("homing_relays_total", "relays"),
    ("homing_breaker_changes_total", "breaker-changes"),
    ("homing_corrections_total", "corrections"),
    ("homing_pulls_total", "pulls"),
    ("homing_overloaded_total", "refusals"),
    ("homing_connections_replaced_total", "replaced-connections"),
];

impl Meters {
    pub(crate) fn spent(&self) -> Spent {
        Spent {
            calls: self.sum("homing_calls_total"),
            retries: self.sum("homing_retries_total"),
            hedges: self.sum("homing_hedges_total"),
        }
    }

    /// Adds what this router did, by the words of [`DONE`].
    pub(crate) fn add_to(&self, done: &mut BTreeMap<&'static str, u64>) {
        for (name, what) in DONE {
            *done.entry(what).or_default() += self.sum(name);
        }
    }

    fn sum(&self, name: &str) -> u64 {
        let counters = self.0.lock();
        counters.get(name).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

impl Recorder for Meters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    /// One counter for a name, whatever its labels.
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(self.0.lock().entry(key.name().to_owned()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Hears what routers log: each gap, and for a run that is told in full each line.
pub(crate) struct Log {
    pub(crate) story: Story,
    pub(crate) oracle: Oracle,
    pub(crate) in_full: bool,
}

const GAP: &str = "gap_ns";

impl Subscriber for Log {
    fn enabled(&self, line: &tracing::Metadata<'_>) -> bool {
        let ours = line.is_event() && line.target().starts_with("homing_");
        ours && (self.in_full || line.fields().field(GAP).is_some())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        if let Some(gap) = line.gap.filter(|_| !line.starved) {
            self.oracle.waits(gap);
        }
        if self.in_full {
            self.story.tell(line.text);
        }
    }
}

#[derive(Default)]
struct Line {
    text: String,
    gap: Option<Duration>,
    /// Whether it is the budget that is waited for, which is not drawn.
    starved: bool,
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == GAP {
            self.gap = Some(Duration::from_nanos(value));
        }
        self.record_debug(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.starved |= value && field.name() == "starved";
        self.record_debug(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.text, " {}={value:?}", field.name());
    }
}
