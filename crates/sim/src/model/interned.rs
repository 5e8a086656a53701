//! Small numbers for large values: a state is copied, hashed and compared many times.

use std::collections::HashMap;

use parking_lot::RwLock;

/// All values that were ever seen. Two that read the same are one.
pub(super) struct Interned<T>(RwLock<Seen<T>>);

struct Seen<T> {
    ids: HashMap<String, u32>,
    values: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self(RwLock::new(Seen { ids: HashMap::new(), values: Vec::new() }))
    }
}

impl<T> Interned<T> {
    /// The number of the value that reads so.
    pub(super) fn id(&self, text: String, value: impl FnOnce() -> T) -> u32 {
        if let Some(known) = self.0.read().ids.get(&text) {
            return *known;
        }
        let Seen { ids, values } = &mut *self.0.write();
        *ids.entry(text).or_insert_with(|| {
            values.push(value());
            values.len() as u32 - 1
        })
    }

    /// Looks at the value of this number.
    pub(super) fn read<R>(&self, id: u32, look: impl FnOnce(&T) -> R) -> R {
        look(&self.0.read().values[id as usize])
    }

    pub(super) fn len(&self) -> usize {
        self.0.read().values.len()
    }
}
