/// One figure: the median time of one contestant in one case.
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) contestant: String,
    /// Nanoseconds a lookup, or a diff.
    pub(crate) ns: f64,
}

/// All figures of a run, in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Rows(Vec<Row>);

impl Rows {
    pub(crate) fn add(&mut self, case: &str, contestant: &str, ns: f64) {
        self.0.push(Row { case: case.into(), contestant: contestant.into(), ns });
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.0.iter()
    }

    /// The nanoseconds of a contestant in a case, if it was measured.
    pub(crate) fn ns(&self, case: &str, contestant: &str) -> Option<f64> {
        self.0.iter().find(|row| row.case == case && row.contestant == contestant).map(|row| row.ns)
    }

    /// What every contestant of a case is compared with: the first that was measured in it.
    pub(crate) fn reference(&self, case: &str) -> Option<&Row> {
        self.0.iter().find(|row| row.case == case)
    }
}
