//! The service of a node, with the oracle before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use homing_kv::Kv;
use homing_router::{Declined, Granted, Service};
use homing_transport::{Body, BoxFuture};
use homing_types::Execution;

use crate::authority::{Grants, Script};
use crate::oracle::Oracle;

/// Hands requests on to `kv` and tells the oracle what is executed, by whom and by what right.
pub(crate) struct Watched {
    pub(crate) node: usize,
    pub(crate) kv: Arc<Kv>,
    pub(crate) oracle: Oracle,
    pub(crate) authority: Arc<Script>,
    pub(crate) grants: Arc<Grants>,
    /// The most requests that may be under way here.
    pub(crate) most: usize,
    pub(crate) under_way: AtomicUsize,
}

impl Service for Watched {
    fn call(&self, granted: Granted) -> BoxFuture<'_, Result<http::Response<Body>, Declined>> {
        Box::pin(async move {
            let place = Place::take(&self.under_way);
            self.oracle.granted(self.node, &granted.grant, granted.access, &self.authority, &self.grants);
            self.oracle.under_way(self.node, place.nth, self.most);
            let begun = self.oracle.begins(self.node, &granted);
            let answer = self.kv.call(granted).await;
            if let (Some(write), Err(Declined { execution: Execution::No, .. })) = (begun, &answer) {
                self.oracle.did_not_execute(write);
            }
            answer
        })
    }

    fn dedupes(&self) -> bool {
        self.kv.dedupes()
    }
}

/// One request under way.
struct Place<'a> {
    under_way: &'a AtomicUsize,
    nth: usize,
}

impl<'a> Place<'a> {
    fn take(under_way: &'a AtomicUsize) -> Self {
        Self { under_way, nth: under_way.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
