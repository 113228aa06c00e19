//! What a restore leaves on the server by which it is known: its session while it runs, its mark once it has committed.

use super::connection::Link;
use super::restore::OPERATION;
use super::script;
use crate::platform::Result;

/// Whether the session of an attempt is there.
pub(super) async fn has_session(link: &Link, name: &str) -> Result<bool> {
    let statement = format!(
        "SELECT 1 FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND application_name = {}",
        script::literal(name)
    );
    Ok(!link.rows(OPERATION, &statement).await?.is_empty())
}

/// The mark of an attempt: the digest of its dump, and what is said of it.
pub(super) async fn mark(link: &Link, attempt: &str) -> Result<Option<(String, String)>> {
    let there = link.rows(OPERATION, "SELECT 1 WHERE to_regclass('savepoint.restores') IS NOT NULL").await?;
    if there.is_empty() {
        return Ok(None);
    }
    let statement = format!(
        "SELECT sha256, tables::text || ' tables' || CASE checked WHEN '' THEN '' ELSE '; as when the dump was made: ' || checked END \
         || '; committed ' || to_char(restored_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
         FROM savepoint.restores WHERE attempt = {}",
        script::literal(attempt)
    );
    let row = link.rows(OPERATION, &statement).await?.pop();
    Ok(row.and_then(|row| Some((row.first()?.clone()?, row.get(1)?.clone()?))))
}
