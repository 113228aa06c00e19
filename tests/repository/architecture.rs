//! Direction of imports, and the few places that may read time, the environment and the network.

use crate::code::{Code, code, is_test_file};
use crate::files::files;

/// What each module under `src/` may use of the crate. A longer path narrows: `decide::facts` is not all of `decide`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("api", &["api"]),
    ("decide", &["api", "decide", "keyed_digest"]),
    ("platform", &["api", "decide::facts", "platform", "egress", "expression", "clock", "keyed_digest", "failpoint"]),
    ("check", &["api", "decide::facts", "check", "egress", "expression", "clock", "keyed_digest", "failpoint"]),
    ("store", &["api", "decide::facts", "store", "clock", "keyed_digest", "failpoint"]),
    (
        "controller",
        &[
            "api",
            "decide",
            "platform",
            "check",
            "store",
            "controller",
            "egress",
            "clock",
            "config",
            "failpoint",
            "keyed_digest",
        ],
    ),
    ("config", &["api"]),
    ("admin", &["platform", "check", "store", "controller"]),
    ("telemetry", &["config"]),
    ("egress", &["egress"]),
    ("expression", &[]),
    ("clock", &[]),
    ("failpoint", &[]),
    ("keyed_digest", &[]),
];

/// Everything under `src/` but tests, with the name of its module.
fn modules() -> Vec<(String, Code)> {
    let all = files("src", ".rs");
    let of = |path: &str| path.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_owned();
    all.iter().filter(|file| !is_test_file(file)).map(|file| (of(&file.path), code(file))).collect()
}

/// Fails with every place where `wrong` holds.
fn refuse(rule: &str, wrong: impl Fn(&str, &Code) -> Vec<(usize, String)>) {
    let mut places = Vec::new();
    for (module, code) in &modules() {
        places.extend(wrong(module, code).into_iter().map(|(line, what)| format!("{}:{line}: {what}", code.path)));
    }
    assert!(places.is_empty(), "{rule}\n  {}", places.join("\n  "));
}

/// The uses that match one of these path fragments.
fn using(code: &Code, fragments: &[&str]) -> Vec<(usize, String)> {
    let matches = |fragment: &&&str| code.used.iter().any(|used| used.has(fragment));
    fragments
        .iter()
        .filter(matches)
        .flat_map(|fragment| code.used.iter().filter(|used| used.has(fragment)))
        .map(|used| (used.line, used.path.join("::")))
        .collect()
}

#[test]
fn imports_point_one_way() {
    refuse("a module uses what lies outside of it", |module, code| {
        if ["lib", "main", "bin", "cli"].contains(&module) {
            return Vec::new();
        }
        let row = MAY_USE.iter().find(|(name, _)| *name == module);
        let (_, allowed) = row.unwrap_or_else(|| panic!("src/{module} has no row in MAY_USE: what may it use?"));
        let of_ours = code.used.iter().filter(|used| used.path[0] == "crate" && used.path.len() > 1);
        let wrong = of_ours.filter(|used| !allowed.iter().any(|path| used.starts_with(&format!("crate::{path}"))));
        wrong.map(|used| (used.line, used.path.join("::"))).collect()
    });
}

#[test]
fn nothing_uses_the_binaries() {
    refuse("main, cli and bin are used by nobody", |module, code| {
        let inside = |name: &str| module == name;
        let wrong = |used: &&crate::code::Used| {
            ["main", "cli", "bin"].iter().any(|name| !inside(name) && used.starts_with(&format!("crate::{name}")))
        };
        code.used.iter().filter(wrong).map(|used| (used.line, used.path.join("::"))).collect()
    });
}

#[test]
fn types_and_decisions_are_pure() {
    const IMPURE: &[&str] = &[
        "async",
        "await",
        "tokio",
        "futures",
        "reqwest",
        "kube::Client",
        "kube::Api",
        "kube::runtime",
        "Timestamp::now",
        "Zoned::now",
        "Instant",
        "SystemTime",
        "std::env",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "clock",
    ];
    refuse("src/api and src/decide do no I/O and read no clock", |module, code| {
        if ["api", "decide"].contains(&module) { using(code, IMPURE) } else { Vec::new() }
    });
}

#[test]
fn only_the_clock_reads_time() {
    refuse("only src/clock.rs reads time", |module, code| {
        const READS: &[&str] = &["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now", "Utc::now"];
        if module == "clock" { Vec::new() } else { using(code, READS) }
    });
}

#[test]
fn only_the_configuration_reads_the_environment() {
    const READS: &[&str] = &[
        "env::var",
        "env::var_os",
        "env::vars",
        "env::vars_os",
        "env::set_var",
        "EnvFilter::try_from_default_env",
        "EnvFilter::from_default_env",
        "EnvFilter::from_env",
        "EnvFilter::try_from_env",
        "Config::infer",
        "Client::try_default",
    ];
    refuse("only src/config.rs reads the environment", |module, code| {
        // A kill point is compiled in for the crash tests only, and must be reachable from anywhere.
        if ["config", "failpoint"].contains(&module) { Vec::new() } else { using(code, READS) }
    });
}

#[test]
fn only_platforms_and_checks_speak_http() {
    refuse("reqwest is used in src/platform, src/check and src/egress only", |module, code| {
        if ["platform", "check", "egress"].contains(&module) { Vec::new() } else { using(code, &["reqwest"]) }
    });
}

/// A branch moves by compare-and-set alone (GraphQL `updateRefs` with `beforeOid`). GitHub's REST call for a ref moves it from wherever it
/// is, by force or not, so no address of it may be in the client at all, but for reading and for making a new ref.
#[test]
fn no_ref_is_moved_by_rest() {
    refuse("a ref is moved over REST", |module, code| {
        let about_refs =
            |text: &str| text.contains("git/refs/") || text.contains("/merges") || text.contains("update-ref");
        let in_github = module == "platform" && code.path.contains("github");
        let mut wrong: Vec<_> = code
            .texts
            .iter()
            .filter(|(text, _)| in_github && about_refs(text))
            .cloned()
            .map(|(text, line)| (line, text))
            .collect();
        if in_github {
            wrong.extend(using(code, &["Verb::Patch", "Method::PATCH"]));
        }
        wrong
    });
}
