//! What a database says of itself: reads only, in one snapshot where that matters.

use super::connection::{Link, error};
use crate::api::PostgresSpec;
use crate::decide::facts::DatabaseFacts;
use crate::platform::{ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

/// Longest value of a query of the spec.
const LONGEST_VALUE: usize = 256;

/// Where tools record the migrations that they applied: the table, and the query for its newest one.
const MIGRATIONS: &[(&str, &str)] = &[
    ("schema_migrations", "SELECT max(version)::text FROM schema_migrations"),
    ("supabase_migrations.schema_migrations", "SELECT max(version)::text FROM supabase_migrations.schema_migrations"),
    (
        "_prisma_migrations",
        "SELECT migration_name FROM _prisma_migrations WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL \
         ORDER BY finished_at DESC, migration_name DESC LIMIT 1",
    ),
    (
        "flyway_schema_history",
        "SELECT version FROM flyway_schema_history WHERE success AND version IS NOT NULL ORDER BY installed_rank DESC LIMIT 1",
    ),
    ("alembic_version", "SELECT string_agg(version_num, ',' ORDER BY version_num) FROM alembic_version"),
    ("django_migrations", "SELECT app || '.' || name FROM django_migrations ORDER BY id DESC LIMIT 1"),
    (
        "drizzle.__drizzle_migrations",
        "SELECT created_at::text FROM drizzle.__drizzle_migrations ORDER BY id DESC LIMIT 1",
    ),
    ("knex_migrations", "SELECT name FROM knex_migrations ORDER BY id DESC LIMIT 1"),
];

/// Objects of users, with owner and privileges: extensions bring their own.
const ROLES: &str = "\
WITH spaces AS (
  SELECT oid, nspowner, nspacl FROM pg_catalog.pg_namespace
  WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'savepoint')
), objects AS (
  SELECT 'pg_catalog.pg_namespace'::regclass::oid AS class, oid, nspowner AS owner, nspacl AS acl FROM spaces
  UNION ALL SELECT 'pg_catalog.pg_class'::regclass, c.oid, relowner, relacl FROM pg_catalog.pg_class c JOIN spaces ON relnamespace = spaces.oid
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL SELECT 'pg_catalog.pg_class'::regclass, c.oid, relowner, attacl FROM pg_catalog.pg_class c JOIN spaces ON relnamespace = spaces.oid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid WHERE attacl IS NOT NULL
  UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, p.oid, proowner, proacl FROM pg_catalog.pg_proc p JOIN spaces ON pronamespace = spaces.oid
  UNION ALL SELECT 'pg_catalog.pg_type'::regclass, t.oid, typowner, typacl FROM pg_catalog.pg_type t JOIN spaces ON typnamespace = spaces.oid
  UNION ALL SELECT 'pg_catalog.pg_collation'::regclass, c.oid, collowner, NULL FROM pg_catalog.pg_collation c JOIN spaces ON collnamespace = spaces.oid
  UNION ALL SELECT 'pg_catalog.pg_ts_config'::regclass, c.oid, cfgowner, NULL FROM pg_catalog.pg_ts_config c JOIN spaces ON cfgnamespace = spaces.oid
  UNION ALL SELECT 'pg_catalog.pg_ts_dict'::regclass, d.oid, dictowner, NULL FROM pg_catalog.pg_ts_dict d JOIN spaces ON dictnamespace = spaces.oid
  UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, f.oid, fdwowner, fdwacl FROM pg_catalog.pg_foreign_data_wrapper f
  UNION ALL SELECT 'pg_catalog.pg_foreign_server'::regclass, s.oid, srvowner, srvacl FROM pg_catalog.pg_foreign_server s
  UNION ALL SELECT 'pg_catalog.pg_publication'::regclass, p.oid, pubowner, NULL FROM pg_catalog.pg_publication p
  UNION ALL SELECT 'pg_catalog.pg_default_acl'::regclass, d.oid, defaclrole, defaclacl FROM pg_catalog.pg_default_acl d
  UNION ALL SELECT 'pg_catalog.pg_largeobject_metadata'::regclass, l.oid, lomowner, lomacl FROM pg_catalog.pg_largeobject_metadata l
), own AS (
  SELECT owner, acl FROM objects WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend WHERE classid = objects.class AND objid = objects.oid AND deptype = 'e')
), roles AS (
  SELECT owner AS role FROM own
  UNION SELECT grants.grantee FROM own, pg_catalog.aclexplode(own.acl) AS grants
  UNION SELECT unnest(polroles) FROM pg_catalog.pg_policy
)
SELECT rolname FROM pg_catalog.pg_roles JOIN roles ON roles.role = pg_roles.oid WHERE rolname !~ '^pg_' ORDER BY rolname";

/// Id of the database as the server itself gives it. A host name is none: it can be moved to another server.
pub(super) async fn identity(link: &Link) -> Result<String> {
    let statement = "SELECT system_identifier::text || '/' || current_database() FROM pg_catalog.pg_control_system()";
    let found = link.column("identify database", statement).await?.pop();
    let found =
        found.ok_or_else(|| error("identify database", ErrorKind::UnexpectedAnswer, "the server has no identifier"))?;
    // A name may hold anything; an id is plain.
    let plain = |byte: u8| match byte {
        b'%' => "%25".to_owned(),
        byte if byte.is_ascii_graphic() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    Ok(found.bytes().map(plain).collect())
}

/// Refuses two databases of one id that are not one: a copy of a server's files (a snapshot, a recovery to a point in time) keeps its
/// identifier. A standby follows, and is the same database.
pub(super) async fn is_no_copy(one: &Link, other: &Link) -> Result<()> {
    let started = "SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text WHERE NOT pg_catalog.pg_is_in_recovery()";
    let (one, other) =
        (one.column("identify database", started).await?, other.column("identify database", started).await?);
    if one.is_empty() || other.is_empty() || one == other {
        return Ok(());
    }
    let words = "postgres.restoreRef is a copy of the server of connectionRef, with its identifier and the same database name: rename the \
                 copy's (ALTER DATABASE … RENAME TO …) and name that";
    Err(error("observe", ErrorKind::NotAllowed, words))
}

/// Version of the server, as `15.18` and as its major number.
pub(super) async fn version(link: &Link) -> Result<(String, u32)> {
    let statement = "SELECT current_setting('server_version'), current_setting('server_version_num')";
    let unexpected = || error("read version", ErrorKind::UnexpectedAnswer, "the server does not tell its version");
    let row = link.rows("read version", statement).await?.pop().ok_or_else(unexpected)?;
    match row.as_slice() {
        [Some(text), Some(number)] => {
            let number: u32 = number.parse().map_err(|_| unexpected())?;
            Ok((text.split_whitespace().next().unwrap_or_default().to_owned(), number / 10_000))
        }
        _ => Err(unexpected()),
    }
}

/// Longest time for the queries that find the newest migration: whoever looks has no more than the deadline of calls.
const PATIENCE: &str = "SET LOCAL statement_timeout = '5s'";

/// Everything that a plan asks of a database. No query of the spec can make it fail: a wrong migration may have taken what it names.
pub(super) async fn read(link: &Link, spec: &PostgresSpec) -> Result<DatabaseFacts> {
    link.run("begin reading", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TimeZone = 'UTC'").await?;
    let (server_version, _) = version(link).await?;
    let size = link.column("read size", "SELECT pg_catalog.pg_database_size(current_database())::text").await?;
    let (roles, extensions) = (existing_roles(link).await?, known_extensions(link).await?);
    link.run("begin reading", PATIENCE).await?;
    let (schema_version, schema_untold) = match schema_version(link, spec).await? {
        Ok(found) => (found, None),
        Err(why) => (None, Some(why)),
    };
    // Older servers let some functions write in a read-only transaction.
    link.run("end reading", "ROLLBACK").await?;
    let size_bytes = size.first().and_then(|size| size.parse().ok()).unwrap_or(0);
    Ok(DatabaseFacts { server_version, schema_version, schema_untold, size_bytes, roles, extensions })
}

/// Every role that exists.
pub(super) async fn existing_roles(link: &Link) -> Result<BTreeSet<String>> {
    Ok(link.column("list roles", "SELECT rolname FROM pg_catalog.pg_roles").await?.into_iter().collect())
}

/// Every extension that is installed or can be.
pub(super) async fn known_extensions(link: &Link) -> Result<BTreeSet<String>> {
    let statement = "SELECT name::text FROM pg_catalog.pg_available_extensions UNION SELECT extname::text FROM pg_catalog.pg_extension";
    Ok(link.column("list extensions", statement).await?.into_iter().collect())
}

/// Roles that own or are granted something here.
pub(super) async fn used_roles(link: &Link) -> Result<Vec<String>> {
    link.column("list owners", ROLES).await
}

/// Extensions that are installed, `name version`.
pub(super) async fn installed_extensions(link: &Link) -> Result<Vec<String>> {
    let statement =
        "SELECT extname || ' ' || extversion FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' ORDER BY 1";
    link.column("list installed extensions", statement).await
}

/// What a query says, or why it fails, in the read-only transaction that is open, and which goes on either way. A connection that is lost
/// is an error.
async fn answered<T>(link: &Link, asked: impl Future<Output = Result<T, String>>) -> Result<Result<T, String>> {
    link.run("ask a query", "SAVEPOINT savepoint_query").await?;
    let answer = asked.await;
    link.run("ask a query", "ROLLBACK TO SAVEPOINT savepoint_query; RELEASE SAVEPOINT savepoint_query").await?;
    Ok(answer)
}

/// What the integrity queries say, and which of them fail and why, in the read-only transaction that is open.
pub(super) async fn integrity(link: &Link, spec: &PostgresSpec) -> Result<(BTreeMap<String, String>, Vec<String>)> {
    let (mut values, mut failed) = (BTreeMap::new(), Vec::new());
    for wanted in spec.integrity.iter().flatten() {
        let value = answered(link, link.one_value("run integrity query", &wanted.query)).await?;
        match value {
            Ok(value) if value.chars().count() <= LONGEST_VALUE => drop(values.insert(wanted.name.clone(), value)),
            Ok(_) => {
                failed.push(format!(
                    "integrity query {}: its value is longer than {LONGEST_VALUE} characters",
                    wanted.name
                ));
            }
            Err(why) => failed.push(format!("integrity query {}: {why}", wanted.name)),
        }
    }
    Ok((values, failed))
}

/// The newest migration, or why it cannot be told, in the read-only transaction that is open.
pub(super) async fn schema_version(link: &Link, spec: &PostgresSpec) -> Result<Result<Option<String>, String>> {
    let short = |text: String| text.chars().take(LONGEST_VALUE).collect::<String>();
    let asked = async {
        match &spec.migrations {
            Some(migrations) => {
                let value = link.one_value("run migrations query", &migrations.query).await;
                value.map(Some).map_err(|why| format!("migrations.query: {why}"))
            }
            None => in_known_tables(link).await.map_err(|met| format!("the tables of migrations: {}", met.message)),
        }
    };
    Ok(answered(link, asked).await?.map(|found| found.map(short)))
}

/// The newest migration in the first table of a known tool.
async fn in_known_tables(link: &Link) -> Result<Option<String>> {
    for (table, query) in MIGRATIONS {
        let there = format!(
            "SELECT 1 WHERE pg_catalog.to_regclass('{table}') IS NOT NULL AND pg_catalog.has_table_privilege(pg_catalog.to_regclass('{table}'), 'SELECT')"
        );
        if link.rows("look for migrations", &there).await?.is_empty() {
            continue;
        }
        // A table of that name with other columns is somebody else's.
        link.run("look for migrations", "SAVEPOINT migrations").await?;
        match link.column("read migrations", query).await {
            Ok(found) => {
                link.run("look for migrations", "RELEASE SAVEPOINT migrations").await?;
                if let Some(version) = found.into_iter().next() {
                    return Ok(Some(version));
                }
            }
            Err(met) if met.kind == ErrorKind::Refused => {
                link.run("look for migrations", "ROLLBACK TO SAVEPOINT migrations").await?;
            }
            Err(met) => return Err(met),
        }
    }
    Ok(None)
}
