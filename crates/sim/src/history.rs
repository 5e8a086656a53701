//! Whether what several callers were told of one key is what one copy could have said, one call after the other.
//!
//! A history is linearizable if each call seems to happen at one moment between its begin and its end (Herlihy, Wing:
//! "Linearizability: A Correctness Condition for Concurrent Objects", 1990). Two checkers hold it against that. [`search`] looks
//! for such an order and knows nothing of the store (Wing, Gong: "Testing and Verifying Concurrent Objects", 1993, with
//! the memory of Lowe, "Testing for linearizability", 2017). [`versions`] believes the order that the store itself
//! claims, and holds it against the times.

use std::collections::HashSet;
use std::time::Duration;

use homing_kv::Position;

/// One call to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Op {
    /// When it began.
    pub(crate) began: Duration,
    /// When its caller was answered; `None` if nobody can tell what became of it.
    pub(crate) ended: Option<Duration>,
    /// What it did.
    pub(crate) what: What,
    /// The version that the store gave to what was written or read.
    pub(crate) version: Option<Position>,
}

/// What a call did. Each write writes another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It wrote this.
    Write(u64),
    /// It read this, or nothing.
    Read(Option<u64>),
}

/// What a checker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Such an order exists.
    Linearizable,
    /// None does, and why.
    Broken(String),
    /// It gave up looking.
    Undecided,
}

/// The most calls of a history.
pub(crate) const MOST_OPS: usize = 64;

/// The most steps of a search.
const MOST_STEPS: usize = 2_000_000;

/// Looks for an order of all calls that one copy could have answered so. Those without an end may be left out, or happen at any
/// time after they began.
pub(crate) fn search(ops: &[Op]) -> Verdict {
    if ops.len() > MOST_OPS {
        return Verdict::Undecided;
    }
    // What nobody was told of and nobody has seen may be left out.
    let seen = |what| match what {
        What::Write(value) => ops.iter().any(|op| op.what == What::Read(Some(value))),
        What::Read(_) => false,
    };
    let ops: Vec<&Op> = ops.iter().filter(|op| op.ended.is_some() || seen(op.what)).collect();
    let must: u64 = bits(&ops, |op| op.ended.is_some());
    let reads_of = |value: Option<u64>| bits(&ops, |op| op.what == What::Read(value));
    let mut seen: HashSet<(u64, Option<u64>)> = HashSet::new();
    let mut ahead = vec![(0_u64, None)];
    while let Some((mut done, value)) = ahead.pop() {
        // What has ended before another began comes before it.
        let may_be_next = |done: u64| {
            let left = bits(&ops, |_| true) & !done;
            let first_end = each(left).filter_map(|i| ops[i].ended).min();
            each(left)
                .filter(|i| first_end.is_none_or(|end| ops[*i].began <= end))
                .fold(0, |bits, i| bits | 1 << i)
        };
        // A read that fits changes nothing: it may as well be now.
        loop {
            let reads = may_be_next(done) & reads_of(value);
            if reads == 0 {
                break;
            }
            done |= reads;
        }
        if done & must == must {
            return Verdict::Linearizable;
        }
        if seen.len() > MOST_STEPS {
            return Verdict::Undecided;
        }
        // Each value is written once: who has not read it by now never will.
        if reads_of(value) & !done != 0 {
            continue;
        }
        for i in each(may_be_next(done)) {
            let What::Write(written) = ops[i].what else { continue };
            let state = (done | 1 << i, Some(written));
            if seen.insert(state) {
                ahead.push(state);
            }
        }
    }
    Verdict::Broken(format!("no order of these {} calls explains what they were told", ops.len()))
}

/// Takes the versions for the order, and holds it against the times: what began after another had ended is not older.
pub(crate) fn versions(ops: &[Op]) -> Verdict {
    for op in ops {
        let What::Read(Some(read)) = op.what else { continue };
        let written = ops.iter().find(|other| other.what == What::Write(read));
        match written {
            None => return Verdict::Broken(format!("{op:?} reads what nobody wrote")),
            Some(write) if write.version.is_some_and(|version| Some(version) != op.version) => {
                return Verdict::Broken(format!("{op:?} reads {write:?} under another version"));
            }
            Some(write) if op.ended.is_some_and(|ended| ended < write.began) => {
                return Verdict::Broken(format!("{op:?} reads {write:?} before it began"));
            }
            Some(_) => {}
        }
    }
    let writes = || ops.iter().filter(|op| matches!(op.what, What::Write(_)) && op.version.is_some());
    for (i, write) in writes().enumerate() {
        if let Some(other) = writes().skip(i + 1).find(|other| other.version == write.version) {
            return Verdict::Broken(format!("{write:?} and {other:?} have one version"));
        }
    }
    for before in ops {
        let Some(ended) = before.ended else { continue };
        for after in ops.iter().filter(|after| after.began > ended && after.ended.is_some()) {
            let older = match after.what {
                What::Read(_) => after.version < before.version,
                What::Write(_) => after.version <= before.version,
            };
            if older {
                return Verdict::Broken(format!("{after:?} is older than {before:?}, which had ended"));
            }
        }
    }
    Verdict::Linearizable
}

/// The places of the bits that are set.
fn each(bits: u64) -> impl Iterator<Item = usize> + Clone {
    (0..64).filter(move |i| bits & (1 << i) != 0)
}

fn bits(ops: &[&Op], holds: impl Fn(&Op) -> bool) -> u64 {
    ops.iter().enumerate().filter(|(_, op)| holds(op)).fold(0, |bits, (i, _)| bits | 1 << i)
}

#[cfg(test)]
mod tests {
    use homing_types::Epoch;

    use super::*;

    fn op(began: u64, ended: u64, what: What, seq: u64) -> Op {
        let version = (seq > 0).then_some(Position { epoch: Epoch::new(1), seq });
        let ms = Duration::from_millis;
        Op { began: ms(began), ended: (ended > 0).then(|| ms(ended)), what, version }
    }

    fn write(began: u64, ended: u64, value: u64, seq: u64) -> Op {
        op(began, ended, What::Write(value), seq)
    }

    fn read(began: u64, ended: u64, value: Option<u64>, seq: u64) -> Op {
        op(began, ended, What::Read(value), seq)
    }

    #[test]
    fn good_histories_are_linearizable() {
        for ops in [
            vec![],
            vec![read(0, 1, None, 0), write(2, 3, 7, 1), read(4, 5, Some(7), 1)],
            // At the same time, either order will do.
            vec![write(0, 9, 7, 2), write(1, 8, 8, 1), read(10, 11, Some(7), 2)],
            vec![write(0, 9, 7, 1), read(1, 2, Some(7), 1), read(3, 4, Some(7), 1)],
            // Nobody knows what became of the first, until somebody reads it.
            vec![write(0, 0, 7, 0), read(1, 2, None, 0), read(3, 4, Some(7), 1)],
            vec![write(0, 0, 7, 0), write(1, 2, 8, 1), read(3, 4, Some(8), 1), read(5, 6, Some(7), 2)],
        ] {
            assert_eq!(search(&ops), Verdict::Linearizable, "{ops:?}");
            assert_eq!(versions(&ops), Verdict::Linearizable, "{ops:?}");
        }
    }

    #[test]
    fn bad_histories_are_found_by_both() {
        for ops in [
            // Lost.
            vec![write(0, 1, 7, 1), read(2, 3, None, 0)],
            // Older than what was read before.
            vec![write(0, 1, 7, 1), write(2, 9, 8, 2), read(3, 4, Some(8), 2), read(5, 6, Some(7), 1)],
            // Written by nobody.
            vec![write(0, 1, 7, 1), read(2, 3, Some(9), 1)],
            // Read before it was begun.
            vec![read(0, 1, Some(7), 1), write(2, 3, 7, 1)],
            // Replaced, and back again.
            vec![write(0, 1, 7, 3), write(2, 3, 8, 2), read(4, 5, Some(7), 3)],
        ] {
            assert!(matches!(search(&ops), Verdict::Broken(_)), "{ops:?}");
            assert!(matches!(versions(&ops), Verdict::Broken(_)), "{ops:?}");
        }
    }

    #[test]
    fn each_finds_what_the_other_can_not() {
        // The values are in order, and the store claims another one.
        let claimed = vec![write(0, 9, 7, 2), read(1, 2, Some(7), 1)];
        assert_eq!(search(&claimed), Verdict::Linearizable);
        assert!(matches!(versions(&claimed), Verdict::Broken(_)));
        let alike = vec![write(0, 9, 7, 1), write(1, 8, 8, 1)];
        assert_eq!(search(&alike), Verdict::Linearizable);
        assert!(matches!(versions(&alike), Verdict::Broken(_)));
        // Versions without values: two writes whose order two reads see differently, at the same time.
        let seen = vec![
            write(0, 9, 7, 1),
            write(0, 9, 8, 2),
            read(1, 2, Some(8), 2),
            read(3, 4, Some(7), 2),
            read(5, 6, Some(8), 2),
        ];
        assert!(matches!(search(&seen), Verdict::Broken(_)));
    }

    #[test]
    fn a_long_history_is_searched_in_no_time() {
        let ops: Vec<_> = (0..MOST_OPS as u64).map(|i| write(i, 0, i, 0)).collect();
        assert_eq!(search(&ops), Verdict::Linearizable);
        let mut ops: Vec<_> = (0..12).map(|i| write(0, 100, i, i + 1)).collect();
        ops.push(read(200, 201, None, 0));
        assert!(matches!(search(&ops), Verdict::Broken(_)));
        assert_eq!(search(&vec![write(0, 1, 0, 1); MOST_OPS + 1]), Verdict::Undecided);
    }
}
