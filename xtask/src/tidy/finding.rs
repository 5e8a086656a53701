use std::fmt;
use std::path::{Path, PathBuf};

/// A broken rule: where, what is wrong, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    file: PathBuf,
    problem: String,
    remedy: String,
}

impl Finding {
    pub(crate) fn new(file: impl AsRef<Path>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: file.as_ref().to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.file.display(), self.problem, self.remedy)
    }
}

/// The findings as they are printed, to compare in tests.
#[cfg(test)]
pub(crate) fn lines(findings: impl IntoIterator<Item = Finding>) -> Vec<String> {
    findings.into_iter().map(|finding| finding.to_string()).collect()
}
