//! Bugs that can be planted, each with the oracle that must catch it: an oracle that finds nothing proves little.

use crate::driver::Lab;
use crate::explore::{clean, cuts_after};
use crate::fault::{Cut, shown};
use crate::plans::rows;

/// A bug, the plan on which it is looked for, and the oracle that catches it.
pub struct Bug {
    pub name: &'static str,
    pub plan: &'static str,
    pub oracle: &'static str,
}

/// Every bug that can be planted: those of the engine at `failpoint::planted` in `src`, those of the world (with spaces) here.
pub const BUGS: &[Bug] = &[
    Bug { name: "no-intent", plan: "code-set", oracle: "I2" },
    Bug { name: "conflict-is-ours", plan: "code-set", oracle: "I2" },
    Bug { name: "wrong-class", plan: "code-keyless", oracle: "2.1" },
    Bug { name: "timeout-is-not-sent", plan: "code-keyless", oracle: "I1" },
    Bug { name: "timeout-is-taken", plan: "code-set", oracle: "G9" },
    Bug { name: "ignore-409", plan: "cancelled-between-look-and-intent", oracle: "I18" },
    Bug { name: "blind-backup", plan: "environment-set", oracle: "I6" },
    Bug { name: "secret-in-log", plan: "code-set", oracle: "I23" },
    Bug { name: "secret-in-message", plan: "code-set", oracle: "I23" },
    Bug { name: "the API server forgets a deletion", plan: "code-set", oracle: "I8" },
    Bug { name: "the platform lies", plan: "code-set", oracle: "I9" },
];

/// The first cut at which the bug is caught by its oracle, and how many runs it took.
pub async fn hunt(lab: &Lab, bug: &Bug) -> Option<(String, usize)> {
    savepoint::failpoint::plant(None);
    let row = rows().into_iter().find(|row| row.name == bug.plan)?;
    let (prepared, first) = clean(lab, &row).await;
    savepoint::failpoint::plant(Some(bug.name));
    let singles: Vec<Cut> = cuts_after(&first, 0).collect();
    let mut found = None;
    for (index, cuts) in std::iter::once(&[][..]).chain(singles.chunks(1)).enumerate() {
        let report = lab.run(&prepared, cuts, Some(&first.end), false).await;
        if report.violations.iter().any(|violation| violation.oracle.starts_with(bug.oracle)) {
            found = Some((shown(cuts), index + 1));
            break;
        }
    }
    savepoint::failpoint::plant(None);
    found
}
