//! An allocator that counts. It stands in a benchmark of its own, since counting would slow the timed ones.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, and a count of the bytes that were asked of it.
pub(crate) struct Counting {
    live: AtomicUsize,
    peak: AtomicUsize,
    /// As glibc hands them out: with 8 bytes of its own, in multiples of 16, at least 32.
    chunks: AtomicUsize,
}

impl Counting {
    pub(crate) const fn new() -> Self {
        Self { live: AtomicUsize::new(0), peak: AtomicUsize::new(0), chunks: AtomicUsize::new(0) }
    }

    /// Bytes that were asked for and not given back.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// What glibc takes for them.
    pub(crate) fn chunks(&self) -> usize {
        self.chunks.load(Ordering::Relaxed)
    }

    /// The most bytes that were live while `work` ran, above those that were before.
    pub(crate) fn peak_of(&self, work: impl FnOnce()) -> usize {
        let before = self.live();
        self.peak.store(before, Ordering::Relaxed);
        work();
        self.peak.load(Ordering::Relaxed) - before
    }

    fn add(&self, size: usize) {
        let live = self.live.fetch_add(size, Ordering::Relaxed) + size;
        self.peak.fetch_max(live, Ordering::Relaxed);
        self.chunks.fetch_add(chunk(size), Ordering::Relaxed);
    }

    fn remove(&self, size: usize) {
        self.live.fetch_sub(size, Ordering::Relaxed);
        self.chunks.fetch_sub(chunk(size), Ordering::Relaxed);
    }
}

const fn chunk(size: usize) -> usize {
    let chunk = (size + 8).next_multiple_of(16);
    if chunk < 32 { 32 } else { chunk }
}

// SAFETY: every call is passed on as it came to the system's allocator, which keeps the contract; counting neither
// allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.remove(layout.size());
        // SAFETY: as above; the pointer came from the system's allocator, since all do.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both live for a moment, if the memory can't be stretched: the peak is not flattered.
        self.add(size);
        self.remove(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
