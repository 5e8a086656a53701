//! One pointer that readers follow without waiting, and whose old target is released when no reader can see it any more
//! (epoch-based reclamation: Fraser, "Practical lock-freedom", 2004, by crossbeam-epoch).
//!
//! The only unsafe code of this crate.

#![allow(unsafe_code)]

#[cfg(all(test, crossbeam_loom))]
mod model;

use std::marker::PhantomData;
use std::ops::Deref;

use crossbeam_epoch::{Guard, pin};

use crate::sync::{Arc, AtomicPtr, Ordering};

/// A published value. It is replaced as a whole.
pub(crate) struct Published<T: Send + Sync + 'static> {
    /// From `Arc::into_raw`; one of the counts of its target belongs to it.
    pointer: AtomicPtr<T>,
}

impl<T: Send + Sync + 'static> Published<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self { pointer: AtomicPtr::new(Arc::into_raw(value).cast_mut()) }
    }

    /// The value as it is now, for a short look.
    #[inline]
    pub(crate) fn load(&self) -> Pinned<'_, T> {
        let guard = pin();
        // Acquire: what the value holds was written before it was published.
        let value = self.pointer.load(Ordering::Acquire);
        Pinned { value, _guard: guard, _published: PhantomData }
    }

    /// The value as it is now, for as long as one likes.
    pub(crate) fn snapshot(&self) -> Arc<T> {
        let pinned = self.load();
        // SAFETY: the pointer is from `Arc::into_raw`, and `pinned` keeps the count that was published with it until the
        // count that is added here belongs to the new `Arc`.
        unsafe {
            Arc::increment_strong_count(pinned.value);
            Arc::from_raw(pinned.value)
        }
    }

    /// Whether this is the value as it is now. While somebody holds it, no other value can stand at its address.
    #[inline]
    pub(crate) fn is(&self, value: &Arc<T>) -> bool {
        // Acquire: who finds the value changed sees all that was done before.
        std::ptr::eq(self.pointer.load(Ordering::Acquire), Arc::as_ptr(value))
    }

    /// Replaces the value. Readers see the old one or the new one.
    pub(crate) fn store(&self, value: Arc<T>) {
        let guard = pin();
        // Release: whoever loads the value sees all that it holds.
        let old = self.pointer.swap(Arc::into_raw(value).cast_mut(), Ordering::AcqRel);
        // SAFETY: the swap made `old` unreachable for whoever loads from now on, and only this call has it, so its count is
        // given back once; those who loaded it before are pinned, and crossbeam waits for them. It may do so on any
        // thread, which is right for a value that is `Send` and `Sync`.
        unsafe { guard.defer_unchecked(move || drop(Arc::from_raw(old))) };
        guard.flush();
    }

    /// Gives back what was replaced, as far as no reader is pinned: what is retired in one epoch may go two epochs later, and
    /// each of these steps ends one.
    pub(crate) fn collect() {
        (0..3).for_each(|_| pin().flush());
    }
}

impl<T: Send + Sync + 'static> Drop for Published<T> {
    fn drop(&mut self) {
        // Relaxed: `&mut self` says that nobody else can load from it, and that all that was done before is seen.
        let value = self.pointer.load(Ordering::Relaxed);
        // SAFETY: every `Pinned` borrows `self`, so no reader is left, and the count is given back only here.
        drop(unsafe { Arc::from_raw(value) });
    }
}

/// A published value that can't be freed while this lives.
pub(crate) struct Pinned<'a, T> {
    value: *const T,
    _guard: Guard,
    _published: PhantomData<&'a T>,
}

impl<T> Deref for Pinned<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the pointer is never null, since it is made with a value and only swapped for another. What it points to
        // was fully written before the release that published it, and is not freed while the guard, which was pinned
        // before the load, lives.
        unsafe { &*self.value }
    }
}
