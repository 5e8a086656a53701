//! What must never happen.

use std::collections::BTreeMap;
use std::sync::Arc;

use homing_transport::Routed;
use homing_types::Epoch;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use crate::report::Violation;
use crate::story::Story;
use crate::world::node_id;

/// The header that bears the path of a request.
const PATH: HeaderName = HeaderName::from_static("x-sim-path");

/// The most hops of one attempt.
const MAX_HOPS: usize = 3;

/// Watches a run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Oracle(Arc<Watched>);

struct Watched {
    story: Story,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    violations: Vec<Violation>,
    epochs: BTreeMap<(usize, usize), Epoch>,
    /// Calls by the hops of their answers.
    hops: BTreeMap<u8, u64>,
}

impl Oracle {
    pub(crate) fn new(story: Story) -> Self {
        Self(Arc::new(Watched { story, state: Mutex::default() }))
    }

    pub(crate) fn violated(&self, rule: &'static str, what: String) {
        self.0.story.tell(format_args!("VIOLATED {rule}: {what}"));
        self.0.state.lock().violations.push(Violation { rule, what });
    }

    /// A routed request goes to a node. It carries its path, which a new attempt begins anew: the same node, epoch and relay
    /// flag twice is a loop, and only the first of it can be a relay.
    pub(crate) fn crosses(&self, to: usize, routed: &Routed, headers: &mut HeaderMap) {
        let before = headers.get(PATH).and_then(|path| path.to_str().ok()).unwrap_or_default();
        let step = format!("{}@{}{}", node_id(to), routed.believed, if routed.relay { "+relay" } else { "" });
        let looped = before.split_whitespace().any(|past| past == step);
        let path = format!("{before} {step}").trim_start().to_owned();
        // Who relays is the second on the way, and passes the request on as any other.
        let relayed_on = routed.relay && !before.is_empty();
        if looped || relayed_on || path.split_whitespace().count() > MAX_HOPS {
            self.violated("path", format!("a request for {} went {path}", routed.space));
        }
        headers.extend(HeaderValue::try_from(path).ok().map(|path| (PATH, path)));
    }

    /// What a node knows must not grow older.
    pub(crate) fn knows(&self, node: usize, space: usize, epoch: Epoch) {
        let before = self.0.state.lock().epochs.insert((node, space), epoch).unwrap_or(Epoch::ZERO);
        if epoch < before {
            self.violated(
                "epoch",
                format!("{} knew epoch {before} of space-{space}, and now {epoch}", node_id(node)),
            );
        }
    }

    pub(crate) fn answered(&self, hops: u8) {
        *self.0.state.lock().hops.entry(hops).or_default() += 1;
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.0.state.lock().violations.clone()
    }

    pub(crate) fn hops(&self) -> BTreeMap<u8, u64> {
        self.0.state.lock().hops.clone()
    }
}
