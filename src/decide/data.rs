//! Whether a dump fits a database.

use crate::api::{CapturedData, Reason};
use crate::decide::facts::DatabaseFacts;

/// Holds a dump against the database that it would be restored into.
///
/// # Errors
/// A reason, and words that say what to change: an older server, roles or extensions that are missing.
pub fn restorable(data: &CapturedData, database: &DatabaseFacts) -> Result<(), (Reason, String)> {
    let (dumped, here) = (major(&data.server_version), major(&database.server_version));
    if dumped > here {
        let text = format!(
            "the dump is of PostgreSQL {}, the server is {}: a dump of a newer server cannot be restored; upgrade the server to {dumped} or choose another backup",
            data.server_version, database.server_version
        );
        return Err((Reason::DumpOfNewerServer, text));
    }
    let missing: Vec<&str> =
        data.roles.iter().filter(|role| !database.roles.contains(*role)).map(String::as_str).collect();
    if !missing.is_empty() {
        let text = format!("the dump needs roles that the server does not have: CREATE ROLE {}", missing.join(", "));
        return Err((Reason::RolesMissing, text));
    }
    let name = |extension: &str| extension.split(' ').next().unwrap_or_default().to_owned();
    let missing: Vec<String> =
        data.extensions.iter().map(|one| name(one)).filter(|one| !database.extensions.contains(one)).collect();
    if !missing.is_empty() {
        let text = format!("the dump needs extensions that the server cannot load: install {}", missing.join(", "));
        return Err((Reason::ExtensionsMissing, text));
    }
    Ok(())
}

fn major(version: &str) -> u32 {
    version.split('.').next().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
