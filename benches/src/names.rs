use std::ops::Range;

use crate::Rng;

/// How many names are looked up in one go between two looks at the clock: enough that reading the clock doesn't count,
/// few enough that their bytes stay in the cache nearest to the core (16 KiB of text).
pub const BATCH: usize = 1_024;

const TEMPLATE: &[u8; 15] = b"tenant-00000000";

/// The name of space `number`, which must have at most 8 digits.
#[must_use]
pub fn name(number: u32) -> String {
    format!("tenant-{number:08}")
}

/// An endless, random and repeatable choice of the spaces of a range.
#[derive(Debug, Clone)]
pub struct Keys {
    spaces: Range<u32>,
    rng: Rng,
}

impl Keys {
    /// Spaces out of `spaces`; equal seeds choose the same.
    #[must_use]
    pub const fn new(spaces: Range<u32>, seed: u64) -> Self {
        Self { spaces, rng: Rng::new(seed) }
    }

    /// The next space.
    pub const fn number(&mut self) -> u32 {
        self.spaces.start + self.rng.below(self.spaces.end - self.spaces.start)
    }
}

/// A buffer of names as requests bring them: freshly written, so their bytes are in the cache, while what is known of
/// them is not.
pub struct Batch {
    text: Vec<u8>,
}

impl Batch {
    /// A buffer of [`BATCH`] names.
    #[must_use]
    pub fn new() -> Self {
        Self { text: TEMPLATE.repeat(BATCH) }
    }

    /// The next `count` names, at most [`BATCH`].
    pub fn fill(&mut self, keys: &mut Keys, count: usize) -> Vec<&str> {
        for name in self.text.chunks_exact_mut(TEMPLATE.len()).take(count) {
            let mut rest = keys.number();
            for digit in name[7..].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        let text = std::str::from_utf8(&self.text).expect("letters and digits are UTF-8");
        (0..count).map(|i| &text[i * TEMPLATE.len()..][..TEMPLATE.len()]).collect()
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// The names of all spaces of a range, each with memory of its own, in an order that no prefetcher guesses: names that
/// have left every cache.
#[must_use]
pub fn shuffled(spaces: Range<u32>, seed: u64) -> Vec<String> {
    let mut names: Vec<String> = spaces.map(name).collect();
    Rng::new(seed).shuffle(&mut names);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_brings_the_names_that_the_keys_choose() {
        let mut batch = Batch::new();
        let (mut keys, mut again) = (Keys::new(5..9_000_000, 7), Keys::new(5..9_000_000, 7));
        for _ in 0..3 {
            let expected: Vec<String> = (0..BATCH).map(|_| name(again.number())).collect();
            assert_eq!(batch.fill(&mut keys, BATCH), expected);
        }
    }

    #[test]
    fn shuffled_names_are_all_names() {
        let mut names = shuffled(0..1_000, 1);
        assert_ne!(names[0..3], [name(0), name(1), name(2)]);
        names.sort();
        assert_eq!(names, (0..1_000).map(name).collect::<Vec<_>>());
    }
}
