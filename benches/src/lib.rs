//! Benchmarks over the public APIs of Homing; each issue that sets a budget brings its own.
