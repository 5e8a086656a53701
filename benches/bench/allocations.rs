//! What a call asks of the allocator, on both sides together: one thread makes the call and serves it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use serde::Serialize;

use crate::clients::Clients;
use crate::contestants::{Contestant, Ground};
use crate::credentials;
use crate::serve;

/// The system's allocator, and how often each thread has asked it for how much.
pub(crate) struct Counting;

/// Requests are counted by size, in steps of so many bytes.
const STEP: usize = 64;
const STEPS: usize = 256;

thread_local! {
    static COUNTS: Counts = const { Counts { calls: Cell::new(0), bytes: Cell::new(0), sizes: [const { Cell::new(0) }; STEPS] } };
}

struct Counts {
    calls: Cell<u64>,
    bytes: Cell<u64>,
    sizes: [Cell<u32>; STEPS],
}

fn count(size: usize) {
    // A thread that ends asks for memory, too.
    let _ = COUNTS.try_with(|counts| {
        counts.calls.set(counts.calls.get() + 1);
        counts.bytes.set(counts.bytes.get() + size as u64);
        let step = &counts.sizes[(size / STEP).min(STEPS - 1)];
        step.set(step.get() + 1);
    });
}

// SAFETY: all of it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Of one contestant.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Allocations {
    pub(crate) contestant: &'static str,
    /// Requests to the allocator, and bytes, a call.
    pub(crate) calls: f64,
    pub(crate) bytes: f64,
    /// Those of 512 bytes and more: so many of about such a size, a call.
    pub(crate) large: Vec<(usize, f64)>,
}

const WARM_UP: usize = 500;
const CALLS: usize = 2_000;
const PAYLOAD: usize = 128;

/// Counts those of each of these, one after another, each call after the one before.
pub(crate) fn of(contestants: &[Contestant], ground: &Ground) -> Result<Vec<Allocations>> {
    contestants.iter().map(|contestant| measure(*contestant, ground)).collect()
}

fn measure(contestant: Contestant, ground: &Ground) -> Result<Allocations> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let id = credentials::owner(0)?;
        let at = serve::start(contestant.name(), &id, Arc::clone(&credentials::read(&ground.folder, &id)?))
            .await?;
        let clients = Clients::connect(contestant, ground, &[at.parse()?], 1).await?;
        let bytes = Bytes::from(vec![b'v'; PAYLOAD]);
        for turn in 0..WARM_UP {
            clients.echo(&bytes, turn).await?;
        }
        let read = || {
            COUNTS.with(|counts| {
                let sizes = counts.sizes.iter().map(Cell::get).collect::<Vec<_>>();
                (counts.calls.get(), counts.bytes.get(), sizes)
            })
        };
        let before = read();
        for turn in 0..CALLS {
            clients.echo(&bytes, turn).await?;
        }
        let after = read();
        let each = |number: f64| number / CALLS as f64;
        let sizes = after.2.iter().zip(&before.2).enumerate().skip(512 / STEP);
        let large = sizes.map(|(step, (after, before))| (step * STEP, each(f64::from(after - before))));
        Ok(Allocations {
            contestant: contestant.name(),
            calls: each((after.0 - before.0) as f64),
            bytes: each((after.1 - before.1) as f64),
            large: large.filter(|(_, times)| *times > 0.4).collect(),
        })
    })
}
