//! One pointer that readers follow without waiting, and whose old target is freed when no reader can see it any more
//! (epoch-based reclamation: Fraser, "Practical lock-freedom", 2004, by crossbeam-epoch).
//!
//! The only unsafe code of this crate.

#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_epoch::{Atomic, Guard, Owned, Shared, pin};

/// A published value. It is replaced as a whole.
pub(crate) struct Published<T: Send + Sync + 'static> {
    pointer: Atomic<Arc<T>>,
}

impl<T: Send + Sync + 'static> Published<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { pointer: Atomic::new(Arc::new(value)) }
    }

    /// The value as it is now, for a short look.
    #[inline]
    pub(crate) fn load(&self) -> Pinned<'_, T> {
        let guard = pin();
        let shared = self.pointer.load(Ordering::Acquire, &guard);
        // SAFETY: the pointer is never null, since it is made with a value and only swapped for another. What it points
        // to was fully written before the release that published it, and is not freed while `guard`, which was
        // pinned before the load and is kept in the `Pinned`, lives.
        let value: *const Arc<T> = unsafe { shared.deref() };
        Pinned { value, _guard: guard, _published: PhantomData }
    }

    /// Replaces the value. Readers see the old one or the new one.
    pub(crate) fn store(&self, value: T) {
        let guard = pin();
        let new = Owned::new(Arc::new(value));
        let old: Shared<'_, Arc<T>> = self.pointer.swap(new, Ordering::AcqRel, &guard);
        // SAFETY: the swap made `old` unreachable for whoever loads from now on, and only this call has it, so it is
        // destroyed once; those who loaded it before are pinned, and crossbeam waits for them.
        unsafe { guard.defer_destroy(old) };
        guard.flush();
    }
}

impl<T: Send + Sync + 'static> Drop for Published<T> {
    fn drop(&mut self) {
        let pointer = std::mem::replace(&mut self.pointer, Atomic::null());
        // SAFETY: `&mut self` says that nobody else can load from it, and every `Pinned` borrows `self`; the pointer
        // is not null and owns its target.
        drop(unsafe { pointer.into_owned() });
    }
}

/// A published value that can't be freed while this lives.
pub(crate) struct Pinned<'a, T> {
    value: *const Arc<T>,
    _guard: Guard,
    _published: PhantomData<&'a T>,
}

impl<T> Deref for Pinned<'_, T> {
    type Target = Arc<T>;

    #[inline]
    fn deref(&self) -> &Arc<T> {
        // SAFETY: see `load`: the guard in `self` keeps the target.
        unsafe { &*self.value }
    }
}
