use std::collections::BTreeMap;
use std::fmt;

use crate::Story;
use crate::plan::FaultKind;

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
    /// What must never happen, and did.
    pub violations: Vec<Violation>,
    /// What there was of it.
    pub counts: Counts,
    /// What happened.
    pub story: Story,
}

/// What there was in one run, or in many. Calls are those of the load: not those that look afterwards whether all is well.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Calls that entered at a node, retries of callers among them.
    pub(crate) calls: u64,
    /// Those that the service answered.
    pub(crate) answered: u64,
    /// The attempts of all.
    pub(crate) attempts: u64,
    /// Calls that met a fault: a message of theirs, or the death of their entry.
    pub(crate) troubled: u64,
    /// Answers by their hops.
    pub(crate) hops: BTreeMap<u8, u64>,
    /// Writes that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Messages that met a fault on their way.
    pub(crate) met: u64,
    /// How many faults of each kind changed something.
    pub(crate) fired: BTreeMap<&'static str, u64>,
    /// What nodes did that they do under trouble alone.
    pub(crate) done: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Takes others in.
    fn add(&mut self, others: &Self) {
        let Self { calls, answered, attempts, troubled, hops, acknowledged, met, fired, done } = others;
        self.calls += calls;
        self.answered += answered;
        self.attempts += attempts;
        self.troubled += troubled;
        self.acknowledged += acknowledged;
        self.met += met;
        sum(&mut self.hops, hops);
        sum(&mut self.fired, fired);
        sum(&mut self.done, done);
    }
}

fn sum<K: Ord + Copy>(counts: &mut BTreeMap<K, u64>, others: &BTreeMap<K, u64>) {
    for (key, count) in others {
        *counts.entry(*key).or_default() += count;
    }
}

/// What came of many.
#[derive(Debug, Clone, Default)]
pub struct Total {
    /// Runs.
    pub runs: u64,
    /// Runs with a violation.
    pub failed: u64,
    counts: Counts,
}

impl Total {
    /// Takes one more run in.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.failed += u64::from(!report.violations.is_empty());
        self.counts.add(&report.counts);
    }

    /// Calls that met a fault, in per cent.
    #[must_use]
    pub fn troubled_percent(&self) -> f64 {
        100.0 * self.counts.troubled as f64 / self.counts.calls.max(1) as f64
    }

    /// Kinds of faults of which none changed anything, and what no node ever did.
    #[must_use]
    pub fn never(&self) -> Vec<&'static str> {
        let Counts { fired, done, .. } = &self.counts;
        let faults = FaultKind::NAMES.into_iter().filter(|kind| !fired.contains_key(kind));
        faults.chain(done.iter().filter(|(_, times)| **times == 0).map(|(what, _)| *what)).collect()
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { calls, answered, attempts, hops, acknowledged, met, fired, done, .. } = &self.counts;
        writeln!(f, "runs:         {}, {} with a violation", self.runs, self.failed)?;
        if self.failed == 0 && self.runs > 0 {
            // Hanley, Lippman-Hand: "If nothing goes wrong, is everything all right?" (1983).
            let most = (3.0 / self.runs as f64).min(1.0);
            writeln!(f, "              so at most {most:.1e} of all runs have one (95 %, 3/n)")?;
        }
        write!(f, "faults:      ")?;
        for (kind, times) in fired {
            write!(f, " {kind} {times}")?;
        }
        write!(f, "\ndone:        ")?;
        for (what, times) in done {
            write!(f, " {what} {times}")?;
        }
        let each = *attempts as f64 / (*calls).max(1) as f64;
        writeln!(f, "\ncalls:        {calls}, {answered} answered, {each:.2} attempts each")?;
        writeln!(f, "met a fault:  {:.0} % of calls, {met} messages", self.troubled_percent())?;
        write!(f, "hops:        ")?;
        for (hops, answers) in hops {
            write!(f, " {hops}: {answers}")?;
        }
        write!(f, "\nacknowledged: {acknowledged} writes")
    }
}
