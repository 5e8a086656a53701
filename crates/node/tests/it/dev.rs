//! `homing dev`: a local cluster of real processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use homing::routing_table::{Diff, Group};
use homing::{Epoch, Owners, Replica, ReplicaState, SLOTS, Slot};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::support::{homing, output};

const HOMING: &str = env!("CARGO_BIN_EXE_homing");

#[test]
fn data_that_another_version_placed_is_picked_up_as_it_was_placed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let flags = ["dev", "--nodes", "2", "--replicas", "1", "--data", data, "--"];
    let first = output(&[flags.as_slice(), &["true"]].concat());
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));

    let replica = Replica { node: "n1".parse().unwrap(), state: ReplicaState::InSync };
    let owners = Owners::new("n2".parse().unwrap(), vec![replica]).unwrap();
    let slots = (0..SLOTS).filter_map(|slot| Slot::new(u16::try_from(slot).unwrap()));
    let placed = Diff::new(slots.map(|slot| (slot, Group::new(Epoch::new(1), owners.clone())))).unwrap();
    // No conflicts, and the diff; before that, its check.
    let rest = [&[0, 0], placed.as_bytes()].concat();
    let kept = [&xxh3_64(&rest).to_be_bytes(), rest.as_slice()].concat();
    for node in ["n1", "n2"] {
        std::fs::write(dir.path().join(node).join("table"), &kept).unwrap();
    }
    let second = output(&[flags.as_slice(), &[HOMING, "table", "-o", "json"]].concat());
    assert_eq!(second.status.code(), Some(0), "{}", String::from_utf8_lossy(&second.stderr));
    let table: Value = serde_json::from_slice(&second.stdout).unwrap();
    let groups = table["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "{table}");
    assert_eq!((&groups[0]["slots"], &groups[0]["primary"]), (&"0-16383".into(), &"n2".into()));
}

#[test]
fn a_call_says_how_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let put = [HOMING, "kv", "put", "acme", "key", "value"];
    let ended = output(&[["dev", "--nodes", "1", "--data", data, "--"].as_slice(), &put].concat());
    let says = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(says.trim(), "version 1.1, served by n1 (primary), 0 hops, epoch 1, 1 attempt");
    assert!(dir.path().join("n1/kv.redb").is_file());
}

#[test]
fn it_ends_as_its_command_did() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    for (command, code) in [("exit 7", 7), ("kill -9 $$", 137)] {
        let ended = output(&["dev", "--nodes", "1", "--data", data, "--", "sh", "-c", command]);
        assert_eq!(ended.status.code(), Some(code), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let ended = output(&["dev", "--nodes", "1", "--data", data, "--", "./no-such-program"]);
    let says = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{says}");
    assert!(says.contains("can't run ./no-such-program"), "{says}");
}

#[test]
fn a_signal_is_handed_on_to_the_command_which_decides() {
    let mut dev = Dev::start("trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done");
    dev.says_up();
    dev.signal("-TERM");
    assert_eq!(dev.ended(), Some(9));
    let mut dev = Dev::start("trap '' TERM; echo up; while :; do sleep 0.1; done");
    dev.says_up();
    // Signals that come faster than they are read count once: so it is told until it has heard twice.
    wait_for("its end", || {
        dev.signal("-TERM");
        dev.child.try_wait().unwrap().is_some()
    });
    assert_eq!(dev.ended(), Some(137));
}

#[test]
fn a_command_that_was_told_to_stop_before_it_ran_has_not_succeeded() {
    let mut dev = Dev::start("exec sleep 300");
    // From here on signals are listened for; the cluster is yet to come.
    wait_for("the lock", || dev.dir.path().join("lock").exists());
    dev.signal("-TERM");
    assert_eq!(dev.ended(), Some(128 + 15));
}

#[test]
fn no_command_outlives_a_dev_that_was_killed() {
    for ignored in ["", "trap '' TERM; "] {
        let mut dev = Dev::start(&format!("{ignored}echo $$; exec sleep 300"));
        let pid = dev.line();
        assert!(runs(&pid));
        dev.signal("-KILL");
        dev.child.wait().unwrap();
        wait_for("the end of the command", || !runs(&pid));
    }
}

/// A `homing dev` of one node, with a command of the shell.
struct Dev {
    dir: tempfile::TempDir,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Dev {
    fn start(command: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = homing()
            .args(["dev", "--nodes", "1", "--data", dir.path().to_str().unwrap()])
            .args(["--", "sh", "-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { dir, child, stdout }
    }

    /// The next line that the command prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn says_up(&mut self) {
        assert_eq!(self.line(), "up");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end, and says its code.
    fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its nodes and its command end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn runs(pid: &str) -> bool {
    let asked = Command::new("kill").args(["-0", pid]).stderr(Stdio::null()).status();
    asked.unwrap().success()
}

#[allow(clippy::disallowed_methods, reason = "what is waited for happens in other processes")]
fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what} does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
