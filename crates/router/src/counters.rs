//! What the router counts. Handles are made once: looking one up is too slow for every call.

use homing_failover::Circuit;
use homing_types::{Access, Outcome};
use metrics::{Counter, counter};

/// Counters of a router. No label holds a space: there may be millions.
pub(crate) struct Counters {
    calls: [Counter; Access::ALL.len()],
    calls_failed: [Counter; Access::ALL.len()],
    outcomes: [Counter; Outcome::ALL.len()],
    answers: Counter,
    pub(crate) retries: Counter,
    pub(crate) starved: Counter,
    pub(crate) relays: Counter,
    pub(crate) hedges: Counter,
    pub(crate) hedges_won: Counter,
    breakers_opened: Counter,
    breakers_half_opened: Counter,
    breakers_closed: Counter,
    pub(crate) executed: Counter,
    pub(crate) forwarded: Counter,
    pub(crate) relayed: Counter,
    pub(crate) misrouted: Counter,
    pub(crate) corrections: Counter,
    pub(crate) pulls: Counter,
    pub(crate) phantoms: Counter,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            calls: Access::ALL.map(|access| counter!("homing_calls_total", "access" => access.as_str())),
            calls_failed: Access::ALL
                .map(|access| counter!("homing_calls_failed_total", "access" => access.as_str())),
            outcomes: Outcome::ALL
                .map(|outcome| counter!("homing_attempts_total", "outcome" => outcome.as_str())),
            answers: counter!("homing_attempts_total", "outcome" => "answer"),
            retries: counter!("homing_retries_total"),
            starved: counter!("homing_retry_budget_waits_total"),
            relays: counter!("homing_relays_total"),
            hedges: counter!("homing_hedges_total"),
            hedges_won: counter!("homing_hedges_won_total"),
            breakers_opened: counter!("homing_breaker_changes_total", "to" => "open"),
            breakers_half_opened: counter!("homing_breaker_changes_total", "to" => "half-open"),
            breakers_closed: counter!("homing_breaker_changes_total", "to" => "closed"),
            executed: counter!("homing_received_total", "decision" => "execute"),
            forwarded: counter!("homing_received_total", "decision" => "forward"),
            relayed: counter!("homing_received_total", "decision" => "relay"),
            misrouted: counter!("homing_received_total", "decision" => "not-owner"),
            corrections: counter!("homing_corrections_total"),
            pulls: counter!("homing_pulls_total"),
            phantoms: counter!("homing_phantoms_total"),
        }
    }

    pub(crate) fn called(&self, access: Access) {
        self.calls[access as usize].increment(1);
    }

    pub(crate) fn failed(&self, access: Access) {
        self.calls_failed[access as usize].increment(1);
    }

    pub(crate) fn attempted(&self, outcome: Option<Outcome>) {
        outcome.map_or(&self.answers, |outcome| &self.outcomes[outcome as usize]).increment(1);
    }

    pub(crate) fn breaker_changed(&self, to: Circuit) {
        match to {
            Circuit::Open { .. } => &self.breakers_opened,
            Circuit::HalfOpen { .. } => &self.breakers_half_opened,
            Circuit::Closed => &self.breakers_closed,
        }
        .increment(1);
    }
}

/// Counters of one wire.
pub(crate) struct WireCounters {
    pub(crate) sent: Counter,
    pub(crate) dialled: Counter,
    pub(crate) dial_failed: Counter,
    pub(crate) stuck: Counter,
}

impl WireCounters {
    pub(crate) fn new(wire: &'static str) -> Self {
        Self {
            sent: counter!("homing_requests_sent_total", "wire" => wire),
            dialled: counter!("homing_dials_total", "wire" => wire, "result" => "connected"),
            dial_failed: counter!("homing_dials_total", "wire" => wire, "result" => "failed"),
            stuck: counter!("homing_connections_replaced_total", "wire" => wire),
        }
    }
}
