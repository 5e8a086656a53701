/// One figure: the median time of one contestant in one case.
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) contestant: String,
    /// Nanoseconds a lookup, or a diff.
    pub(crate) ns: f64,
}

/// What has to be said of a case beside its figures.
pub(crate) struct Note {
    pub(crate) case: String,
    pub(crate) text: String,
    /// Whether the case was not what it should have been: then its figures meet no budget.
    pub(crate) fell_short: bool,
}

/// All figures of a run, in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Rows {
    rows: Vec<Row>,
    notes: Vec<Note>,
}

impl Rows {
    pub(crate) fn add(&mut self, case: &str, contestant: &str, ns: f64) {
        self.rows.push(Row { case: case.into(), contestant: contestant.into(), ns });
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    /// The nanoseconds of a contestant in a case, if it was measured.
    pub(crate) fn ns(&self, case: &str, contestant: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.case == case && row.contestant == contestant).map(|row| row.ns)
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    pub(crate) fn note_of(&self, case: &str) -> Option<&Note> {
        self.notes.iter().find(|note| note.case == case)
    }

    /// What every contestant of a case is compared with: the first that was measured in it.
    pub(crate) fn reference(&self, case: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.case == case)
    }
}
