//! Plans under which something happens: somebody stops them, a platform refuses, another request wants the same.

use super::{BASE, DURING, Part, Row, UNTIL};
use crate::model::Trouble;
use crate::script::{Act, When};
use savepoint::api::Outcome;
use std::time::Duration;

pub(super) fn interrupted() -> Vec<Row> {
    use Part::{Flags, ForcedBranch, Render};
    vec![
        Row {
            name: "cancelled",
            strategy: "Full",
            to: "good",
            freeze: DURING,
            lines: &[(When::Intent(2), Act::Cancel)],
            ends: Some(Outcome::Cancelled),
            ..BASE
        },
        Row {
            name: "cancelled-between-look-and-intent",
            freeze: DURING,
            lines: &[(When::Inspected(1), Act::Cancel)],
            ends: Some(Outcome::Cancelled),
            ..BASE
        },
        Row {
            name: "pushed-meanwhile",
            parts: &[ForcedBranch],
            to: "good",
            lines: &[(When::Intent(1), Act::Push("source"))],
            ends: Some(Outcome::Failed),
            ..BASE
        },
        Row {
            name: "deployed-meanwhile",
            parts: &[Render],
            freeze: DURING,
            lines: &[(When::Phase("SafetyBackup"), Act::Deploy("api"))],
            ends: Some(Outcome::Failed),
            ..BASE
        },
        Row {
            name: "changed-before-confirmation",
            strategy: "Environment",
            to: "good",
            deletes: true,
            lines: &[(When::Phase("SafetyBackup"), Act::SetVariable("web"))],
            ..BASE
        },
        Row {
            name: "secret-lost-and-found",
            strategy: "Full",
            to: "good",
            freeze: DURING,
            lines: &[(When::Verified(2), Act::DeleteSecret), (When::Quiet, Act::RestoreSecret)],
            ..BASE
        },
        Row {
            name: "suspended-target",
            parts: &[Flags],
            strategy: "FeatureFlags",
            to: "",
            suspended: true,
            lines: &[(When::Quiet, Act::Resume)],
            ..BASE
        },
        Row {
            name: "nobody-confirms",
            parts: &[ForcedBranch],
            to: "good",
            silent: true,
            spec: r#"{"deadline": "60s"}"#,
            ends: Some(Outcome::Failed),
            ..BASE
        },
        Row {
            name: "plan-of-another-version",
            confirmation: "Always",
            lines: &[(When::Phase("AwaitingConfirmation"), Act::AgePlan)],
            ends: Some(Outcome::Failed),
            ..BASE
        },
        Row {
            name: "locks-deleted",
            strategy: "Full",
            to: "good",
            lines: &[(When::Verified(1), Act::DeleteLocks)],
            ..BASE
        },
        Row {
            name: "plan-of-another-version-in-mid-run",
            strategy: "Full",
            to: "good",
            lines: &[(When::Verified(1), Act::AgePlan)],
            ends: Some(Outcome::Failed),
            ..BASE
        },
    ]
}

pub(super) fn deleted() -> Vec<Row> {
    use Part::{Database, Flags, Render};
    let gone = Row { freeze: UNTIL, ends: None, ..BASE };
    vec![
        Row {
            name: "deleted-while-planned",
            confirmation: "Always",
            lines: &[(When::Phase("AwaitingConfirmation"), Act::Delete)],
            ..gone.clone()
        },
        Row { name: "deleted-while-saving", lines: &[(When::Phase("SafetyBackup"), Act::Delete)], ..gone.clone() },
        Row { name: "deleted-at-first-intent", lines: &[(When::Intent(1), Act::Delete)], ..gone.clone() },
        Row { name: "deleted", lines: &[(When::Intent(2), Act::Delete)], ..gone.clone() },
        Row { name: "deleted-at-last-step", lines: &[(When::Verified(2), Act::Delete)], ..gone.clone() },
        Row { name: "deleted-at-the-end", lines: &[(When::Ended, Act::Delete)], ..gone.clone() },
        Row { name: "deleted-keyless", parts: &[Render], lines: &[(When::Intent(2), Act::Delete)], ..gone.clone() },
        Row {
            name: "deleted-between-look-and-intent",
            parts: &[Render],
            lines: &[(When::Inspected(4), Act::Delete)],
            ..gone.clone()
        },
        Row {
            name: "deleted-while-paused",
            parts: &[Database],
            strategy: "Database",
            to: "good",
            spec: r#"{"safetyBackup": "SkipData"}"#,
            lines: &[(When::Intent(2), Act::Delete)],
            ..gone.clone()
        },
        Row {
            name: "deleted-while-falling",
            parts: &[Flags],
            strategy: "Gradual",
            to: "good",
            spec: r#"{"gradual": {"steps": [50, 0], "interval": "60s"}}"#,
            lines: &[(When::Verified(1), Act::Delete)],
            ..gone
        },
    ]
}

pub(super) fn failing() -> Vec<Row> {
    use Part::{Flags, Netlify, Render, SecondNetlify};
    let failed =
        Row { parts: &[Flags, Netlify, Render], strategy: "Full", to: "good", ends: Some(Outcome::Failed), ..BASE };
    const API: (&str, Trouble) = ("api", Trouble::Refuses("roll back"));
    const ADMIN: (&str, Trouble) = ("admin", Trouble::TurnsBack("dep-2", Duration::from_secs(25)));
    const WEB: (&str, Trouble) = ("web", Trouble::TurnsBack("dep-2", Duration::from_secs(25)));
    vec![
        Row { name: "step-fails-stop", trouble: &[API], ..failed.clone() },
        Row { name: "step-fails-undo", spec: r#"{"onStepFailure": "Undo"}"#, trouble: &[API], ..failed.clone() },
        Row {
            name: "step-fails-continue",
            spec: r#"{"onStepFailure": "Continue"}"#,
            trouble: &[API],
            ..failed.clone()
        },
        Row {
            name: "half-written-undo",
            parts: &[Netlify],
            strategy: "Environment",
            deletes: true,
            spec: r#"{"onStepFailure": "Undo"}"#,
            trouble: &[("web", Trouble::Refuses("delete NEW"))],
            ..failed.clone()
        },
        Row {
            name: "right-missing-for-a-while",
            trouble: &[("api", Trouble::Denies("roll back", 2))],
            ends: Some(Outcome::Succeeded),
            ..failed.clone()
        },
        Row {
            name: "undo-fails",
            parts: &[Flags, Netlify, SecondNetlify],
            spec: r#"{"verification": {"stableFor": "40s", "onFailure": "Undo"}}"#,
            trouble: &[ADMIN, ("web", Trouble::Refuses("publish dep-3"))],
            ends: None,
            asks: true,
            ..failed.clone()
        },
        Row {
            name: "turned-back-undo",
            parts: &[Flags, Netlify],
            spec: r#"{"verification": {"stableFor": "40s", "onFailure": "Undo"}}"#,
            trouble: &[WEB],
            ..failed.clone()
        },
        Row {
            name: "turned-back-report",
            parts: &[Netlify],
            strategy: "Code",
            to: "previous",
            spec: r#"{"verification": {"stableFor": "40s", "onFailure": "Report"}}"#,
            trouble: &[WEB],
            ..failed
        },
    ]
}

pub(super) fn others() -> Vec<Row> {
    use Part::{Netlify, SecondNetlify};
    const ADMIN: &str = r#"{"strategy": "Code", "components": ["admin"], "to": {"previous": {}}}"#;
    const WEB: &str = r#"{"strategy": "Code", "components": ["web"], "to": {"previous": {}}}"#;
    let two = Row { parts: &[Netlify, SecondNetlify], spec: r#"{"components": ["web"]}"#, ..BASE };
    vec![
        Row { name: "two-share-a-freeze", freeze: UNTIL, releases: true, also: ADMIN, ..two.clone() },
        Row { name: "two-want-the-same", freeze: DURING, also: WEB, ..two },
        Row { name: "beside-one-that-does-not-decode", also: r#"{"components": 7}"#, ..BASE },
    ]
}
