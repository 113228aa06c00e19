//! A dump, and what is said of it: `pg_dump` and every query see one and the same snapshot.

use super::connection::{Link, error, kind_of, without_values};
use super::{Postgres, facts};
use crate::platform::{DumpFacts, ErrorKind, Result, redact};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What the status of a backup has room for.
const MOST_NAMES: usize = 256;
/// How much of what a program complains of is read.
const COMPLAINTS: u64 = 16 * 1024;

pub(super) async fn dump(postgres: &Postgres, sink: &mut (dyn AsyncWrite + Send + Unpin)) -> Result<DumpFacts> {
    let operation = "dump";
    let link = postgres.link(&postgres.address, operation).await?;
    let (server_version, major) = facts::version(&link).await?;
    let programs = postgres.programs(major, operation).await?;
    // The dump may take longer than any statement may, and the snapshot lives as long as this transaction.
    let begin = "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = 0; \
                 BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TimeZone = 'UTC'";
    link.run(operation, begin).await?;
    let snapshot = link.column(operation, "SELECT pg_catalog.pg_export_snapshot()").await?.pop().unwrap_or_default();
    let said = said(postgres, &link, server_version).await?;
    let mut command = programs.command("pg_dump", &postgres.address, &link.route, "savepoint-dump")?;
    command.args([
        "--format=custom",
        "--no-password",
        "--exclude-schema=savepoint",
        "--no-subscriptions",
        "--lock-wait-timeout=30s",
    ]);
    command.arg(format!("--snapshot={snapshot}"));
    let unusable = |_| error(operation, ErrorKind::Unavailable, "pg_dump could not be started");
    let mut child = command.spawn().map_err(unusable)?;
    let (Some(mut output), Some(complaints)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(error(operation, ErrorKind::Unavailable, "pg_dump could not be started"));
    };
    let copied = async {
        let copied = tokio::io::copy_buf(&mut tokio::io::BufReader::with_capacity(256 * 1024, &mut output), sink).await;
        drop(output); // where the sink is broken, pg_dump ends with it
        copied
    };
    let (copied, complaint) = tokio::join!(copied, complaint(complaints));
    let ended = child.wait().await.map_err(unusable)?;
    copied.map_err(|met| {
        error(operation, ErrorKind::Unavailable, format!("the dump could not be written down: {met}"))
    })?;
    if !ended.success() {
        let (kind, words) = judged(&complaint, postgres.address.secret());
        return Err(error(operation, kind, format!("pg_dump: {words}")));
    }
    sink.flush().await.map_err(|met| {
        error(operation, ErrorKind::Unavailable, format!("the dump could not be written down: {met}"))
    })?;
    // pg_dump had the snapshot for itself from its first row on. This session was idle since, and whether it still answers says nothing of
    // the dump.
    drop(link);
    Ok(said)
}

async fn said(postgres: &Postgres, link: &Link, server_version: String) -> Result<DumpFacts> {
    let schema = facts::schema_version(link, &postgres.spec).await?;
    let (integrity, mut unanswered) = facts::integrity(link, &postgres.spec).await?;
    unanswered.extend(schema.as_ref().err().cloned());
    let said = DumpFacts {
        format: "pg_dump-custom".into(),
        server_version,
        schema_version: schema.ok().flatten(),
        roles: facts::used_roles(link).await?,
        extensions: facts::installed_extensions(link).await?,
        integrity,
        unanswered,
    };
    if said.roles.len().max(said.extensions.len()) > MOST_NAMES {
        let words = format!(
            "more than {MOST_NAMES} roles or extensions are used in this database: that is more than a backup can name"
        );
        return Err(error("dump", ErrorKind::Refused, words));
    }
    Ok(said)
}

/// What a program complains of. All of it is taken, so that it never waits for us; the first part is kept.
pub(super) async fn complaint(mut from: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let _ = (&mut from).take(COMPLAINTS).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

/// Its first error in words that may be shown, and of what kind it is.
pub(super) fn judged(complaint: &str, secret: &str) -> (ErrorKind, String) {
    if let Some((code, words)) = complaint.lines().find_map(coded) {
        return (kind_of(code), redact::vendor_text(&without_values(code, words.trim()), secret));
    }
    let first = complaint
        .lines()
        .find_map(|line| Some(line.split_once("ERROR:").or_else(|| line.split_once("FATAL:"))?.1.trim()));
    let Some(first) = first else {
        let line = complaint
            .lines()
            .find(|line| line.contains("error:"))
            .or_else(|| complaint.lines().next())
            .unwrap_or_default();
        let line = line.rsplit_once("error: ").map_or(line, |(_, words)| words);
        let lost = ["server closed", "connection to server", "could not connect", "terminating connection"];
        let kind =
            if lost.iter().any(|words| line.contains(words)) { ErrorKind::Unavailable } else { ErrorKind::Refused };
        let words = if line.trim().is_empty() { "it ended without a word" } else { line };
        return (kind, redact::vendor_text(words, secret));
    };
    let denied = first.contains("permission denied");
    let kind = if denied { ErrorKind::PermissionDenied } else { ErrorKind::Refused };
    (kind, redact::vendor_text(first, secret))
}

/// Code and words of an error of psql, which is asked to write the code in front of them: `psql:<stdin>:7: ERROR:  22P02: …`. The word for
/// an error is in the server's language. None: it is no error, but a remark.
fn coded(line: &str) -> Option<(&str, &str)> {
    let (_, said) = line.split_once(":  ")?;
    let (code, words) = said.split_once(": ")?;
    let is_code = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    (is_code && !["00", "01", "02"].iter().any(|class| code.starts_with(class))).then_some((code, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_said_without_data_and_without_the_secret() {
        let told = judged(
            "psql:<stdin>:7: ERROR:  22P02: invalid input syntax for type integer: \"row 4711\"\nCONTEXT: COPY x",
            "pw",
        );
        let refused = (ErrorKind::Refused, "a value is none that its type or a function takes (SQLSTATE 22P02)".into());
        assert_eq!(told, refused);
        let german = "psql:<stdin>:6: WARNUNG:  01000: x\npsql:<stdin>:7: FEHLER:  22P02: ungültige Eingabesyntax: »row 4711«\nKONTEXT: COPY x";
        assert_eq!(judged(german, "pw"), refused);
        let told = judged("psql:<stdin>:7: FEHLER:  40P01: Verklemmung (Deadlock) entdeckt", "pw");
        assert_eq!(told, (ErrorKind::Unavailable, "deadlock detected (SQLSTATE 40P01)".into()));
        let told = judged("psql:<stdin>:7: FEHLER:  42501: keine Berechtigung für Tabelle users", "pw");
        assert_eq!(told, (ErrorKind::PermissionDenied, "keine Berechtigung für Tabelle users".into()));
        let told = judged("pg_dump: error: query failed: ERROR:  permission denied for table users\n", "pw");
        assert_eq!(told, (ErrorKind::PermissionDenied, "permission denied for table users".into()));
        let told = judged("psql: error: connection to server at \"h\", port 1 failed: pw\n", "pw");
        assert_eq!(told.0, ErrorKind::Unavailable);
        assert!(!told.1.contains("pw"), "{}", told.1);
        assert_eq!(judged("", "pw").1, "it ended without a word");
    }
}
