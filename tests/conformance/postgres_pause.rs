//! Holding an application off a real PostgreSQL server, and letting it in again.

use crate::database::{PASSWORD, dump, restore, send, value};
use crate::postgres::shop;
use crate::scene::inspect;
use savepoint::api::{Change, EffectClass};
use savepoint::decide::facts::Progress;
use savepoint::platform::{ErrorKind, Platform, SendError};

async fn hold(platform: &dyn Platform, change: &Change) {
    send(platform, "uid/hold/1", EffectClass::SetToValue, change, None).await.unwrap();
}

const PRIVILEGES: &str = "SELECT coalesce(string_agg(a::text, ',' ORDER BY a::text), '') FROM pg_database, \
    unnest(coalesce(datacl, acldefault('d', datdba))) a WHERE datname = current_database()";
const SETTINGS: &str = "SELECT coalesce(string_agg(setconfig::text, ','), 'none') FROM pg_db_role_setting \
    JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database()";

#[tokio::test(flavor = "multi_thread")]
async fn the_application_is_held_off_and_let_in_again() {
    let database = shop().await;
    let (pause, resume) = (Change::PauseWrites {}, Change::ResumeWrites {});
    let app = format!("{}_app", database.owner);
    let admin = database.admin().await;
    admin
        .batch_execute(&format!(
            "GRANT pg_signal_backend TO {0}; ALTER DATABASE \"{1}\" SET work_mem = '8MB'",
            database.owner, database.name
        ))
        .await
        .unwrap();
    let (privileges, settings) = (value(&admin, PRIVILEGES).await, value(&admin, SETTINGS).await);
    let session = database.client_of(&app, &database.name).await;
    let pool = database.client_of(&database.owner, &database.name).await;
    let platform = database.platform();
    assert_eq!(inspect(&*platform, &pause, None).await, Progress::NotStarted);
    assert!(matches!(inspect(&*platform, &resume, None).await, Progress::Done { .. }));
    for _ in 0..2 {
        hold(&*platform, &pause).await;
    }
    let Progress::Done { evidence, .. } = inspect(&*platform, &pause, None).await else { panic!("not paused") };
    assert!(evidence.contains("no session from before is left"), "{evidence}");
    assert!(
        session.simple_query("SELECT 1").await.is_err() && pool.simple_query("SELECT 1").await.is_err(),
        "they were left"
    );
    assert!(database.try_client_of(&app, &database.name).await.is_err(), "the application may connect");
    // An application that uses the owner's role may connect, and may not write.
    let pool = database.client_of(&database.owner, &database.name).await;
    assert!(pool.simple_query("DELETE FROM orders").await.is_err());
    assert_eq!(value(&pool, "SELECT count(*) FROM orders").await, "9000");
    // Ours goes on: a restore in the meantime.
    let (source, data) = dump(&*platform).await;
    assert!(matches!(restore(&*platform, "uid/restore/1", &data, &source).await, Progress::Done { .. }));
    assert!(matches!(inspect(&*platform, &pause, None).await, Progress::Done { .. }), "the restore let them in");
    // Another process lets them in.
    let next = database.platform();
    assert_eq!(inspect(&*next, &resume, None).await, Progress::NotStarted);
    for _ in 0..2 {
        hold(&*next, &resume).await;
    }
    assert!(matches!(inspect(&*next, &resume, None).await, Progress::Done { .. }));
    assert_eq!(inspect(&*next, &pause, None).await, Progress::NotStarted);
    assert!(pool.simple_query("SELECT 1").await.is_err(), "a session that may only read was left");
    let session = database.client_of(&app, &database.name).await;
    session.batch_execute("UPDATE orders SET state = 'paid' WHERE customer = 1").await.unwrap();
    assert_eq!((value(&admin, PRIVILEGES).await, value(&admin, SETTINGS).await), (privileges, settings));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_before_a_pause_is_put_back_and_drift_is_said() {
    let database = shop().await;
    let platform = database.platform();
    let admin = database.admin().await;
    let name = &database.name;
    admin.batch_execute(&format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = on")).await.unwrap();
    admin
        .batch_execute(&format!(
            "REVOKE CONNECT ON DATABASE \"{name}\" FROM PUBLIC; GRANT CONNECT ON DATABASE \"{name}\" TO {}_app",
            database.owner
        ))
        .await
        .unwrap();
    let before = (value(&admin, PRIVILEGES).await, value(&admin, SETTINGS).await);
    assert_eq!(
        inspect(&*platform, &Change::PauseWrites {}, None).await,
        Progress::NotStarted,
        "somebody else's setting is no pause"
    );
    hold(&*platform, &Change::PauseWrites {}).await;
    assert_ne!(value(&admin, PRIVILEGES).await, before.0);
    admin.batch_execute(&format!("ALTER DATABASE \"{name}\" RESET default_transaction_read_only")).await.unwrap();
    assert!(matches!(inspect(&*platform, &Change::PauseWrites {}, None).await, Progress::Drifted { .. }));
    hold(&*platform, &Change::ResumeWrites {}).await;
    assert_eq!((value(&admin, PRIVILEGES).await, value(&admin, SETTINGS).await), before);
    // A session of a role that ours may not end is told of.
    let stranger = database.client_of("admin", name).await;
    hold(&*platform, &Change::PauseWrites {}).await;
    let Progress::Done { evidence, .. } = inspect(&*platform, &Change::PauseWrites {}, None).await else {
        panic!("not paused")
    };
    assert!(evidence.contains("1 sessions of roles"), "{evidence}");
    drop(stranger);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_is_in_force_is_never_said_not_to_be() {
    let database = shop().await;
    let admin = database.admin().await;
    let app = format!("{}_app", database.owner);
    admin.batch_execute(&format!("GRANT {app} TO {}", database.owner)).await.unwrap();
    let session = database.client_of(&app, &database.name).await;
    let forbid = "REVOKE EXECUTE ON FUNCTION pg_terminate_backend FROM PUBLIC";
    admin.batch_execute(forbid).await.unwrap();
    let (platform, pause) = (database.platform(), Change::PauseWrites {});
    let sent = send(&*platform, "uid/hold/1", EffectClass::SetToValue, &pause, None).await.unwrap_err();
    assert!(matches!(&sent, SendError::Ambiguous(error) if error.kind == ErrorKind::PermissionDenied), "{sent:?}");
    let setting = value(&admin, SETTINGS).await;
    assert!(setting.contains("default_transaction_read_only=on"), "{setting}");
    // What is refused before anything has happened is not sent.
    let (name, owner) = (&database.name, &database.owner);
    let taken = format!("ALTER DATABASE \"{name}\" OWNER TO admin; GRANT CONNECT ON DATABASE \"{name}\" TO {owner}");
    admin.batch_execute(&taken).await.unwrap();
    let sent = send(&*platform, "uid/hold/2", EffectClass::SetToValue, &Change::ResumeWrites {}, None).await;
    let sent = sent.unwrap_err();
    assert!(
        matches!(&sent, SendError::NotApplied(error) if error.message.contains("must own the database")),
        "{sent:?}"
    );
    drop(session);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_paused_while_those_who_write_cannot_be_ended() {
    let database = shop().await;
    let (owner, app) = (&database.owner, format!("{}_app", database.owner));
    let admin = database.admin().await;
    admin.batch_execute(&format!("CREATE ROLE {owner}_reader LOGIN PASSWORD '{PASSWORD}'")).await.unwrap();
    let session = database.client_of(&app, &database.name).await;
    let reader = database.client_of(&format!("{owner}_reader"), &database.name).await;
    let (platform, pause) = (database.platform(), Change::PauseWrites {});
    // A membership that is not inherited gives no right to end a session.
    for grant in [String::new(), format!("ALTER ROLE {owner} NOINHERIT; GRANT {app} TO {owner}")] {
        admin.batch_execute(&grant).await.unwrap();
        let refused = send(&*platform, "uid/hold/1", EffectClass::SetToValue, &pause, None).await.unwrap_err();
        let SendError::NotApplied(error) = &refused else { panic!("{refused:?}") };
        assert_eq!(error.kind, ErrorKind::PermissionDenied);
        let words =
            format!("sessions of {app} may write, and ours may not end them: GRANT pg_signal_backend TO {owner}");
        assert!(error.message.contains(&words), "{error}");
        assert_eq!(inspect(&*platform, &pause, None).await, Progress::NotStarted);
        assert_eq!(value(&admin, SETTINGS).await, "none");
    }
    admin.batch_execute(&format!("ALTER ROLE {owner} INHERIT")).await.unwrap();
    hold(&*platform, &pause).await;
    assert!(session.simple_query("SELECT 1").await.is_err(), "who writes was left");
    assert_eq!(value(&reader, "SELECT 1").await, "1");
    let Progress::Done { evidence, .. } = inspect(&*platform, &pause, None).await else { panic!("not paused") };
    assert!(evidence.contains("1 sessions of roles"), "{evidence}");
}
