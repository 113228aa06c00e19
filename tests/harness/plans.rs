//! The plans that are cut: one row each. A new strategy or platform is one more row.

mod troubled;

use crate::model::Trouble;
use crate::script::{Act, When};
use savepoint::api::Outcome;
use troubled::{deleted, failing, interrupted, others};

/// A component of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `web`: class S.
    Netlify,
    /// `admin`: another one, on a site of its own.
    SecondNetlify,
    /// `api`: class N for code, S for the rest.
    Render,
    /// `source`: classes C and K, by a new commit.
    Branch,
    /// `source`: class C, by a forced move, which destroys.
    ForcedBranch,
    /// `flags`: class S, one call each.
    Flags,
    /// `db`: class D.
    Database,
    /// `db`: class D, its dumps are restored into another database.
    DatabaseElsewhere,
}

/// A hook of the first component.
#[derive(Clone, Copy)]
pub struct Hook {
    pub name: &'static str,
    pub when: &'static str,
    pub on_error: &'static str,
    pub repeatable: bool,
    /// What comes of calling it.
    pub trouble: Trouble,
}

/// One plan.
#[derive(Clone)]
pub struct Row {
    pub name: &'static str,
    pub parts: &'static [Part],
    pub strategy: &'static str,
    /// `previous`, `good` (the backup), `first` (undo of the earlier request), or nothing.
    pub to: &'static str,
    pub freeze: &'static str,
    pub confirmation: &'static str,
    /// More fields of the request's spec, as JSON.
    pub spec: &'static str,
    /// An earlier request, which has ended before anything is cut: its spec as JSON.
    pub first: &'static str,
    /// Another request at the same time: its spec as JSON.
    pub also: &'static str,
    /// Since the backup, a variable was added, which the plan therefore deletes.
    pub deletes: bool,
    /// Hosted components have a failover.
    pub failover: bool,
    pub suspended: bool,
    /// Nobody confirms.
    pub silent: bool,
    pub releases: bool,
    pub hooks: &'static [Hook],
    pub trouble: &'static [(&'static str, Trouble)],
    pub lines: &'static [(When, Act)],
    /// How the clean run ends. `None`: the request is gone.
    pub ends: Option<Outcome>,
    /// The clean run waits for a person.
    pub asks: bool,
}

impl Row {
    /// Whether a person may be asked: where the outcome of a step is nobody else's to know, or where others get in its way.
    pub fn may_ask(&self) -> bool {
        let part = |part: &Part| matches!(part, Part::Render | Part::Database | Part::DatabaseElsewhere);
        let keyless = self.parts.iter().any(part) || self.hooks.iter().any(|hook| !hook.repeatable);
        keyless || !self.trouble.is_empty() || !self.lines.is_empty()
    }
}

const BASE: Row = Row {
    name: "",
    parts: &[Part::Netlify],
    strategy: "Code",
    to: "previous",
    freeze: "None",
    confirmation: "Destructive",
    spec: "{}",
    first: "",
    also: "",
    deletes: false,
    failover: false,
    suspended: false,
    silent: false,
    releases: false,
    hooks: &[],
    trouble: &[],
    lines: &[],
    ends: Some(Outcome::Succeeded),
    asks: false,
};

const BEFORE: Hook =
    Hook { name: "drain", when: "BeforeRollback", on_error: "Stop", repeatable: false, trouble: Trouble::None };
const AFTER: Hook =
    Hook { name: "purge", when: "AfterRollback", on_error: "Continue", repeatable: true, trouble: Trouble::None };
/// Nobody waits for it.
const OPTIONAL: Hook = Hook { when: "BeforeRollback", ..AFTER };
const DURING: &str = "DuringRollback";
const UNTIL: &str = "UntilReleased";

/// The plan of this name, else those whose names contain it.
///
/// # Panics
/// If there is none, with the names of all.
pub fn named(part: &str) -> Vec<Row> {
    let all = rows();
    let names: Vec<&str> = all.iter().map(|row| row.name).collect();
    let fits = |row: &Row| if names.contains(&part) { row.name == part } else { row.name.contains(part) };
    let found: Vec<Row> = all.iter().filter(|row| fits(row)).cloned().collect();
    assert!(!found.is_empty(), "--plan names one of {}, or a part of such a name", names.join(", "));
    found
}

/// Every plan.
pub fn rows() -> Vec<Row> {
    [code(), values(), flags(), data(), whole(), interrupted(), deleted(), failing(), others()].concat()
}

fn code() -> Vec<Row> {
    use Part::{Branch, ForcedBranch, Render};
    vec![
        Row { name: "code-set", ..BASE },
        Row { name: "code-set-frozen", freeze: UNTIL, releases: true, ..BASE },
        Row { name: "code-set-held", freeze: UNTIL, ..BASE },
        Row { name: "code-keyless", parts: &[Render], ..BASE },
        Row { name: "code-keyless-frozen", parts: &[Render], freeze: DURING, ..BASE },
        Row { name: "code-branch", parts: &[Branch], to: "good", ..BASE },
        Row { name: "code-branch-forced", parts: &[ForcedBranch], to: "good", ..BASE },
        Row { name: "code-unsaved", parts: &[Render], spec: r#"{"safetyBackup": "Skip"}"#, ..BASE },
        Row { name: "code-hooks", parts: &[Render], hooks: &[BEFORE, AFTER], ..BASE },
        Row { name: "code-hook-that-may-fail", hooks: &[Hook { trouble: Trouble::Refuses("call"), ..AFTER }], ..BASE },
        Row {
            name: "code-hook-out-of-reach",
            hooks: &[Hook { trouble: Trouble::Unreachable("call"), ..OPTIONAL }],
            ..BASE
        },
        Row { name: "code-hook-that-errs", hooks: &[Hook { trouble: Trouble::Breaks("call"), ..OPTIONAL }], ..BASE },
        Row {
            name: "code-hook-that-stops",
            hooks: &[Hook { trouble: Trouble::Refuses("call"), ..BEFORE }],
            ends: Some(Outcome::Failed),
            ..BASE
        },
        Row { name: "code-ttl", spec: r#"{"ttl": "60s"}"#, ends: None, ..BASE },
    ]
}

fn values() -> Vec<Row> {
    use Part::{Netlify, Render};
    const OVER: &str = r#"{"strategy": "Failover"}"#;
    vec![
        Row { name: "environment-set", strategy: "Environment", to: "good", deletes: true, ..BASE },
        Row { name: "environment-keyless", parts: &[Render], strategy: "Environment", to: "good", ..BASE },
        Row { name: "failover-set", strategy: "Failover", to: "", failover: true, ..BASE },
        Row {
            name: "failover-keyless",
            parts: &[Render, Netlify],
            strategy: "Failover",
            to: "",
            failover: true,
            ..BASE
        },
        Row {
            name: "failback",
            parts: &[Render, Netlify],
            strategy: "Failback",
            to: "",
            failover: true,
            first: OVER,
            ..BASE
        },
    ]
}

fn flags() -> Vec<Row> {
    use Part::{Flags, Netlify};
    const STEPS: &str = r#"{"gradual": {"steps": [50, 25, 0], "interval": "60s"}}"#;
    vec![
        Row { name: "flags-off", parts: &[Flags], strategy: "FeatureFlags", to: "", ..BASE },
        Row { name: "flags-recorded", parts: &[Flags], strategy: "FeatureFlags", to: "good", ..BASE },
        Row { name: "gradual", parts: &[Flags], strategy: "Gradual", to: "good", spec: STEPS, ..BASE },
        Row {
            name: "gradual-cancelled",
            parts: &[Flags],
            strategy: "Gradual",
            to: "good",
            spec: STEPS,
            lines: &[(When::Verified(1), Act::Cancel)],
            ends: Some(Outcome::Cancelled),
            ..BASE
        },
        Row {
            name: "auto-flags-first",
            parts: &[Flags, Netlify],
            strategy: "Auto",
            spec: r#"{"issue": "UiBug"}"#,
            ..BASE
        },
    ]
}

fn data() -> Vec<Row> {
    use Part::{Database, DatabaseElsewhere, Render};
    const DATABASE: Row = Row {
        name: "data",
        parts: &[Database],
        strategy: "Database",
        to: "good",
        spec: r#"{"safetyBackup": "SkipData"}"#,
        ..BASE
    };
    const REFUSED: Row =
        Row { trouble: &[("db", Trouble::Refuses("restore"))], ends: Some(Outcome::Failed), ..DATABASE };
    vec![
        DATABASE,
        Row { name: "data-saved", spec: "{}", ..DATABASE },
        Row { name: "data-elsewhere", parts: &[DatabaseElsewhere], spec: "{}", ..DATABASE },
        Row { name: "data-unsaved", spec: r#"{"safetyBackup": "Skip"}"#, ..DATABASE },
        Row { name: "data-hooks", hooks: &[BEFORE, AFTER], confirmation: "Never", ..DATABASE },
        Row {
            name: "data-cancelled",
            lines: &[(When::Verified(1), Act::Cancel)],
            ends: Some(Outcome::Cancelled),
            ..DATABASE
        },
        Row {
            name: "data-cancelled-while-restoring",
            lines: &[(When::Taken(2), Act::Cancel)],
            ends: Some(Outcome::Cancelled),
            ..DATABASE
        },
        Row { name: "data-refused", ..REFUSED },
        Row { name: "data-refused-then-undone", spec: r#"{"onStepFailure": "Undo"}"#, ..REFUSED },
        Row { name: "data-code-keyless", parts: &[Database, Render], strategy: "Full", spec: "{}", ..DATABASE },
    ]
}

fn whole() -> Vec<Row> {
    use Part::{Branch, Flags, Netlify, Render, SecondNetlify};
    vec![
        Row { name: "full-set", strategy: "Full", to: "good", freeze: DURING, deletes: true, ..BASE },
        Row { name: "full-previous", strategy: "Code", parts: &[Netlify, Branch], ..BASE },
        Row {
            name: "full-five",
            parts: &[Render, Netlify, SecondNetlify, Flags, Branch],
            strategy: "Full",
            to: "good",
            freeze: UNTIL,
            releases: true,
            confirmation: "Always",
            ..BASE
        },
        Row {
            name: "dry-run",
            strategy: "Full",
            to: "good",
            spec: r#"{"dryRun": true}"#,
            ends: Some(Outcome::DryRun),
            ..BASE
        },
        Row {
            name: "undo-of",
            strategy: "Full",
            to: "first",
            first: r#"{"strategy": "Full", "to": {"backupRef": {"name": "good"}}}"#,
            ..BASE
        },
    ]
}
