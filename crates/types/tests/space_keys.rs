//! The published test vectors, `docs/space-keys.json`. They were computed by the reference implementation of the hash
//! (Python's `xxhash`), not by this crate.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use homing_types::{Space, SpaceKey};
use serde::Deserialize;

/// Both sides of each length at which xxh3 goes another way, and of the longest name.
const LENGTHS: [usize; 13] = [1, 2, 3, 4, 8, 9, 16, 17, 128, 129, 240, 241, 255];

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    why: String,
    name: String,
    hashed: String,
    key: String,
    slot: u16,
}

fn cases() -> Vec<Case> {
    let vectors: Vectors = serde_json::from_str(include_str!("../../../docs/space-keys.json")).unwrap();
    vectors.cases
}

#[test]
fn every_published_vector_holds() {
    for Case { why, name, hashed, key, slot } in cases() {
        let computed = Space::new(&name).unwrap().key();
        assert_eq!((computed.to_string(), computed.slot().number()), (key, slot), "{why}: {name:?}");
        // The hashed part alone, in no braces, has the same key; one with braces would be read as a tag again.
        if !hashed.contains('{') {
            assert_eq!(SpaceKey::of(&hashed), computed, "{why}: {name:?} hashes {hashed:?}");
        }
    }
}

#[test]
fn the_vectors_reach_every_branch() {
    let cases = cases();
    let lengths: BTreeSet<usize> = cases.iter().map(|case| case.hashed.len()).collect();
    let missing: Vec<_> = LENGTHS.iter().filter(|length| !lengths.contains(length)).collect();
    assert!(missing.is_empty(), "no hashed part has {missing:?} bytes");

    let has = |is: &dyn Fn(&Case) -> bool| cases.iter().any(is);
    let whole = |case: &Case| case.hashed == case.name;
    let tag = |case: &Case| format!("{{{}}}", case.hashed);
    assert!(has(&|case| whole(case) && case.name.starts_with("{}")), "an empty tag");
    assert!(
        has(&|case| whole(case) && case.name.starts_with('{') && !case.name.contains('}')),
        "an unclosed tag"
    );
    assert!(
        has(&|case| case.name.starts_with(&tag(case)) && case.name.matches('{').count() == 2),
        "two tags"
    );
    assert!(has(&|case| !whole(case) && case.hashed.contains('{')), "nested braces");
    assert!(
        has(&|case| case.name.len() > tag(case).len() && case.name.ends_with(&tag(case))),
        "a tag at the end"
    );
    assert!(has(&|case| !whole(case) && case.hashed.len() == 1), "a tag of one byte");
    assert!(has(&|case| !whole(case) && case.name.len() == Space::MAX_LEN), "the longest tag");
    for width in 2..=4 {
        assert!(
            has(&|case| case.name.chars().any(|letter| letter.len_utf8() == width)),
            "UTF-8 of {width} bytes"
        );
    }
}
