//! What a newcomer reads: each crate's docs, the map, the papers in the root, and files short enough.

use std::path::Path;

use super::finding::Finding;

/// The map of the house.
pub(crate) const MAP: &str = "docs/ARCHITECTURE.md";

const PAPERS: [&str; 5] = [MAP, "README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// More lines than this usually hold two ideas. Generated files are not counted.
const MAX_LINES: usize = 600;

/// Checks the docs that a crate's root file opens with.
pub(crate) fn check_crate(file: &Path, text: &str, is_library: bool) -> Option<Finding> {
    if !text.starts_with("//!") {
        return Some(Finding::new(
            file,
            "it doesn't open with docs",
            "begin with `//!` and what the crate is for",
        ));
    }
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let docs: Vec<_> = lines.flat_map(str::split_whitespace).collect();
    (is_library && !docs.join(" ").contains("Never knows")).then(|| {
        Finding::new(
            file,
            "its docs don't say what the crate must never know",
            "add a sentence with `**Never knows**`, as docs/ARCHITECTURE.md has it",
        )
    })
}

/// Checks that the map shows every crate by its folder.
pub(crate) fn check_map<'a>(map: &str, folders: impl Iterator<Item = &'a Path>) -> Vec<Finding> {
    let missing = folders.filter(|folder| !mentions(map, &folder.to_string_lossy()));
    missing
        .map(|folder| {
            Finding::new(
                MAP,
                format!("{} isn't on the map", folder.display()),
                "say what it is and never knows",
            )
        })
        .collect()
}

/// Whether the folder stands there as a whole: `crates/transport-grpc` doesn't show `crates/transport`.
fn mentions(map: &str, folder: &str) -> bool {
    let continues = |letter: char| letter.is_alphanumeric() || letter == '-' || letter == '_';
    map.match_indices(folder).any(|(start, _)| {
        !map[..start].ends_with(continues) && !map[start + folder.len()..].starts_with(continues)
    })
}

/// Checks that the papers exist and say something.
pub(crate) fn check_papers(read: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let is_blank = |paper: &&str| read(paper).is_none_or(|text| text.trim().is_empty());
    let missing = PAPERS.into_iter().filter(is_blank);
    missing.map(|paper| Finding::new(paper, "it is missing or empty", "write it")).collect()
}

/// Checks that a source file isn't too long.
pub(crate) fn check_length(file: &Path, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let problem = || format!("it has {lines} lines, more than {MAX_LINES}");
    (lines > MAX_LINES).then(|| Finding::new(file, problem(), "it holds two ideas: give each its file"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::lines;
    use super::*;

    #[test]
    fn a_crate_that_does_not_open_with_docs_is_found() {
        for text in ["", "mod a;", "// a comment", "\n//! Late.", "#![allow(unused)]\n//! Late."] {
            assert_eq!(
                lines(check_crate(Path::new("src/main.rs"), text, false)),
                ["src/main.rs: it doesn't open with docs; begin with `//!` and what the crate is for"],
                "{text:?}"
            );
        }
        assert_eq!(check_crate(Path::new("src/main.rs"), "//! A program.", false), None);
    }

    #[test]
    fn a_library_that_does_not_say_what_it_never_knows_is_found() {
        for text in [
            "//! A library.",
            "//! A library.\n\n/// Never knows.",
            "//! A library.\n// Never knows",
            "//! A library.\nmod a {\n//! Never knows\n}",
        ] {
            assert_eq!(
                lines(check_crate(Path::new("src/lib.rs"), text, true)),
                ["src/lib.rs: its docs don't say what the crate must never know; \
                  add a sentence with `**Never knows**`, as docs/ARCHITECTURE.md has it"],
                "{text:?}"
            );
        }
        for text in
            ["//! A library.\n//!\n//! **Never knows** sockets.", "//! Words. Never\n//! knows sockets."]
        {
            assert_eq!(check_crate(Path::new("src/lib.rs"), text, true), None, "{text:?}");
        }
    }

    #[test]
    fn a_crate_that_is_not_on_the_map_is_found() {
        let folders = ["crates/transport", "crates/transport-grpc", "xtask"].map(Path::new);
        let found = check_map("`crates/transport-grpc`, and xtask.", folders.into_iter());
        assert_eq!(
            lines(found),
            ["docs/ARCHITECTURE.md: crates/transport isn't on the map; say what it is and never knows"]
        );
        assert!(check_map("crates/transport-grpc crates/transport xtask", folders.into_iter()).is_empty());
    }

    #[test]
    fn a_paper_that_is_missing_or_empty_is_found() {
        for gone in PAPERS {
            for text in [None, Some(" \n".to_owned())] {
                let found =
                    check_papers(|paper| if paper == gone { text.clone() } else { Some("words".into()) });
                assert_eq!(lines(found), [format!("{gone}: it is missing or empty; write it")]);
            }
        }
        assert!(check_papers(|_| Some("words".into())).is_empty());
    }

    #[test]
    fn a_file_past_600_lines_is_found() {
        let file = Path::new("src/long.rs");
        assert_eq!(check_length(file, &"x\n".repeat(600)), None);
        assert_eq!(
            lines(check_length(file, &"x\n".repeat(601))),
            ["src/long.rs: it has 601 lines, more than 600; it holds two ideas: give each its file"]
        );
    }
}
