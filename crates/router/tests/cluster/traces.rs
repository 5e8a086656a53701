//! One span for each call and one for each attempt, with who served it, as what, after how many hops.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use homing_router::Call;
use homing_types::Access;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::{Cluster, Fault, call, group};

type Fields = BTreeMap<String, String>;

/// Keeps the router's spans by name, with the last value of each field.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(String, Fields)>>>);

struct Reader<'a>(&'a mut Fields);

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("homing_router")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        span.record(&mut Reader(&mut fields));
        let mut spans = self.0.lock();
        spans.push((span.metadata().name().to_owned(), fields));
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut spans = self.0.lock();
        let index = usize::try_from(span.into_u64()).expect("few spans") - 1;
        values.record(&mut Reader(&mut spans[index].1));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_call_and_each_of_its_attempts_have_a_span_and_the_trace_goes_along() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "c1"]));
    cluster.faults.set("a1", "b1", Fault::Cut);
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = Call { traceparent: Some(traceparent.to_owned()), ..call(Access::Write) };
    cluster.call("a1", traced).await.unwrap();

    let spans = spans.0.lock().clone();
    let of = |name: &str| -> Vec<Fields> {
        spans.iter().filter(|(other, _)| other == name).map(|(_, fields)| fields.clone()).collect()
    };
    let expect = |fields: &Fields, wanted: &[(&str, &str)]| {
        for (field, value) in wanted {
            assert_eq!(fields.get(*field).map(String::as_str), Some(*value), "{field} in {fields:?}");
        }
    };
    let calls = of("call");
    assert_eq!(calls.len(), 1);
    let how =
        [("outcome", "answer"), ("served_by", "b1"), ("role", "primary"), ("hops", "2"), ("epoch", "5")];
    expect(&calls[0], &how);
    expect(
        &calls[0],
        &[("space", "acme"), ("access", "write"), ("attempts", "2"), ("traceparent", traceparent)],
    );
    let attempts = of("attempt");
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    expect(&attempts[0], &[("node", "b1"), ("outcome", "not-sent"), ("relay", "false"), ("attempt", "1")]);
    expect(&attempts[1], &[("node", "c1"), ("relay", "true"), ("attempt", "2")]);
    expect(&attempts[1], &how);
    assert_eq!(cluster.log().executed[0].traceparent.as_deref(), Some(traceparent));
}
