//! Whether a dump fits the database that it would be restored to. Pure.

use crate::api::{CapturedData, Reason};
use crate::decide::facts::DatabaseFacts;

/// Formats that this release restores.
pub const FORMAT: &str = "age+pg_dump-custom";

/// Whether this dump can be restored into this database, as far as can be told before anything is touched.
///
/// # Errors
/// What is in the way, and what to change.
pub fn restorable(data: &CapturedData, database: &DatabaseFacts) -> Result<(), (Reason, String)> {
    let refuse = |reason: Reason, text: String| Err((reason, text));
    if data.format != FORMAT {
        return refuse(
            Reason::CapabilityMissing,
            format!("the dump has the format {}, this release restores {FORMAT}", data.format),
        );
    }
    let (dumped, there) = (major(&data.server_version), major(&database.server_version));
    match (dumped, there) {
        (Some(dumped), Some(there)) if dumped <= there => {}
        (Some(dumped), Some(there)) => {
            return refuse(
                Reason::DumpOfNewerServer,
                format!(
                    "the dump is of PostgreSQL {dumped}, the database runs {there}: upgrade it to {dumped}, or name one of {dumped} in \
                 postgres.restoreRef"
                ),
            );
        }
        _ => {
            return refuse(Reason::CapabilityMissing, "the version of the dump or of the database is not known".into());
        }
    }
    let missing: Vec<&str> =
        data.roles.iter().filter(|role| !database.roles.contains(*role)).map(String::as_str).collect();
    if !missing.is_empty() {
        let create: Vec<String> = missing.iter().map(|role| format!("CREATE ROLE {}", quoted(role))).collect();
        return refuse(
            Reason::RolesMissing,
            format!(
                "roles that the dump names are missing in the database: {}; make them: {}",
                missing.join(", "),
                create.join("; ")
            ),
        );
    }
    let names = data.extensions.iter().map(|entry| entry.split(' ').next().unwrap_or_default());
    let missing: Vec<&str> = names.filter(|name| !database.extensions.contains(*name)).collect();
    if !missing.is_empty() {
        return refuse(
            Reason::ExtensionsMissing,
            format!(
                "extensions that the dump needs are not installed on the server: {}; install their packages there",
                missing.join(", ")
            ),
        );
    }
    Ok(())
}

/// `15.18` → 15.
fn major(version: &str) -> Option<u32> {
    version.split(['.', ' ']).next()?.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> CapturedData {
        CapturedData {
            location: "ns/uid/x.age".into(),
            size_bytes: 1,
            sha256: "x".into(),
            format: FORMAT.into(),
            server_version: "15.18".into(),
            schema_version: None,
            roles: vec!["app".into()],
            extensions: vec!["pgcrypto 1.3".into()],
            integrity: [].into(),
        }
    }

    fn database() -> DatabaseFacts {
        DatabaseFacts {
            server_version: "15.4".into(),
            roles: ["app".to_owned(), "postgres".into()].into(),
            extensions: ["pgcrypto".to_owned()].into(),
            ..DatabaseFacts::default()
        }
    }

    #[test]
    fn a_dump_fits_the_same_or_a_newer_server() {
        assert_eq!(restorable(&data(), &database()), Ok(()));
        for newer in ["16.1", "17beta1", "18"] {
            assert_eq!(restorable(&data(), &DatabaseFacts { server_version: newer.into(), ..database() }), Ok(()));
        }
    }

    #[test]
    fn what_is_in_the_way_is_named_with_what_to_change() {
        let why = |data: CapturedData, database: DatabaseFacts| restorable(&data, &database).unwrap_err().1;
        let older = why(data(), DatabaseFacts { server_version: "14.9".into(), ..database() });
        assert!(older.contains("upgrade it to 15") && older.contains("restoreRef"), "{older}");
        let role = why(CapturedData { roles: vec!["app".into(), "o\"dd".into()], ..data() }, database());
        assert!(role.contains("CREATE ROLE \"o\"\"dd\"") && !role.contains("\"app\""), "{role}");
        let extension = why(CapturedData { extensions: vec!["postgis 3.3".into()], ..data() }, database());
        assert!(extension.contains("not installed on the server: postgis;"), "{extension}");
        let format = why(CapturedData { format: "sql".into(), ..data() }, database());
        assert!(format.contains("sql"), "{format}");
        let unknown = why(data(), DatabaseFacts { server_version: String::new(), ..database() });
        assert!(unknown.contains("not known"), "{unknown}");
    }
}
