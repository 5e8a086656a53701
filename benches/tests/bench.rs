//! `homing-bench` as a user types it, as far as that measures nothing.

use std::fs;
use std::process::Command;

/// The exit code, and what was said on both outputs.
fn bench(args: &[&str]) -> (Option<i32>, String) {
    let ended = Command::new(env!("CARGO_BIN_EXE_homing-bench")).args(args).output().expect("it is built");
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8(said).expect("text"))
}

#[test]
fn wrong_input_is_named_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.json");
    fs::write(&other, "{}").unwrap();
    let more = folder.path().join("more.json");
    fs::write(&more, r#"{ "commit": "c", "connections": 7, "rows": [] }"#).unwrap();
    for (args, code, says) in [
        (["--scenario", "no"], 2, "no scenario is called that: use one of one-hop, in-place"),
        (["--contestant", "no"], 2, "nobody is called that: use one of envoy, haproxy"),
        (["--connections", "0"], 2, "0 is not in 1..=64"),
        (["--in-flight", "0"], 2, "0 is not in 1..=10000"),
        (["--compare", "/nowhere.json"], 1, "--compare: can't read /nowhere.json"),
        (["--compare", other.to_str().unwrap()], 1, "is no report.json of a bench"),
        (["--compare", more.to_str().unwrap()], 1, "have 7 connections: say --connections 7"),
    ] {
        let (ended, said) = bench(&args);
        assert_eq!(ended, Some(code), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
    let (ended, said) = bench(&["--scenario", "in-place", "--contestant", "quinn"]);
    assert!(ended == Some(2) && said.contains("none of these contestants"), "{said}");
}

#[test]
fn the_scenarios_are_listed_with_what_they_are() {
    let (ended, said) = bench(&["--list"]);
    assert_eq!(ended, Some(0));
    assert!(said.contains("stale-first  the first call for a space whose owner has changed"), "{said}");
    let names: std::collections::BTreeSet<_> =
        said.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names.len(), said.lines().count(), "each has a name of its own");
}
