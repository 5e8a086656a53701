use super::output;

/// Runs the binary, which must fail, and returns what it says: one line, no panic.
pub(crate) fn said(arguments: &[&str]) -> String {
    let ended = output(arguments);
    let says = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {says}");
    assert!(!says.contains("panicked"), "{says}");
    let complaints: Vec<_> = says.lines().filter(|line| line.starts_with("homing: ")).collect();
    assert_eq!(complaints.len(), 1, "{says}");
    complaints[0].to_owned()
}

/// Runs the binary with what is no command line, and returns what it says.
pub(crate) fn usage(arguments: &[&str]) -> String {
    let ended = output(arguments);
    let says = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {says}");
    assert!(!says.contains("panicked"), "{says}");
    says
}

#[track_caller]
pub(crate) fn assert_says(says: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(says.contains(wanted), "{wanted:?} is missing: {says}");
    }
}

/// Prints what a test was asked to count or to measure.
#[expect(clippy::print_stdout, reason = "the figures are what somebody asked for")]
pub(crate) fn tell(line: &str) {
    println!("{line}");
}
