//! What is special to PostgreSQL, against a real server: one transaction or nothing, and a mark that tells which.

use crate::database::{Database, Dump, PASSWORD, dump, gateway, open, restore, restore_of, send, value};
use crate::scene::inspect;
use savepoint::api::{CapturedData, Change, EffectClass};
use savepoint::decide::data::restorable;
use savepoint::decide::facts::Progress;
use savepoint::platform::{ErrorKind, PostgresOptions, SendError};
use serde_json::json;
use std::time::{Duration, Instant};

/// A shop with something of everything that a dump can lose.
const SHOP: &str = "
CREATE EXTENSION pgcrypto;
CREATE TYPE state AS ENUM ('new', 'paid');
CREATE DOMAIN amount AS numeric CHECK (VALUE >= 0);
CREATE SCHEMA \"odd name\";
CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, code uuid DEFAULT gen_random_uuid());
CREATE TABLE orders (id serial PRIMARY KEY, customer bigint REFERENCES customers, total amount, state state DEFAULT 'new');
CREATE TABLE \"odd name\".\"T'able\" (\"co\"\"l\" text);
CREATE TABLE days (day date, hits int) PARTITION BY RANGE (day);
CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE FUNCTION paid(bigint) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM public.orders WHERE customer = $1 AND state = 'paid' $$;
CREATE VIEW totals AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer;
CREATE MATERIALIZED VIEW names AS SELECT name FROM customers;
CREATE INDEX ON orders (customer) WHERE state = 'paid';
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON orders USING (customer = 1);
CREATE TABLE schema_migrations (version text PRIMARY KEY);
INSERT INTO schema_migrations VALUES ('20261119000000'), ('20261120000000');
INSERT INTO customers (name) SELECT 'customer ' || n || E' \\\\. \\' ; COMMIT; --' FROM generate_series(1, 3000) n;
INSERT INTO orders (customer, total) SELECT 1 + n % 3000, n FROM generate_series(1, 9000) n;
INSERT INTO \"odd name\".\"T'able\" VALUES (E'tab\\there'), (NULL);
INSERT INTO days VALUES ('2026-11-20', 7);
SELECT lo_from_bytea(0, 'large');
REFRESH MATERIALIZED VIEW names;
";

/// A deploy that changed the data and the schema, and refers to what is in the dump.
const BROKEN_DEPLOY: &str = "
CREATE TABLE refunds (id serial PRIMARY KEY, purchase int REFERENCES orders);
CREATE VIEW refunded AS SELECT * FROM totals;
CREATE SCHEMA newer; CREATE TABLE newer.things (id int);
INSERT INTO schema_migrations VALUES ('20261121000000');
ALTER TABLE orders DROP COLUMN total CASCADE;
DELETE FROM orders WHERE id > 10;
DROP TABLE \"odd name\".\"T'able\";
CREATE TYPE newer_state AS ENUM ('x');
";

pub async fn shop() -> Database {
    let database = Database::new().await;
    database.run(SHOP).await;
    let app = format!("{}_app", database.owner);
    database.run(&format!("GRANT SELECT ON customers TO {app}; GRANT SELECT, UPDATE ON orders TO {app}")).await;
    // Defaults that would open what is closed, and close what is open, to whatever is made while they are in force.
    let defaults = format!(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {app};
         ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO {app};
         ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
         CREATE TABLE users (id int, password text); REVOKE ALL ON users FROM {app};"
    );
    database.run(&defaults).await;
    database
}

fn queries() -> serde_json::Value {
    json!({ "integrity": [
        { "name": "orders", "query": "SELECT count(*) FROM orders;" },
        { "name": "paid", "query": "SELECT bool_and(total >= 0) FROM orders -- 'quoted' \\! $x$" },
    ] })
}

fn failed(progress: &Progress) -> &str {
    match progress {
        Progress::Failed { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_is_observed() {
    let database = shop().await;
    let seen = database.platform_of(queries(), None).observe().await.unwrap();
    assert!(seen.resource.ends_with(&format!("/{}", database.name.replace(' ', "%20"))), "{}", seen.resource);
    assert!(
        seen.resource.split_once('/').unwrap().0.parse::<u64>().is_ok(),
        "{}: not the server's own id",
        seen.resource
    );
    let facts = seen.database.unwrap();
    assert_eq!(facts.schema_version.as_deref(), Some("20261120000000"));
    assert!(
        facts.size_bytes > 1_000_000 && facts.roles.contains(&database.owner) && facts.extensions.contains("pgcrypto")
    );
    assert!(facts.server_version.split('.').next().unwrap().parse::<u32>().unwrap() >= 13, "{}", facts.server_version);
    let asked = json!({ "migrations": { "query": "SELECT 'v' || count(*) FROM schema_migrations" } });
    let facts = database.platform_of(asked, None).observe().await.unwrap().database.unwrap();
    assert_eq!((facts.schema_version.as_deref(), facts.schema_untold), (Some("v2"), None));
    assert!(!database.platform().capabilities().environment && database.platform().capabilities().data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_gives_one_value_and_changes_nothing() {
    let database = shop().await;
    for (query, why) in [
        ("SELECT 1, 2", "gives 2 columns"),
        ("SELECT id FROM orders", "more than one row"),
        ("SELECT 1 WHERE false", "no row"),
        ("SELECT 1; COMMIT; DELETE FROM orders", "multiple commands"),
        ("COMMIT; DELETE FROM orders", "multiple commands"),
        ("DELETE FROM orders RETURNING 1", "syntax error"),
        ("SELECT nextval('orders_id_seq')", "read-only"),
        ("SELECT 1) AS x(y); COMMIT; DELETE FROM orders; SELECT (1", "syntax error"),
        ("SELECT repeat('x', 300)", "longer than 256"),
    ] {
        let spec = json!({ "integrity": [{ "name": "bad", "query": query }] });
        let platform = database.platform_of(spec, None);
        let facts = platform.dump(&mut tokio::io::sink()).await.unwrap();
        let [said] = &facts.unanswered[..] else { panic!("{query}: {facts:?}") };
        assert!(said.contains("bad") && said.contains(why) && facts.integrity.is_empty(), "{query}: {facts:?}");
    }
    assert_eq!(database.value("SELECT count(*) FROM orders").await, "9000");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wrong_migration_took_from_a_query_keeps_nobody_from_a_dump_and_a_plan() {
    let database = shop().await;
    let mut spec = queries();
    spec["migrations"] = json!({ "query": "SELECT max(total) FROM orders" });
    let platform = database.platform_of(spec, None);
    database.run(BROKEN_DEPLOY).await;
    let facts = platform.observe().await.unwrap().database.unwrap();
    let why = facts.schema_untold.unwrap();
    assert!(facts.schema_version.is_none() && why.starts_with("migrations.query: column \"total\""), "{why}");
    let (source, data) = dump(&*platform).await;
    assert_eq!(data.integrity, [("orders".to_owned(), "10".to_owned())].into());
    let said = platform.dump(&mut tokio::io::sink()).await.unwrap().unanswered;
    assert!(said.len() == 2 && said[0].contains("query paid") && said[1].contains("migrations.query"), "{said:?}");
    // It is whole without the answers.
    database.run("DROP TABLE refunds").await;
    let done = restore(&*platform, "uid/restore/1", &data, &source).await;
    assert!(matches!(&done, Progress::Done { evidence, .. } if evidence.contains("made: orders;")), "{done:?}");
    // A query that takes its time is left, and not waited for until the whole reading is late.
    let slow = json!({ "migrations": { "query": "SELECT pg_sleep(60)" } });
    let facts = database.platform_of(slow, None).observe().await.unwrap().database.unwrap();
    assert!(facts.schema_untold.unwrap().contains("statement timeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_brings_back_everything_and_takes_away_what_came_later() {
    let database = shop().await;
    let platform = database.platform_of(queries(), None);
    let before = database.contents();
    let (source, data) = dump(&*platform).await;
    assert_eq!(data.schema_version.as_deref(), Some("20261120000000"));
    assert_eq!(data.integrity["orders"], "9000");
    assert!(
        data.roles.contains(&database.owner) && data.roles.contains(&format!("{}_app", database.owner)),
        "{:?}",
        data.roles
    );
    assert!(data.extensions.iter().any(|entry| entry.starts_with("pgcrypto ")), "{:?}", data.extensions);
    assert_eq!(restorable(&data, &platform.observe().await.unwrap().database.unwrap()), Ok(()));
    database.run(BROKEN_DEPLOY).await;
    assert_ne!(database.contents(), before);
    let change = restore_of(&data);
    assert_eq!(inspect(&*platform, &change, None).await, Progress::NotStarted);
    let Progress::Done { output, evidence } = restore(&*platform, "uid/restore/1", &data, &source).await else {
        panic!("{:?}", inspect(&*platform, &change, Some("uid/restore/1")).await)
    };
    assert_eq!(output.as_deref(), Some("uid/restore/1"));
    assert!(evidence.contains("7 tables") && evidence.contains("orders, paid"), "{evidence}");
    assert_eq!(database.contents(), before);
    // Whoever comes next knows it from the server, and nobody sends it again.
    let next = database.platform_of(queries(), None);
    assert!(matches!(inspect(&*next, &change, Some("uid/restore/1")).await, Progress::Done { .. }));
    assert_eq!(inspect(&*next, &change, Some("uid/restore/2")).await, Progress::NotStarted);
    let again = send(&*next, "uid/restore/1", EffectClass::Destructive, &change, Some(&source)).await;
    assert!(
        matches!(&again, Err(SendError::NotApplied(error)) if error.message.contains("never sent twice")),
        "{again:?}"
    );
    let other = CapturedData { sha256: "other".into(), ..data };
    assert!(matches!(inspect(&*next, &restore_of(&other), Some("uid/restore/1")).await, Progress::Unclear { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_to_the_other_database_where_one_is_named() {
    let database = shop().await;
    let other = database.beside().await;
    let platform = database.platform_of(queries(), Some(&other));
    let (source, data) = dump(&*platform).await;
    database.run("DELETE FROM orders").await;
    let emptied = database.contents();
    let done = restore(&*platform, "uid/restore/1", &data, &source).await;
    assert!(matches!(done, Progress::Done { .. }), "{done:?}");
    assert_eq!(other.value("SELECT count(*) FROM orders").await, "9000");
    assert_eq!(
        other.value("SELECT paid(1) || crypt('x', 'ab')").await,
        value(&database.client().await, "SELECT 0 || crypt('x', 'ab')").await
    );
    assert_eq!(database.contents(), emptied, "the database that was dumped changed");
    // The id is that of the database that is backed up, wherever restores go; the one that they go to is told beside it.
    let (seen, own) = (platform.observe().await.unwrap(), database.platform().observe().await.unwrap());
    let destination = other.platform().observe().await.unwrap().resource;
    assert_eq!((&seen.resource, &seen.restores_to), (&own.resource, &Some(destination.clone())));
    assert_eq!(seen.written_by(&restore_of(&data)), destination);
    let same = database.platform_of(queries(), Some(&database)).observe().await.unwrap();
    assert_eq!((same.restores_to, own.restores_to), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_server_is_not_taken_for_the_server() {
    let (database, mut copy) = Database::with_copy().await;
    let error = database.platform_of(json!({}), Some(&copy)).observe().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotAllowed);
    assert!(error.message.contains("RENAME TO"), "{error}");
    let renamed = format!("ALTER DATABASE \"{}\" RENAME TO \"then\"", copy.name);
    copy.client_of("admin", "postgres").await.batch_execute(&renamed).await.unwrap();
    copy.name = "then".into();
    let seen = database.platform_of(json!({}), Some(&copy)).observe().await.unwrap();
    assert!(seen.restores_to.unwrap().ends_with("/then"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_cut_or_altered_changes_nothing() {
    let database = shop().await;
    let platform = database.platform_of(queries(), None);
    let (source, data) = dump(&*platform).await;
    database.run(BROKEN_DEPLOY).await;
    let before = database.contents();
    let length = source.bytes.len();
    let mut attempt = 0;
    for (at, with_error) in
        [(0, true), (1000, false), (length / 2, true), (length / 2, false), (length - 1, true), (length, true)]
    {
        attempt += 1;
        let cut = Dump { cut: Some((at, with_error)), ..source.clone() };
        let progress = restore(&*platform, &format!("uid/cut/{attempt}"), &data, &cut).await;
        assert!(failed(&progress).contains("nothing of the restore took effect"), "{at} {with_error}: {progress:?}");
        assert_eq!(database.contents(), before, "cut at {at}, with an error: {with_error}");
    }
    let altered = Dump { refused: Some("the dump was altered".into()), ..source };
    let progress = restore(&*platform, "uid/altered/1", &data, &altered).await;
    assert!(failed(&progress).contains("the dump was altered"), "{progress:?}");
    assert_eq!(database.contents(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_not_what_was_captured_is_not_committed() {
    let database = shop().await;
    let platform = database.platform_of(queries(), None);
    let (source, mut data) = dump(&*platform).await;
    database.run(BROKEN_DEPLOY).await;
    let before = database.contents();
    data.integrity.insert("orders".into(), "9001".into());
    let progress = restore(&*platform, "uid/restore/1", &data, &source).await;
    assert!(failed(&progress).contains("integrity query orders gives another value"), "{progress:?}");
    assert_eq!(database.contents(), before);
    // A role that may not do it all does nothing.
    let foreign =
        format!("CREATE TABLE foreign_owned (id int); ALTER TABLE foreign_owned OWNER TO {}_app", database.owner);
    database.admin().await.batch_execute(&foreign).await.unwrap();
    let before = database.contents();
    data.integrity.clear();
    let progress = restore(&*platform, "uid/restore/2", &data, &source).await;
    assert!(
        failed(&progress).contains("permission denied") || failed(&progress).contains("must be owner"),
        "{progress:?}"
    );
    assert_eq!(database.contents(), before);
}

/// What a migration may make besides tables, and cannot make twice.
const NEWER: &str = "
CREATE TYPE newer_pair AS (a int, b text);
CREATE COLLATION newer_order (locale = 'C');
CREATE TEXT SEARCH DICTIONARY newer_words (TEMPLATE = simple);
CREATE TEXT SEARCH CONFIGURATION newer_search (COPY = simple);
CREATE SERVER newer_server FOREIGN DATA WRAPPER postgres_fdw;
";

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_object_goes_and_every_role_is_named() {
    let database = shop().await;
    let owner = &database.owner;
    let made = format!(
        "CREATE EXTENSION postgres_fdw; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {owner};
         CREATE ROLE {owner}_column; CREATE ROLE {owner}_server"
    );
    database.admin().await.batch_execute(&made).await.unwrap();
    let granted = format!(
        "GRANT SELECT (name) ON customers TO {owner}_column; CREATE SERVER old_server FOREIGN DATA WRAPPER postgres_fdw;
         GRANT USAGE ON FOREIGN SERVER old_server TO {owner}_server; CREATE TYPE old_pair AS (a int, b text)"
    );
    database.run(&granted).await;
    let before = database.contents();
    let platform = database.platform();
    let (source, data) = dump(&*platform).await;
    for role in [format!("{owner}_column"), format!("{owner}_server")] {
        assert!(data.roles.contains(&role), "{role}: {:?}", data.roles);
    }
    database.run(NEWER).await;
    let done = restore(&*platform, "uid/restore/1", &data, &source).await;
    assert!(matches!(done, Progress::Done { .. }), "{done:?}");
    assert_eq!(database.contents(), before);
    database.run(NEWER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_users_gave_to_an_extension_come_back_once() {
    let database = shop().await;
    let configured = format!(
        "CREATE TABLE jobs (id int PRIMARY KEY, said text); ALTER TABLE jobs OWNER TO {};
         INSERT INTO jobs VALUES (1, 'the extension brings it'), (2, 'a user made it');
         ALTER EXTENSION pgcrypto ADD TABLE jobs;
         UPDATE pg_extension SET extconfig = ARRAY['jobs'::regclass::oid], extcondition = ARRAY['WHERE id > 1'] WHERE extname = 'pgcrypto'",
        database.owner
    );
    database.admin().await.batch_execute(&configured).await.unwrap();
    let platform = database.platform();
    let before = database.contents();
    assert!(before.contains("a user made it"), "{before}");
    let (source, data) = dump(&*platform).await;
    database.run("UPDATE jobs SET said = 'wrong' WHERE id = 2; INSERT INTO jobs VALUES (3, 'newer')").await;
    let done = restore(&*platform, "uid/restore/1", &data, &source).await;
    assert!(matches!(done, Progress::Done { .. }), "{done:?}");
    assert_eq!(database.contents(), before);
    assert_eq!(database.value("SELECT string_agg(id::text, ',' ORDER BY id) FROM jobs").await, "1,2");
}

async fn sessions(database: &Database) -> String {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'savepoint-restore-%'";
    value(&database.admin().await, count).await
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let ends = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < ends, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Everything has been dropped, and the session waits for more of the dump.
const HAS_DROPPED: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND application_name LIKE 'savepoint-restore-%' AND (state = 'idle in transaction' OR query LIKE 'COPY %')";

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ended_leaves_the_old_data_whole() {
    let database = shop().await;
    let platform = database.platform_of(queries(), None);
    let (source, data) = dump(&*platform).await;
    database.run(BROKEN_DEPLOY).await;
    let before = database.contents();
    let half = Dump { stalls: Some(source.bytes.len() / 2), ..source };
    let change = restore_of(&data);
    send(&*platform, "uid/restore/1", EffectClass::Destructive, &change, Some(&half)).await.unwrap();
    until("a session in the middle", async || value(&database.admin().await, HAS_DROPPED).await == "1").await;
    // Another process sees it as well.
    let other = database.platform_of(queries(), None);
    for (platform, output) in [(&platform, Some("uid/restore/1")), (&other, Some("uid/restore/1")), (&other, None)] {
        assert!(matches!(inspect(&**platform, &change, output).await, Progress::InProgress { .. }));
    }
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'savepoint-restore-%' AND datname = current_database()";
    database.admin().await.batch_execute(end).await.unwrap();
    assert_eq!(inspect(&*other, &change, Some("uid/restore/1")).await, Progress::NotStarted);
    assert_eq!(database.contents(), before);
}

/// Not a test by itself: a process that begins a restore, and is killed in the middle of it by the test below.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, in a process of its own"]
async fn restores_until_it_is_killed() {
    let Ok(url) = std::env::var("SAVEPOINT_TEST_DATABASE") else { return };
    let platform = open(&gateway(PostgresOptions::default()), &url, None, json!({})).unwrap();
    let (source, data) = dump(&*platform).await;
    let half = Dump { stalls: Some(source.bytes.len() / 2), ..source };
    send(&*platform, "uid/killed/1", EffectClass::Destructive, &restore_of(&data), Some(&half)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_leaves_the_old_data_whole() {
    let database = shop().await;
    let before = database.contents();
    let temporary = tempfile::TempDir::new().unwrap(); // a process that is killed cannot clean up
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "postgres::restores_until_it_is_killed", "--ignored"])
        .env("SAVEPOINT_TEST_DATABASE", database.url());
    child.env("TMPDIR", temporary.path());
    let mut child = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    until("a session in the middle", async || value(&database.admin().await, HAS_DROPPED).await == "1").await;
    child.kill().unwrap();
    child.wait().unwrap();
    // psql comes to the end of its input, and takes nothing for the whole.
    until("no session", async || sessions(&database).await == "0").await;
    assert_eq!(database.contents(), before);
    let (_, data) = dump(&*database.platform()).await;
    assert_eq!(inspect(&*database.platform(), &restore_of(&data), Some("uid/killed/1")).await, Progress::NotStarted);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_a_connection_is_seen_anywhere() {
    let database = shop().await;
    let wrong = database.url().replace(PASSWORD, "Canary7wrong");
    let mut said = String::new();
    let gateway = gateway(PostgresOptions::default());
    for url in [
        wrong.clone(),
        database.url().replace("shop%20", "nowhere"),
        database.url() + "?sslmode=require",
        database.url() + "?Canary7=1",
        format!("postgres://u:{PASSWORD}@h1,h2/d"),
        format!("mysql://u:{PASSWORD}@h/d"),
        format!("postgresql://u:{PASSWORD}@127.0.0.1:1/d"),
    ] {
        match open(&gateway, &url, None, json!({})) {
            Err(error) => said += &format!("{error} {error:?}\n"),
            Ok(platform) => {
                said += &format!("{:?}\n", platform.observe().await.expect_err("it cannot work"));
                said += &format!("{:?}\n", platform.dump(&mut Vec::new()).await.expect_err("it cannot work"));
                let change = Change::PauseWrites {};
                said += &format!(
                    "{:?}\n",
                    send(&*platform, "a", EffectClass::SetToValue, &change, None).await.unwrap_err()
                );
            }
        }
    }
    let kinds = ["CredentialsRejected", "NotFound", "Unavailable", "NotAllowed"];
    assert!(kinds.iter().all(|kind| said.contains(kind)) && said.contains("does not speak TLS"), "{said}");
    // While programs run, no argument of any process holds it.
    let platform = database.platform();
    let (source, data) = dump(&*platform).await;
    let half = Dump { stalls: Some(source.bytes.len() / 2), ..source };
    send(&*platform, "uid/restore/1", EffectClass::Destructive, &restore_of(&data), Some(&half)).await.unwrap();
    until("a session in the middle", async || value(&database.admin().await, HAS_DROPPED).await == "1").await;
    let arguments = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let arguments: Vec<String> = arguments.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
    assert!(arguments.iter().any(|line| line.contains("psql")), "psql is not running");
    said += &arguments.join("\n");
    said += &format!("{:?}", inspect(&*platform, &restore_of(&data), Some("uid/restore/1")).await);
    assert!(!said.contains("Canary7"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_client_program_is_named_with_its_package() {
    let database = shop().await;
    let none = gateway(PostgresOptions { client_folders: Some(Vec::new()), ..PostgresOptions::default() });
    let platform = open(&none, &database.url(), None, json!({})).unwrap();
    let error = platform.dump(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotAllowed);
    let major = platform.observe().await.unwrap().database.unwrap().server_version;
    let package = format!("postgresql-client-{}", major.split('.').next().unwrap());
    assert!(error.message.contains(&package) && error.message.contains("none is installed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_outlives_the_session_that_lent_it_the_snapshot() {
    use tokio::io::AsyncReadExt;
    let database = shop().await;
    let (mut sink, mut from) = tokio::io::duplex(64);
    let platform = database.platform();
    let dumped = tokio::spawn(async move { platform.dump(&mut sink).await });
    let mut bytes = vec![0; 1];
    from.read_exact(&mut bytes).await.unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() \
        AND application_name = 'savepoint'";
    assert_eq!(value(&database.admin().await, end).await, "1");
    from.read_to_end(&mut bytes).await.unwrap();
    let facts = dumped.await.unwrap().unwrap();
    assert_eq!((&bytes[..5], facts.schema_version.as_deref()), (&b"PGDMP"[..], Some("20261120000000")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_whole_or_an_error() {
    let database = shop().await;
    let admin = database.admin().await;
    admin.batch_execute("CREATE TABLE hidden (id int); REVOKE ALL ON hidden FROM PUBLIC").await.unwrap();
    let error = database.platform().dump(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PermissionDenied, "{error}");
    assert!(error.message.contains("hidden"), "{error}");
    let change = Change::PauseWrites {};
    // A call of another class than its intent is not made.
    let refused = send(&*database.platform(), "a", EffectClass::Destructive, &change, None).await.unwrap_err();
    assert!(matches!(refused, SendError::NotApplied(_)), "{refused}");
    assert_eq!(inspect(&*database.platform(), &change, None).await, Progress::NotStarted);
}
