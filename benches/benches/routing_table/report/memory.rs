//! What the benchmark `memory` has found, if it has run: this one doesn't count allocations, which would slow it.

use std::fs;
use std::path::Path;

use serde_json::Value;

pub(super) fn read(dir: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(dir.join("memory.json")).ok()?).ok()
}

/// The bytes of a pin with two replicas, as they were asked of the allocator.
pub(super) fn bytes_a_pin(memory: &Value) -> Option<f64> {
    memory["pins"].as_array()?.iter().find(|pin| pin["replicas"] == 2)?["bytes_a_pin"].as_f64()
}

pub(super) fn describe(memory: Option<&Value>) -> String {
    match memory {
        Some(memory) => format!(
            "Memory (`cargo bench --bench memory`, commit {}): {:.1} bytes a pin with two replicas.\n",
            memory["commit"].as_str().unwrap_or("unknown"),
            bytes_a_pin(memory).unwrap_or(f64::NAN)
        ),
        None => "Memory: not measured; run `cargo bench --bench memory` first.\n".into(),
    }
}
