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
    for (at, _) in
        text.match_indices("fn ").filter(|(at, _)| text[..*at].ends_with("pub ") || text[..*at].ends_with("const "))
    {
        let above = &text[..at];
        let gate = above.rfind("#[cfg(").map(|from| &above[from..]).unwrap_or_default();
        // Between the gate and its function stand only attributes and words.
        assert!(gate.starts_with("#[cfg(") && !gate.contains("\n}"), "a function without a gate: {gate}");
        if gate.starts_with("#[cfg(not(") {
            let body = text[at..].split_once('{').map(|(_, body)| body.split('}').next().unwrap_or_default().trim());
            assert!(matches!(body, Some("" | "false")), "a build without the feature must do nothing: {body:?}");
        }
    }
    // Virtual time, a leader without a lease and a process's waits are for the crash harness, behind the same feature.
    let others = ["src/failpoint.rs", "src/clock.rs", "src/controller/leader.rs", "src/controller/mod.rs"];
    for file in files("src", ".rs").iter().filter(|file| !others.contains(&file.path.as_str())) {
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
