use std::collections::BTreeMap;
use std::fmt;

use crate::{FaultKind, Story};

/// Something that must never happen, and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule, in a word.
    pub rule: &'static str,
    /// What happened.
    pub what: String,
}

/// What came of one run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What must never happen, and did.
    pub violations: Vec<Violation>,
    /// How often each kind of fault began.
    pub fired: BTreeMap<&'static str, u64>,
    /// Calls made, retries of callers and the audit among them.
    pub calls: u64,
    /// Those that the service answered.
    pub answered: u64,
    /// The attempts of these.
    pub attempts: u64,
    /// Calls that met a fault: a message of theirs, or the node where they entered.
    pub troubled: u64,
    /// Messages that met a fault on their way.
    pub met: u64,
    /// Answers by their hops.
    pub hops: BTreeMap<u8, u64>,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// What happened.
    pub story: Story,
}

/// What came of many.
#[derive(Debug, Clone, Default)]
pub struct Total {
    /// Runs.
    pub runs: u64,
    /// Runs with a violation.
    pub failed: u64,
    fired: BTreeMap<&'static str, u64>,
    calls: u64,
    answered: u64,
    attempts: u64,
    troubled: u64,
    met: u64,
    hops: BTreeMap<u8, u64>,
    acknowledged: u64,
}

impl Total {
    /// Takes one more run in.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.failed += u64::from(!report.violations.is_empty());
        self.calls += report.calls;
        self.answered += report.answered;
        self.attempts += report.attempts;
        self.troubled += report.troubled;
        self.met += report.met;
        self.acknowledged += report.acknowledged;
        for (kind, fired) in &report.fired {
            *self.fired.entry(kind).or_default() += fired;
        }
        for (hops, answers) in &report.hops {
            *self.hops.entry(*hops).or_default() += answers;
        }
    }

    /// Calls that met a fault, in per cent.
    #[must_use]
    pub fn share(&self) -> f64 {
        100.0 * self.troubled as f64 / self.calls.max(1) as f64
    }

    /// Kinds of faults that never began.
    #[must_use]
    pub fn never_fired(&self) -> Vec<&'static str> {
        FaultKind::NAMES.into_iter().filter(|kind| !self.fired.contains_key(kind)).collect()
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "runs:         {}, {} with a violation", self.runs, self.failed)?;
        if self.failed == 0 && self.runs > 0 {
            // Hanley, Lippman-Hand: "If nothing goes wrong, is everything all right?" (1983).
            writeln!(
                f,
                "              so at most {:.1e} of all runs have one (95 %, 3/n)",
                (3.0 / self.runs as f64).min(1.0)
            )?;
        }
        write!(f, "faults:      ")?;
        for (kind, fired) in &self.fired {
            write!(f, " {kind} {fired}")?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "calls:        {}, {} answered, {:.2} attempts each",
            self.calls,
            self.answered,
            self.attempts as f64 / self.answered.max(1) as f64
        )?;
        writeln!(f, "met a fault:  {:.0} % of calls, {} messages", self.share(), self.met)?;
        write!(f, "hops:        ")?;
        for (hops, answers) in &self.hops {
            write!(f, " {hops}: {answers}")?;
        }
        writeln!(f)?;
        write!(f, "acknowledged: {} writes", self.acknowledged)
    }
}
