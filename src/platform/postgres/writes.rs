//! Holding the application's connections off, and letting them in again. What was before stands in the database itself, in the schema
//! `savepoint`, so that it can be put back by whoever comes after a crash.
//!
//! A database that is held off gives new sessions a read-only default, refuses them to all roles but its owner's and ours, and has ended
//! those that were there. The restore itself needs none of this to be whole; without it, writes made while it runs would be lost.

use super::connection::{Link, error};
use crate::decide::facts::Progress;
use crate::platform::{Error, ErrorKind, Result, SendError};
use std::time::Duration;

/// How long sessions that were told to end are waited for.
const ENDING: Duration = Duration::from_secs(5);

/// One transaction: what was before is recorded, then changed. A second pause keeps what the first one recorded.
///
/// The right to connect is taken only where we keep it ourselves: otherwise nobody could resume.
const PAUSE: &str = "\
BEGIN;
SET LOCAL lock_timeout = '10s';
CREATE SCHEMA IF NOT EXISTS savepoint;
CREATE TABLE IF NOT EXISTS savepoint.pause (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  read_only text,
  revoked text[] NOT NULL,
  paused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  resumed_at timestamptz);
DO $savepoint$
DECLARE
  prior text;
  taken text[] := '{}';
  held record;
BEGIN
  DELETE FROM savepoint.pause WHERE resumed_at IS NOT NULL;
  IF EXISTS (SELECT FROM savepoint.pause) THEN RETURN; END IF;
  SELECT substr(entry, length('default_transaction_read_only=') + 1) INTO prior
    FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS entry
    WHERE d.datname = current_database() AND s.setrole = 0 AND entry LIKE 'default\\_transaction\\_read\\_only=%';
  EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
  BEGIN
    FOR held IN
      SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee,
             CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option
      FROM pg_catalog.pg_database d, pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
      WHERE d.datname = current_database() AND a.privilege_type = 'CONNECT' AND a.grantor = d.datdba AND a.grantee <> d.datdba
        AND (a.grantee = 0 OR pg_get_userbyid(a.grantee) <> session_user)
    LOOP
      EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM %s', current_database(), held.grantee);
      taken := taken || (held.grantee || held.option);
    END LOOP;
    IF NOT has_database_privilege(session_user, current_database(), 'CONNECT') THEN
      RAISE EXCEPTION 'we would lock ourselves out';
    END IF;
  EXCEPTION WHEN OTHERS THEN
    taken := '{}';
  END;
  INSERT INTO savepoint.pause (read_only, revoked) VALUES (prior, taken);
END
$savepoint$;
COMMIT";

/// Puts back what was recorded. Sessions that began while it was held off keep their read-only default, so they are ended after it.
const RESUME: &str = "\
BEGIN;
SET LOCAL lock_timeout = '10s';
DO $savepoint$
DECLARE
  was record;
  entry text;
BEGIN
  IF to_regclass('savepoint.pause') IS NULL THEN RETURN; END IF;
  SELECT * INTO was FROM savepoint.pause WHERE resumed_at IS NULL;
  IF NOT FOUND THEN RETURN; END IF;
  IF was.read_only IS NULL THEN
    EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database());
  ELSE
    EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = %L', current_database(), was.read_only);
  END IF;
  FOREACH entry IN ARRAY was.revoked LOOP
    BEGIN
      EXECUTE format('GRANT CONNECT ON DATABASE %I TO %s', current_database(), entry);
    EXCEPTION WHEN undefined_object THEN
      NULL; -- the role is gone since
    END;
  END LOOP;
  UPDATE savepoint.pause SET resumed_at = clock_timestamp();
END
$savepoint$;
COMMIT";

/// Sessions of others in this database, and whether we may end them: the server asks for privileges that are inherited, not for a
/// membership that they come with only after SET ROLE.
const OTHERS: &str = "\
SELECT a.pid, a.usesysid, a.backend_start,
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
         OR NOT coalesce(r.rolsuper, true)
            AND (pg_catalog.pg_has_role(current_user, a.usesysid, 'USAGE')
                 OR pg_catalog.pg_has_role(current_user, 'pg_signal_backend', 'USAGE')) AS ours_to_end
FROM pg_catalog.pg_stat_activity a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
WHERE a.datname = current_database() AND a.pid <> pg_catalog.pg_backend_pid() AND a.usesysid IS NOT NULL
  AND coalesce(a.backend_type, 'client backend') = 'client backend' AND a.application_name NOT LIKE 'savepoint%'";

/// Roles with sessions that may write and that we may not end, and how ours is called. Those that only read do no harm, nor does one that
/// follows our writes; superusers cannot be held off at all. A role may write as whoever it may become.
const STRANGERS: &str = "\
SELECT pg_catalog.quote_ident(r.rolname), pg_catalog.quote_ident(current_user)
FROM pg_catalog.pg_roles r
WHERE NOT r.rolsuper AND r.oid IN (
    SELECT usesysid FROM (/*others*/) AS others
    WHERE NOT ours_to_end AND pid NOT IN (SELECT pid FROM pg_catalog.pg_stat_replication))
  AND EXISTS (
    SELECT FROM pg_catalog.pg_roles w, pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE pg_catalog.pg_has_role(r.oid, w.oid, 'MEMBER') AND c.relkind IN ('r', 'p', 'v', 'f')
      AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'savepoint')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
      AND (pg_catalog.has_table_privilege(w.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
           OR pg_catalog.has_any_column_privilege(w.oid, c.oid, 'INSERT, UPDATE')))
ORDER BY 1";

/// Whether everybody who writes can be held off. Asked before anything is changed: who is there would go on writing.
async fn may_end_those_who_write(link: &Link) -> Result<()> {
    let operation = "pause writes";
    let found = link.rows(operation, &STRANGERS.replace("/*others*/", OTHERS)).await?;
    let Some([_, Some(own)]) = found.first().map(Vec::as_slice) else { return Ok(()) };
    let roles: Vec<&str> = found.iter().filter_map(|row| row.first()?.as_deref()).collect();
    let words = format!(
        "sessions of {} may write, and ours may not end them: GRANT pg_signal_backend TO {own}, or GRANT {} TO {own}; it must inherit it",
        roles.join(", "),
        roles.join(", ")
    );
    Err(error(operation, ErrorKind::PermissionDenied, words))
}

/// Where the pause stands.
struct Standing {
    /// It is recorded, and not resumed.
    paused: bool,
    /// It was resumed, and sessions of its time may still be there.
    resuming: bool,
    /// New sessions are read-only by default.
    read_only: bool,
}

async fn standing(link: &Link) -> Result<Standing> {
    let operation = "read whether writes are paused";
    let setting = "SELECT 1 FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase \
                   WHERE d.datname = current_database() AND s.setrole = 0 AND 'default_transaction_read_only=on' = ANY (s.setconfig)";
    let read_only = !link.rows(operation, setting).await?.is_empty();
    let there = link.rows(operation, "SELECT 1 WHERE to_regclass('savepoint.pause') IS NOT NULL").await?;
    if there.is_empty() {
        return Ok(Standing { paused: false, resuming: false, read_only });
    }
    let resumed = link.column(operation, "SELECT (resumed_at IS NOT NULL)::text FROM savepoint.pause").await?;
    let resumed = resumed.first().map(String::as_str);
    Ok(Standing { paused: resumed == Some("false"), resuming: resumed == Some("true"), read_only })
}

/// How many sessions began in this span: those that we may end, and those that we may not.
async fn sessions(link: &Link, span: &str) -> Result<(u64, u64)> {
    let statement = format!(
        "SELECT count(*) FILTER (WHERE ours_to_end)::text, count(*) FILTER (WHERE NOT ours_to_end)::text FROM ({OTHERS}) AS others, \
         savepoint.pause WHERE {span}"
    );
    let row = link.rows("count sessions", &statement).await?.pop().unwrap_or_default();
    let number = |at: usize| row.get(at).and_then(|text| text.as_ref()?.parse().ok()).unwrap_or(0);
    Ok((number(0), number(1)))
}

/// Ends them, and waits until they are gone.
async fn end_sessions(link: &Link, span: &str) -> Result<()> {
    let statement = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM ({OTHERS}) AS others, savepoint.pause WHERE ours_to_end AND {span}"
    );
    let ends = crate::clock::monotonic() + ENDING;
    loop {
        link.rows("end sessions", &statement).await?;
        if sessions(link, span).await?.0 == 0 {
            return Ok(());
        }
        if crate::clock::monotonic() >= ends {
            return Err(error(
                "end sessions",
                ErrorKind::Unavailable,
                "sessions that were told to end are still there",
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sessions that were there before writes were paused. Of another role's sessions the server hides when they began; since such a role may
/// not connect any more, it was before.
const BEFORE: &str = "coalesce(backend_start < paused_at, true)";
/// Sessions that began while writes were paused: no other role's.
const WITHIN: &str = "backend_start >= paused_at AND backend_start <= resumed_at";

pub(super) async fn pause(link: &Link) -> Result<(), SendError> {
    if !standing(link).await.map_err(SendError::NotApplied)?.paused {
        may_end_those_who_write(link).await.map_err(SendError::NotApplied)?;
    }
    link.run("pause writes", PAUSE).await.map_err(refused)?;
    end_sessions(link, BEFORE).await.map_err(SendError::Ambiguous)
}

pub(super) async fn resume(link: &Link) -> Result<(), SendError> {
    link.run("resume writes", RESUME).await.map_err(refused)?;
    end_those_within(link).await.map_err(SendError::Ambiguous)
}

async fn end_those_within(link: &Link) -> Result<()> {
    if standing(link).await?.resuming {
        end_sessions(link, WITHIN).await?;
        link.run("resume writes", "DELETE FROM savepoint.pause WHERE resumed_at IS NOT NULL").await?;
    }
    Ok(())
}

/// What an error of the one transaction means: what the server refuses has not happened. Whatever fails after it has committed says
/// nothing of it.
fn refused(met: Error) -> SendError {
    match met.kind {
        ErrorKind::PermissionDenied => {
            let words = format!("{}: the role must own the database (ALTER DATABASE … OWNER TO …)", met.message);
            SendError::NotApplied(error(met.operation, met.kind, words))
        }
        ErrorKind::Refused => SendError::NotApplied(met),
        _ => SendError::Ambiguous(met),
    }
}

pub(super) async fn pause_progress(link: &Link) -> Result<Progress> {
    let standing = standing(link).await?;
    match (standing.paused, standing.read_only) {
        (false, _) => Ok(Progress::NotStarted),
        (true, false) => Ok(Progress::Drifted {
            message: "writes were paused, and somebody has taken default_transaction_read_only off the database since"
                .into(),
        }),
        (true, true) => match sessions(link, BEFORE).await? {
            (0, 0) => Ok(done("new sessions are read-only, and no session from before is left")),
            (0, left) => Ok(done(&format!(
                "new sessions are read-only; {left} sessions of roles that ours may not end are left"
            ))),
            (_, _) => Ok(Progress::NotStarted), // cut off before they were ended: the same call again ends them
        },
    }
}

pub(super) async fn resume_progress(link: &Link) -> Result<Progress> {
    let standing = standing(link).await?;
    if standing.paused || standing.resuming {
        return Ok(Progress::NotStarted);
    }
    let words = match standing.read_only {
        true => "writes are not paused by us; default_transaction_read_only of the database is on, as it was before",
        false => "the database takes writes again",
    };
    Ok(done(words))
}

fn done(evidence: &str) -> Progress {
    Progress::Done { output: None, evidence: evidence.into() }
}
