//! What a run has found, as data.

use std::fmt;

use serde::Serialize;

use crate::copies::Found;
use crate::figures::Figures;
use crate::law::{Gaps, Law};

/// One case on one wire.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct CaseReport {
    pub(crate) case: String,
    pub(crate) wire: &'static str,
    pub(crate) seconds: f64,
    /// Figures by class of calls.
    pub(crate) classes: Vec<(String, Figures)>,
    /// Answers a second, while there was a load.
    pub(crate) goodput: f64,
    /// By the nodes' counters.
    pub(crate) retries: f64,
    pub(crate) hedges: f64,
    pub(crate) hedges_won: f64,
    pub(crate) relays: f64,
    pub(crate) corrections: f64,
    pub(crate) breakers_opened: f64,
    pub(crate) connections_replaced: f64,
    /// What shows that the faults were there.
    pub(crate) fired: Vec<(String, f64)>,
    pub(crate) copies: Option<Found>,
    pub(crate) checks: Vec<Check>,
    /// What else was seen.
    pub(crate) notes: Vec<String>,
    /// Between attempts, as the nodes logged them.
    #[serde(skip)]
    pub(crate) gaps: Gaps,
}

/// A figure that must hold.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) must: Must,
    pub(crate) met: bool,
    /// Whether it is a matter of how fast this machine is just now. The quick form tells it, and does not fail for it.
    pub(crate) speed: bool,
}

/// How a figure is judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Must {
    AtMost(f64),
    AtLeast(f64),
}

impl Check {
    pub(crate) fn new(what: impl Into<String>, value: f64, must: Must) -> Self {
        let met = match must {
            Must::AtMost(most) => value <= most,
            Must::AtLeast(least) => value >= least,
        };
        Self { what: what.into(), value, must, met, speed: false }
    }

    /// One that is a matter of speed.
    pub(crate) fn of_speed(what: impl Into<String>, value: f64, must: Must) -> Self {
        Self { speed: true, ..Self::new(what, value, must) }
    }

    /// Whether the run fails for it.
    pub(crate) const fn fails(&self, quick: bool) -> bool {
        !(self.met || self.speed && quick)
    }
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: serde_json::Value,
    pub(crate) commit: String,
    pub(crate) quick: bool,
    pub(crate) seconds: f64,
    /// How many cases there are to be: fewer are there while it runs, and if it was ended.
    pub(crate) planned: usize,
    pub(crate) cases: Vec<CaseReport>,
    /// The law of backoff, by wire.
    pub(crate) backoff: Vec<(&'static str, Law)>,
}

impl fmt::Display for Must {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

/// After so many retries on a wire there were gaps between some: a log in which none is found has not been read.
const MANY: f64 = 1_000.0;

impl Report {
    fn retries(&self, wire: &str) -> f64 {
        self.cases.iter().filter(|case| case.wire == wire).map(|case| case.retries).sum()
    }

    /// Whether all that must hold held.
    pub(crate) fn is_good(&self) -> bool {
        !self.cases.iter().flat_map(|case| &case.checks).any(|check| check.fails(self.quick))
            && self.backoff.iter().all(|(wire, law)| self.keeps(wire, law))
    }

    /// Whether the gaps between a wire's attempts are as they must be, and were found at all.
    pub(crate) fn keeps(&self, wire: &str, law: &Law) -> bool {
        law.holds() && (law.gaps > 0 || self.retries(wire) < MANY)
    }
}

impl CaseReport {
    /// One in which nothing has been seen yet.
    pub(crate) fn new(case: &str, wire: &'static str) -> Self {
        Self { case: case.to_owned(), wire, ..Self::default() }
    }

    /// One that broke off before anything was seen.
    pub(crate) fn broken(case: &str, wire: &'static str, error: &anyhow::Error) -> Self {
        let mut report = Self::new(case, wire);
        report.break_off(error);
        report
    }

    /// Something could not be found out, which is a failure, too.
    pub(crate) fn break_off(&mut self, error: &anyhow::Error) {
        self.checks.push(Check::new("broke off", 1.0, Must::AtMost(0.0)));
        self.notes.push(format!("{error:#}"));
    }

    pub(crate) fn missed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.met)
    }
}
