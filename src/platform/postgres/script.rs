//! The SQL around a dump: what the one session of a restore begins and ends with. Pure.
//!
//! Everything that comes from outside stands in it as an escaped literal, which neither psql nor the server takes apart.

use crate::api::IntegrityQuery;
use std::collections::BTreeMap;

/// Begins the transaction, makes sure that nobody else restores, takes every lock at once, and empties the database.
///
/// Everything that users made goes, also what is newer than the dump: a table that came after it may refer to one that is in it, and then
/// neither could be replaced. What extensions made stays, and so does the schema `savepoint`.
///
/// `pg_restore` writes COMMIT in places (around large objects, at its end). The guard makes the server refuse every commit that comes
/// before the mark of this attempt.
pub(super) fn opening(attempt: &str, schemas: &[String], server: u32) -> String {
    let kept: Vec<String> = schemas.iter().map(|name| literal(name)).collect();
    let kept = if kept.is_empty() { "''".to_owned() } else { kept.join(", ") };
    let watch = if server >= 14 { "SET client_connection_check_interval = '10s';\n" } else { "" };
    format!(
        "SET default_transaction_read_only = off;\nSET TimeZone = 'UTC';\nSET statement_timeout = 0;\n{watch}BEGIN;\n\
         SET LOCAL lock_timeout = '30s';\nSET LOCAL search_path = '';\nSET LOCAL client_min_messages = error;\n{GUARD}\
         INSERT INTO pg_temp.savepoint_guard VALUES ({});\n{}{BUILT_IN}",
        literal(attempt),
        EMPTY.replace("/*kept*/", &kept)
    )
}

const GUARD: &str = r"CREATE SCHEMA IF NOT EXISTS savepoint;
CREATE TABLE IF NOT EXISTS savepoint.restores (attempt text PRIMARY KEY, sha256 text NOT NULL, backup text NOT NULL,
  tables bigint NOT NULL, checked text NOT NULL, restored_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TEMPORARY TABLE savepoint_guard (attempt text) ON COMMIT DROP;
CREATE FUNCTION pg_temp.savepoint_guard() RETURNS trigger LANGUAGE plpgsql AS $savepoint$
BEGIN
  IF NOT EXISTS (SELECT FROM savepoint.restores r WHERE r.attempt = NEW.attempt) THEN
    RAISE EXCEPTION 'the restore is not whole: nothing is committed';
  END IF;
  RETURN NULL;
END
$savepoint$;
CREATE CONSTRAINT TRIGGER savepoint_guard AFTER INSERT ON pg_temp.savepoint_guard DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION pg_temp.savepoint_guard();
";

const EMPTY: &str = r"DO $savepoint$
DECLARE
  each record;
BEGIN
  IF NOT pg_catalog.pg_try_advisory_xact_lock(7234017283807667314) THEN
    RAISE EXCEPTION 'another restore of this database is under way';
  END IF;
  FOR each IN
    SELECT c.oid::regclass::text AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'savepoint')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY c.oid
  LOOP
    EXECUTE 'LOCK TABLE ' || each.name || ' IN ACCESS EXCLUSIVE MODE';
  END LOOP;
  FOR each IN
    SELECT n.nspname AS name FROM pg_catalog.pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'savepoint', 'public', /*kept*/)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extnamespace = n.oid)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')
  LOOP
    EXECUTE pg_catalog.format('DROP SCHEMA %I CASCADE', each.name);
  END LOOP;
  -- Names are collected before anything is dropped; what another drop took along is gone already.
  FOR each IN
    SELECT statement FROM (
      SELECT 1 AS rank, 'pg_catalog.pg_class'::regclass AS class, c.oid, c.relnamespace AS space, pg_catalog.format('DROP %s IF EXISTS %s CASCADE',
        CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'S' THEN 'SEQUENCE'
          ELSE 'TABLE' END, c.oid::regclass) AS statement
      FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      UNION ALL
      SELECT 2, 'pg_catalog.pg_proc'::regclass, p.oid, p.pronamespace, pg_catalog.format('DROP ROUTINE IF EXISTS %s CASCADE', p.oid::regprocedure)
      FROM pg_catalog.pg_proc p
      UNION ALL
      SELECT 3, 'pg_catalog.pg_type'::regclass, t.oid, t.typnamespace, pg_catalog.format('DROP TYPE IF EXISTS %s CASCADE', t.oid::regtype)
      FROM pg_catalog.pg_type t WHERE t.typtype IN ('d', 'e', 'r') OR (t.typtype = 'b' AND t.typelem = 0)
        OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')
      UNION ALL
      SELECT 4, 'pg_catalog.pg_collation'::regclass, c.oid, c.collnamespace, pg_catalog.format('DROP COLLATION IF EXISTS %I.%I CASCADE', s.nspname, c.collname)
      FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace s ON s.oid = c.collnamespace
      UNION ALL
      SELECT 4, 'pg_catalog.pg_ts_config'::regclass, c.oid, c.cfgnamespace, pg_catalog.format('DROP TEXT SEARCH CONFIGURATION IF EXISTS %I.%I CASCADE', s.nspname, c.cfgname)
      FROM pg_catalog.pg_ts_config c JOIN pg_catalog.pg_namespace s ON s.oid = c.cfgnamespace
      UNION ALL
      SELECT 5, 'pg_catalog.pg_ts_dict'::regclass, d.oid, d.dictnamespace, pg_catalog.format('DROP TEXT SEARCH DICTIONARY IF EXISTS %I.%I CASCADE', s.nspname, d.dictname)
      FROM pg_catalog.pg_ts_dict d JOIN pg_catalog.pg_namespace s ON s.oid = d.dictnamespace
    ) AS objects JOIN pg_catalog.pg_namespace n ON n.oid = objects.space
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'savepoint')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = objects.class AND d.objid = objects.oid AND d.deptype IN ('e', 'i'))
    ORDER BY rank
  LOOP
    EXECUTE each.statement;
  END LOOP;
  -- Others' servers are an administrator's: nothing of the application made them.
  FOR each IN
    SELECT pg_catalog.format('DROP SERVER %I CASCADE', s.srvname) AS statement FROM pg_catalog.pg_foreign_server s
    WHERE pg_catalog.pg_has_role(s.srvowner, 'USAGE')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_foreign_server'::regclass AND d.objid = s.oid AND d.deptype = 'e')
  LOOP
    EXECUTE each.statement;
  END LOOP;
  PERFORM pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata;
  -- Tables of extensions stay, and a dump holds those of their rows that users made. What refers to another one was named after it.
  FOR each IN
    SELECT pg_catalog.format('DELETE FROM %s %s', c.oid::regclass, e.extcondition[place]) AS statement
    FROM pg_catalog.pg_extension e CROSS JOIN pg_catalog.generate_subscripts(e.extconfig, 1) AS place
      JOIN pg_catalog.pg_class c ON c.oid = e.extconfig[place]
    WHERE c.relkind IN ('r', 'p') AND pg_catalog.has_table_privilege(c.oid, 'INSERT') AND pg_catalog.has_table_privilege(c.oid, 'DELETE')
    ORDER BY e.oid, place DESC
  LOOP
    EXECUTE each.statement;
  END LOOP;
END
$savepoint$;
";

/// Default privileges as they are built in. A dump names what differs from these, and its own defaults last: those that are in force while
/// objects are made would widen or narrow what comes back. Defaults of roles that are not ours touch nothing that we make.
const BUILT_IN: &str = r"DO $savepoint$
DECLARE
  each record;
BEGIN
  FOR each IN
    WITH defaults AS (
      SELECT d.defaclrole, d.defaclnamespace, d.defaclacl,
        pg_catalog.acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole) AS built_in,
        pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I', pg_catalog.pg_get_userbyid(d.defaclrole))
          || coalesce(' IN SCHEMA ' || pg_catalog.quote_ident(n.nspname), '') AS alter,
        CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES'
          WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS kind
      FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace
      WHERE pg_catalog.pg_has_role(d.defaclrole, 'USAGE')
    ), changes AS (
      SELECT DISTINCT 1 AS rank, alter, kind, 'REVOKE ALL ON ' || kind || ' FROM ' AS change, a.grantee
      FROM defaults, pg_catalog.aclexplode(defaclacl) a
      UNION ALL
      SELECT 2, alter, kind, 'GRANT ' || a.privilege_type || ' ON ' || kind || ' TO ', a.grantee
      FROM defaults, pg_catalog.aclexplode(built_in) a WHERE defaclnamespace = 0
    )
    SELECT alter || ' ' || change || CASE grantee WHEN 0 THEN 'PUBLIC'
      ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantee)) END AS statement
    FROM changes ORDER BY rank
  LOOP
    EXECUTE each.statement;
  END LOOP;
END
$savepoint$;
";

/// What a restore leaves as its mark.
pub(super) struct Mark<'a> {
    pub attempt: &'a str,
    pub sha256: &'a str,
    pub backup: &'a str,
    /// What must be so before anything counts.
    pub queries: &'a [IntegrityQuery],
    pub expected: &'a BTreeMap<String, String>,
}

/// Holds the data against what was captured, leaves the mark, and commits: the only place where anything is committed.
pub(super) fn closing(mark: &Mark<'_>) -> String {
    let mut text = String::from(CHECK);
    let known = mark.queries.iter().filter_map(|query| Some((query, mark.expected.get(&query.name)?)));
    let mut names = Vec::new();
    for (query, expected) in known {
        let statement = query.query.trim().trim_end_matches(';');
        let (name, statement, expected) = (literal(&query.name), literal(statement), literal(expected));
        text += &format!("SELECT pg_temp.savepoint_check({name}, {statement}, {expected});\n");
        names.push(query.name.as_str());
    }
    let checked = literal(&names.join(", "));
    let (attempt, sha256, backup) = (literal(mark.attempt), literal(mark.sha256), literal(mark.backup));
    text + &format!(
        "INSERT INTO savepoint.restores (attempt, sha256, backup, tables, checked) SELECT {attempt}, {sha256}, {backup}, count(*), {checked} \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') \
         AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'savepoint');\n\
         COMMIT;\n"
    )
}

/// Read-only inside, whatever the query calls; `EXECUTE` cannot end the transaction around it.
const CHECK: &str = r"RESET search_path;
RESET row_security;
SET LOCAL TimeZone = 'UTC';
CREATE FUNCTION pg_temp.savepoint_check(name text, query text, expected text) RETURNS void LANGUAGE plpgsql
SET transaction_read_only TO on AS $savepoint$
DECLARE
  value text;
BEGIN
  EXECUTE 'SELECT savepoint_value::text FROM (' || chr(10) || query || chr(10) || ') AS savepoint_query(savepoint_value)' INTO STRICT value;
  IF coalesce(value, 'NULL') <> expected THEN
    RAISE EXCEPTION 'integrity query % gives another value than when the dump was made', name;
  END IF;
END
$savepoint$;
";

/// A text as a literal of SQL that means the same under every setting, on one line.
pub(super) fn literal(text: &str) -> String {
    let mut written = String::from("E'");
    for letter in text.chars() {
        match letter {
            '\'' => written += "''",
            '\\' => written += "\\\\",
            '\n' => written += "\\n",
            '\r' => written += "\\r",
            '\0' => {}
            other => written.push(other),
        }
    }
    written.push('\'');
    written
}

/// The end of what `pg_restore` wrote, without its COMMIT: only remarks may follow that. None: it is not there, and the text is none of ours.
pub(super) fn without_commit(tail: &[u8]) -> Option<Vec<u8>> {
    const COMMIT: &[u8] = b"\nCOMMIT;\n";
    let at = tail.windows(COMMIT.len()).rposition(|window| window == COMMIT)?;
    let (before, after) = (&tail[..=at], &tail[at + COMMIT.len()..]);
    let remarks = |line: &[u8]| line.is_empty() || line.starts_with(b"--") || line.starts_with(b"\\unrestrict ");
    after.split(|byte| *byte == b'\n').all(remarks).then(|| [before, after].concat())
}

/// Schemas that a dump holds, from its list.
pub(super) fn schemas(list: &str) -> Vec<String> {
    let named = list.lines().filter_map(|line| entry(line)?.strip_prefix("SCHEMA - "));
    named.filter_map(|rest| Some(rest.rsplit_once(' ')?.0.to_owned())).collect()
}

/// The list of a dump without what is there already and stays: schemas, extensions, publications, languages. To drop and make them anew
/// takes rights that the owner of a database seldom has.
pub(super) fn wanted(list: &str, there: &There) -> String {
    let stays = |line: &str| {
        let Some(entry) = entry(line) else { return false };
        let named = |kind: &str, known: &[String]| {
            let rest = entry.strip_prefix(kind).and_then(|rest| rest.strip_prefix(" - "));
            rest.is_some_and(|rest| {
                known.iter().any(|name| rest.strip_prefix(name.as_str()).is_some_and(|end| end.starts_with(' ')))
            })
        };
        named("SCHEMA", &there.schemas)
            || named("EXTENSION", &there.extensions)
            || named("PUBLICATION", &there.publications)
            || named("PROCEDURAL LANGUAGE", &there.languages)
            || entry.starts_with("COMMENT - EXTENSION ")
            || entry.starts_with("COMMENT - SCHEMA public ")
    };
    list.lines().filter(|line| !stays(line)).fold(String::new(), |text, line| text + line + "\n")
}

/// What stays where it is.
#[derive(Default)]
pub(super) struct There {
    pub schemas: Vec<String>,
    pub extensions: Vec<String>,
    pub publications: Vec<String>,
    pub languages: Vec<String>,
}

/// `215; 1259 16386 TABLE public users app` → `TABLE public users app`. None: a comment.
fn entry(line: &str) -> Option<&str> {
    let (number, rest) = line.split_once("; ")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    let (_, rest) = rest.split_once(' ')?;
    Some(rest.split_once(' ')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = ";\n; Archive created at 2026-11-20 14:00:00 UTC\n;\n6; 2615 16385 SCHEMA - app one owner\n\
        7; 2615 2200 SCHEMA - public pg_database_owner\n2; 3079 16400 EXTENSION - pgcrypto \n3381; 0 0 COMMENT - EXTENSION pgcrypto \n\
        215; 1259 16386 TABLE public SCHEMA - public owner\n3; 6104 1 PUBLICATION - all_tables owner\n";

    #[test]
    fn what_is_there_already_stays_and_the_rest_is_restored() {
        assert_eq!(schemas(LIST), ["app one", "public"]);
        let there = There { schemas: vec!["public".into()], extensions: vec!["pgcrypto".into()], ..There::default() };
        let left = wanted(LIST, &there);
        assert!(
            left.contains("SCHEMA - app one")
                && left.contains("TABLE public SCHEMA - public")
                && left.contains("PUBLICATION")
        );
        assert!(!left.contains("EXTENSION") && !left.contains("2615 2200"), "{left}");
        assert!(wanted(LIST, &There::default()).contains("EXTENSION - pgcrypto"), "what is missing is made");
    }

    #[test]
    fn the_last_commit_is_taken_away_and_no_other_text() {
        let tail = b"ALTER TABLE x;\n\nCOMMIT;\n\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n";
        let left = String::from_utf8(without_commit(tail).unwrap()).unwrap();
        assert!(!left.contains("COMMIT") && left.starts_with("ALTER") && left.contains("unrestrict abc"), "{left}");
        assert_eq!(without_commit(b"COPY x FROM stdin;\nCOMMIT;\n\\.\n"), None);
        assert_eq!(without_commit(b"SELECT 1;\n"), None);
    }

    #[test]
    fn a_literal_holds_whatever_is_put_into_it() {
        assert_eq!(literal("a'b\\c\nd\0"), "E'a''b\\\\c\\nd'");
        let query = IntegrityQuery { name: "n".into(), query: "SELECT 1\n\\! touch x'; COMMIT; --".into() };
        let expected = [("n".to_owned(), "1".to_owned())].into();
        let mark =
            Mark { attempt: "a", sha256: "s", backup: "b", queries: std::slice::from_ref(&query), expected: &expected };
        let text = closing(&mark);
        assert!(text.contains("E'SELECT 1\\n\\\\! touch x''; COMMIT; --'"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("COMMIT")).count(), 1);
    }
}
