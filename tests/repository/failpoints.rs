//! The kill points of the crash tests are no part of a release: `make release-check` looks into the binary, this looks into the sources.

use crate::files::{files, read};
use savepoint::failpoint::NAMES;
use std::collections::BTreeSet;

/// The only code outside the feature is a function that does nothing, and no build asks for the feature unless it is one of the tests.
#[test]
fn without_the_feature_there_is_nothing() {
    let text = read("src/failpoint.rs");
    let empty = "#[cfg(not(feature = \"failpoints\"))]\n#[inline(always)]\npub const fn reach(_name: &str) {}\n";
    assert!(text.contains(empty), "a build without the feature must do nothing at a point");
    let functions: Vec<usize> = text.match_indices("fn ").map(|(at, _)| at).collect();
    assert_eq!(functions.len(), 2, "two functions: the empty one, and the one behind the feature");
    assert!(
        text[..functions[1]].ends_with("#[cfg(feature = \"failpoints\")]\npub "),
        "the second one is behind the feature"
    );
    for file in files("src", ".rs").iter().filter(|file| file.path != "src/failpoint.rs") {
        for word in ["SAVEPOINT_KILL_AT", "feature = \"failpoints\""] {
            assert!(!file.text.contains(word), "{}: {word} belongs to src/failpoint.rs alone", file.path);
        }
    }
    let manifest = read("Cargo.toml");
    assert!(!manifest.lines().any(|line| line.starts_with("default =") && line.contains("failpoints")));
}

/// The list names the points that there are, and every one of them once.
#[test]
fn names_are_those_of_the_points() {
    let listed = BTreeSet::from(NAMES);
    assert_eq!(listed.len(), NAMES.len(), "a name stands twice");
    let mut used = BTreeSet::new();
    for file in files("src", ".rs").iter().filter(|file| file.path != "src/failpoint.rs") {
        for (at, found) in file.text.match_indices("failpoint::reach(") {
            let rest = &file.text[at + found.len()..];
            let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            let name = name.unwrap_or_else(|| panic!("{}: a point's name is written where it is reached", file.path));
            assert!(listed.contains(name), "{}: {name} is missing in failpoint::NAMES", file.path);
            used.insert(name.to_owned());
        }
    }
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, listed, "points that are listed and nowhere reached");
}
