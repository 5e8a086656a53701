//! Every interleaving of readers and a writer, with every value that the memory model lets an atomic have (loom; Norris and
//! Demsky, "CDSChecker", 2013). Crossbeam's atomics are loom's here, too. The two bad twins show that the model finds
//! what it is for.
//!
//! `RUSTFLAGS="--cfg crossbeam_loom" cargo test -p homing-routing-table --lib --release publish`

use std::mem::ManuallyDrop;
use std::process::Command;

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::thread;

use super::*;

/// A value that is filled after it was made, and emptied before it goes. Loom finds it if one thread does that while
/// another reads.
struct Value(UnsafeCell<u64>);

const EMPTY: u64 = 0;

impl Value {
    fn empty() -> Self {
        Self(UnsafeCell::new(EMPTY))
    }

    fn full(number: u64) -> Arc<Self> {
        let value = Self::empty();
        value.set(number);
        Arc::new(value)
    }

    fn set(&self, number: u64) {
        // SAFETY: the pointer is valid, and loom panics if anybody else reads or writes now.
        self.0.with_mut(|value| unsafe { *value = number });
    }

    fn get(&self) -> u64 {
        // SAFETY: the pointer is valid, and loom panics if anybody writes now.
        self.0.with(|value| unsafe { *value })
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.set(EMPTY);
    }
}

// SAFETY: loom checks every access to the cell.
unsafe impl Sync for Value {}

/// What is checked: the real publication, and its twins.
trait Publication: Send + Sync + 'static {
    fn new(first: u64) -> Self;
    fn store(&self, number: u64);
    fn load(&self) -> u64;
}

impl Publication for Published<Value> {
    fn new(first: u64) -> Self {
        Self::new(Value::full(first))
    }

    fn store(&self, number: u64) {
        self.store(Value::full(number));
    }

    fn load(&self) -> u64 {
        self.load().get()
    }
}

/// Shows the pointer before there is something behind it.
struct PublishesBeforeFilling(Published<Value>);

impl Publication for PublishesBeforeFilling {
    fn new(first: u64) -> Self {
        Self(Published::new(Value::full(first)))
    }

    fn store(&self, number: u64) {
        let value = Arc::new(Value::empty());
        self.0.store(Arc::clone(&value));
        value.set(number);
    }

    fn load(&self) -> u64 {
        self.0.load().get()
    }
}

/// Gives the old value back at once. Its memory stays, so that the check itself is sound.
struct FreesTooEarly(Published<ManuallyDrop<Value>>);

impl Publication for FreesTooEarly {
    fn new(first: u64) -> Self {
        Self(Published::new(Arc::new(ManuallyDrop::new(Value(UnsafeCell::new(first))))))
    }

    fn store(&self, number: u64) {
        let old = self.0.snapshot();
        self.0.store(Arc::new(ManuallyDrop::new(Value(UnsafeCell::new(number)))));
        old.set(EMPTY);
    }

    fn load(&self) -> u64 {
        self.0.load().get()
    }
}

/// Runs every interleaving, up to some preemptions: more find nothing else in practice (Musuvathi and Qadeer, "Iterative
/// context bounding", 2007), and take for ever. `LOOM_MAX_PREEMPTIONS` sets another bound.
fn check(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.max_branches = 10_000;
    builder.check(run);
}

/// A reader looks twice while a writer replaces the value twice.
fn read_while_written<P: Publication>() {
    check(|| {
        let published = Arc::new(P::new(1));
        let reader = thread::spawn({
            let published = Arc::clone(&published);
            move || {
                let first = published.load();
                let second = published.load();
                assert_ne!(first, EMPTY);
                assert!(first <= second, "went back from {first} to {second}");
            }
        });
        published.store(2);
        published.store(3);
        assert_eq!(published.load(), 3);
        reader.join().unwrap();
    });
}

#[test]
fn a_reader_sees_one_value_or_the_next_and_never_goes_back() {
    read_while_written::<Published<Value>>();
}

/// A model that fails takes its process along, so a twin is checked in one of its own.
fn finds(twin: &str) -> String {
    let mut check = Command::new(std::env::current_exe().unwrap());
    let output = check
        .args(["--exact", "--ignored", "--nocapture"])
        .arg(format!("publish::model::{twin}"))
        .output()
        .unwrap();
    assert!(!output.status.success(), "{twin} passes");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "a bad twin, which fails: the test below runs it"]
fn publishes_before_filling() {
    read_while_written::<PublishesBeforeFilling>();
}

#[test]
fn a_value_published_before_it_was_filled_is_found() {
    let found = finds("publishes_before_filling");
    assert!(found.contains("Causality violation"), "{found}");
}

#[test]
#[ignore = "a bad twin, which fails: the test below runs it"]
fn frees_too_early() {
    read_while_written::<FreesTooEarly>();
}

#[test]
fn a_value_freed_too_early_is_found() {
    let found = finds("frees_too_early");
    assert!(found.contains("Causality violation"), "{found}");
}

/// A snapshot outlives the table and all that follows.
#[test]
fn a_snapshot_lives_as_long_as_it_is_kept() {
    check(|| {
        let published = Arc::new(Published::new(Value::full(1)));
        let reader = thread::spawn({
            let published = Arc::clone(&published);
            move || published.snapshot()
        });
        published.store(Value::full(2));
        drop(published);
        assert_ne!(reader.join().unwrap().get(), EMPTY);
    });
}

/// A handle that keeps what it saw asks only whether that is still the value: never is another one taken for it.
#[test]
fn a_kept_value_is_told_from_those_that_follow() {
    check(|| {
        let published = Arc::new(Published::new(Value::full(1)));
        let reader = thread::spawn({
            let published = Arc::clone(&published);
            move || {
                let mut kept = published.snapshot();
                for _ in 0..2 {
                    if !published.is(&kept) {
                        let next = published.snapshot();
                        assert!(next.get() > kept.get());
                        kept = next;
                    }
                    assert_ne!(kept.get(), EMPTY);
                }
            }
        });
        published.store(Value::full(2));
        published.store(Value::full(3));
        reader.join().unwrap();
    });
}

/// Nothing leaks, and nothing is released twice: loom counts each `Arc`.
#[test]
fn two_writers_at_once_release_each_value_once() {
    check(|| {
        let published = Arc::new(Published::new(Value::full(1)));
        let other = thread::spawn({
            let published = Arc::clone(&published);
            move || published.store(Value::full(2))
        });
        published.store(Value::full(3));
        other.join().unwrap();
        assert_ne!(published.load().get(), EMPTY);
    });
}
