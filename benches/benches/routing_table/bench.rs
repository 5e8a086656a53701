use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use serde_json::Value;

use crate::effort::Effort;
use crate::rows::Rows;

/// Criterion, and the medians of what it has measured in this run.
pub(crate) struct Bench {
    /// How much is measured.
    pub(crate) effort: Effort,
    /// What was measured so far.
    pub(crate) rows: Rows,
    criterion: Criterion,
    dir: PathBuf,
    filter: Option<String>,
}

impl Bench {
    pub(crate) fn new(effort: Effort) -> Self {
        let dir =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion").join("routing_table");
        let (warm_up, measurement) = effort.times();
        let criterion = Criterion::default()
            .without_plots()
            .sample_size(20)
            .nresamples(5_000)
            .warm_up_time(warm_up)
            .measurement_time(measurement)
            .output_directory(&dir)
            .configure_from_args();
        let filter = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
        Self { effort, rows: Rows::default(), criterion, dir, filter }
    }

    /// Whether a case is asked for. What it needs is not built if not. A filter is given as the first argument:
    /// `cargo bench --bench routing_table -- publication`.
    pub(crate) fn wants(&self, case: &str) -> bool {
        let filter = self.filter.as_deref().and_then(|filter| filter.split('/').next());
        filter.is_none_or(|filter| case.contains(filter))
    }

    /// Measures one contestant in a case; `time` says how long so many iterations took, by its own clock.
    pub(crate) fn measure(&mut self, case: &str, contestant: &str, time: impl FnMut(u64) -> Duration) {
        if let Some(ns) = self.run(case, contestant, time) {
            self.rows.add(case, contestant, ns);
        }
    }

    /// As [`Self::measure`], for what is long enough to be timed one by one. The figure is the median of all single times:
    /// a stall of the machine spoils one of them, not the mean of a sample.
    pub(crate) fn measure_each(&mut self, case: &str, contestant: &str, mut time: impl FnMut() -> Duration) {
        let mut times = Vec::new();
        let mut each = || {
            let time = time();
            times.push(time.as_nanos() as f64);
            time
        };
        if self.run(case, contestant, |count| (0..count).map(|_| each()).sum()).is_some() {
            times.sort_by(f64::total_cmp);
            self.rows.add(case, contestant, times[times.len() / 2]);
        }
    }

    /// Criterion's median, if the case wasn't filtered out.
    fn run(&mut self, case: &str, contestant: &str, mut time: impl FnMut(u64) -> Duration) -> Option<f64> {
        let dir = self.dir.join(case);
        let id = contestant.replace([':', ','], "");
        // Neither compared with an earlier run nor taken for one: what counts is who runs beside it.
        let _ = fs::remove_dir_all(dir.join(&id));
        let mut group = self.criterion.benchmark_group(case);
        group.bench_function(BenchmarkId::from_parameter(&id), |bencher| bencher.iter_custom(&mut time));
        group.finish();
        median(&fs::read(dir.join(&id).join("new/estimates.json")).ok()?)
    }
}

fn median(estimates: &[u8]) -> Option<f64> {
    let estimates: Value = serde_json::from_slice(estimates).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}
