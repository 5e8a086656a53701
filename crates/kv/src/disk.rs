//! A disk in memory that forgets what was not synced: for tests and for the simulation.

use std::io::{self, Error};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::StorageBackend;

/// What survives or fails as one when the power goes, in bytes.
const SECTOR: usize = 512;

/// A disk that keeps only what was synced. A power cut drops what was not, or any part of it: sectors
/// of one write may be old and new.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What a reader sees.
    live: Vec<u8>,
    /// What is there after a power cut.
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    syncs: u64,
    sync_takes: Duration,
    off: bool,
}

#[derive(Debug)]
enum Change {
    Len(u64),
    Write { offset: u64, data: Vec<u8> },
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How often it was synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// From now on each sync takes so long, as it does on a disk that is one.
    pub fn sync_takes(&self, time: Duration) {
        self.lock().sync_takes = time;
    }

    /// Cuts the power: this disk fails from now on, and what is returned is what it kept. Of what was not
    /// synced, each sector survives with a chance of `keep` in 4.
    #[must_use]
    pub fn cut(&self, coin: &mut Coin, keep: u64) -> Self {
        let mut state = self.lock();
        state.off = true;
        let mut kept = state.durable.clone();
        for change in &state.unsynced {
            match change {
                Change::Len(len) => {
                    if coin.toss(4) < keep {
                        kept.resize(in_memory(*len), 0);
                    }
                }
                Change::Write { offset, data } => {
                    for (i, sector) in data.chunks(SECTOR).enumerate() {
                        if coin.toss(4) < keep {
                            put(&mut kept, *offset + (i * SECTOR) as u64, sector);
                        }
                    }
                }
            }
        }
        let state = State { live: kept.clone(), durable: kept, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.lock();
        if state.off { Err(Error::other("the power is off")) } else { Ok(act(&mut state)) }
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let offset = in_memory(offset);
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.with(|state| state.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = in_memory(offset);
        self.with(|state| {
            let data =
                state.live.get(offset..offset + out.len()).ok_or_else(|| Error::other("past the end"))?;
            out.copy_from_slice(data);
            Ok(())
        })?
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|state| {
            state.live.resize(in_memory(len), 0);
            state.unsynced.push(Change::Len(len));
        })
    }

    #[expect(clippy::disallowed_methods, reason = "a disk makes its caller wait")]
    fn sync_data(&self) -> io::Result<()> {
        let takes = self.lock().sync_takes;
        std::thread::sleep(takes);
        self.with(|state| {
            for change in state.unsynced.drain(..) {
                match change {
                    Change::Len(len) => state.durable.resize(in_memory(len), 0),
                    Change::Write { offset, data } => put(&mut state.durable, offset, &data),
                }
            }
            state.syncs += 1;
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|state| {
            put(&mut state.live, offset, data);
            state.unsynced.push(Change::Write { offset, data: data.to_vec() });
        })
    }
}

/// A place or a length, in a memory that holds it.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Seeded chance: splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
pub struct Coin(pub u64);

impl Coin {
    /// A number below `sides`.
    pub fn toss(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}
