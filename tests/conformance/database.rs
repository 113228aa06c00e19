//! A real PostgreSQL server of our own: made in a temp folder, on a loopback port, and gone with its last user.

use futures::FutureExt;
use futures::future::BoxFuture;
use savepoint::api::{CapturedData, Change, Component, EffectClass, Intent, PinnedRef};
use savepoint::decide::facts::Progress;
use savepoint::platform::{
    ChangeContext, Connector, DataSource, DataStream, Gateway, GatewayOptions, Platform, PostgresOptions, SendError,
    SendOutcome, postgres_credential,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncRead, ReadBuf};

/// The password of every role. It must never be seen in any text.
pub const PASSWORD: &str = "Canary7pass";

/// A running server.
pub struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

/// The server that all tests share, while there is one that uses it.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// Folder of the newest server that is installed.
fn programs() -> PathBuf {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is not installed: sudo apt-get install postgresql");
    let major = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()).unwrap_or(0);
    let newest = versions
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/initdb").is_file())
        .max_by_key(|path| major(path));
    newest.expect("PostgreSQL is not installed: sudo apt-get install postgresql").join("bin")
}

/// A command as an ordinary user: the server refuses to be run by root.
fn ordinary(program: &Path) -> Command {
    let is_root = Command::new("id").arg("-u").output().expect("id").stdout == b"0\n";
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
    command
}

impl Server {
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap();
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start());
        *shared = Arc::downgrade(&started);
        started
    }

    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let (data, password) = (folder.path().join("data"), folder.path().join("password"));
        std::fs::File::create(&password).unwrap().write_all(PASSWORD.as_bytes()).unwrap();
        if ordinary(Path::new("true")).get_program() == "setpriv" {
            let owned = Command::new("chown").args(["-R", "nobody:nogroup"]).arg(folder.path()).status().unwrap();
            assert!(owned.success());
        }
        let mut initdb = ordinary(&programs().join("initdb"));
        initdb.arg("-D").arg(&data).arg("--pwfile").arg(&password).current_dir("/");
        initdb.args(["-U", "admin", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        let made = initdb.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::run(folder)
    }

    /// Another server over a copy of the files of this one, in which nothing is written meanwhile.
    fn copied(&self) -> Self {
        let folder = TempDir::new().unwrap();
        let copy = |from: &Path, to: &Path| Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(copy(&self.folder.path().join("data"), folder.path()).success());
        std::fs::remove_file(folder.path().join("data/postmaster.pid")).unwrap();
        if ordinary(Path::new("true")).get_program() == "setpriv" {
            assert!(Command::new("chown").arg("nobody:nogroup").arg(folder.path()).status().unwrap().success());
        }
        Self::run(folder)
    }

    fn run(folder: TempDir) -> Self {
        let data = folder.path().join("data");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut server = ordinary(&programs().join("postgres"));
        server.arg("-D").arg(&data).arg("-p").arg(port.to_string()).arg("-k").arg(folder.path()).current_dir("/");
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200"]);
        let child = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let started = Self { child, port, folder };
        let ends = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < ends, "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        started
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// A database of its own, owned by a role that is no superuser.
pub struct Database {
    server: Arc<Server>,
    pub name: String,
    pub owner: String,
}

impl Database {
    pub async fn new() -> Self {
        Self::on(tokio::task::spawn_blocking(Server::shared).await.unwrap()).await
    }

    /// One on a server of its own, and the same one in a copy of that server.
    pub async fn with_copy() -> (Self, Self) {
        let server = tokio::task::spawn_blocking(|| Arc::new(Server::start())).await.unwrap();
        let database = Self::on(server.clone()).await;
        database.admin().await.batch_execute("CHECKPOINT").await.unwrap();
        let copied = tokio::task::spawn_blocking(move || Arc::new(server.copied())).await.unwrap();
        let copy = Self { server: copied, name: database.name.clone(), owner: database.owner.clone() };
        (database, copy)
    }

    async fn on(server: Arc<Server>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let database = Self { server, name: format!("shop {number}"), owner: format!("shop_{number}") };
        let admin = database.client_of("admin", "postgres").await;
        let (name, owner) = (&database.name, &database.owner);
        // The server may be an earlier test's: roles outlive databases of the same number only where it is.
        for statement in [
            format!("CREATE ROLE {owner} LOGIN PASSWORD '{PASSWORD}'"),
            format!("CREATE ROLE {owner}_app LOGIN PASSWORD '{PASSWORD}'"),
            format!("CREATE DATABASE \"{name}\" OWNER {owner}"),
        ] {
            admin.batch_execute(&statement).await.unwrap();
        }
        database
    }

    /// A second database with the same owner.
    pub async fn beside(&self) -> Self {
        let name = format!("{} beside", self.name);
        let admin = self.client_of("admin", "postgres").await;
        admin.batch_execute(&format!("CREATE DATABASE \"{name}\" OWNER {}", self.owner)).await.unwrap();
        Self { server: self.server.clone(), name, owner: self.owner.clone() }
    }

    pub fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgresql://{role}:{PASSWORD}@127.0.0.1:{}/{}", self.server.port, database.replace(' ', "%20"))
    }

    pub fn url(&self) -> String {
        self.url_of(&self.owner, &self.name)
    }

    pub async fn try_client_of(
        &self,
        role: &str,
        database: &str,
    ) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let ends = Instant::now() + Duration::from_secs(30);
        loop {
            match tokio_postgres::connect(&self.url_of(role, database), tokio_postgres::NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return Ok(client);
                }
                // It listens before it lets anybody in.
                Err(error) if error.code().is_some_and(|code| code.code() == "57P03") && Instant::now() < ends => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub async fn client_of(&self, role: &str, database: &str) -> tokio_postgres::Client {
        self.try_client_of(role, database).await.unwrap()
    }

    /// As the owner; whatever the database's defaults are, it may write.
    pub async fn client(&self) -> tokio_postgres::Client {
        let client = self.client_of(&self.owner, &self.name).await;
        client
            .batch_execute("SET default_transaction_read_only = off; SET application_name = 'savepoint-test'")
            .await
            .unwrap();
        client
    }

    pub async fn admin(&self) -> tokio_postgres::Client {
        let client = self.client_of("admin", &self.name).await;
        client
            .batch_execute("SET default_transaction_read_only = off; SET application_name = 'savepoint-test'")
            .await
            .unwrap();
        client
    }

    pub async fn run(&self, statements: &str) {
        self.client().await.batch_execute(statements).await.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    pub async fn value(&self, query: &str) -> String {
        value(&self.client().await, query).await
    }

    /// Schema and rows as text: what `pg_dump` writes for people.
    pub fn contents(&self) -> String {
        let mut dump = Command::new(programs().join("pg_dump"));
        dump.arg("--exclude-schema=savepoint").env("PGPASSWORD", PASSWORD).env("PGDATABASE", &self.name);
        dump.env("PGUSER", "admin").env("PGHOST", "127.0.0.1").env("PGPORT", self.server.port.to_string());
        let dumped = dump.output().unwrap();
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        let text = String::from_utf8(dumped.stdout).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// The platform as a new process would see it.
    pub fn platform(&self) -> Box<dyn Platform> {
        self.platform_of(json!({}), None)
    }

    pub fn platform_of(&self, spec: Value, restore: Option<&Self>) -> Box<dyn Platform> {
        open(&gateway(PostgresOptions::default()), &self.url(), restore.map(Self::url).as_deref(), spec).unwrap()
    }
}

pub async fn value(client: &tokio_postgres::Client, query: &str) -> String {
    let rows = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let row = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.and_then(|row| row.get(0)).unwrap_or("NULL").to_owned()
}

pub fn gateway(postgres: PostgresOptions) -> Gateway {
    Gateway::new(GatewayOptions { postgres, ..GatewayOptions::default() }).unwrap()
}

pub fn open(
    gateway: &Gateway,
    url: &str,
    restore: Option<&str>,
    spec: Value,
) -> savepoint::platform::Result<Box<dyn Platform>> {
    let mut postgres = json!({ "connectionRef": { "name": "s", "key": "k" } });
    postgres.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let component = json!({ "name": "database", "role": "Database", "postgres": postgres });
    let component: Component = serde_json::from_value(component).unwrap();
    let (url, restore) = (SecretString::from(url), restore.map(SecretString::from));
    gateway.connect(&component, postgres_credential(&url, restore.as_ref()))
}

/// A dump in memory, with what may go wrong while it is read.
#[derive(Clone, Default)]
pub struct Dump {
    pub bytes: Arc<Vec<u8>>,
    /// What `open` says instead of opening.
    pub refused: Option<String>,
    /// The stream ends here: with an error, or as if this were all.
    pub cut: Option<(usize, bool)>,
    /// The stream stays open here, for ever.
    pub stalls: Option<usize>,
}

struct Reading(Dump, usize);

impl AsyncRead for Reading {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let Self(dump, at) = &mut *self;
        let end = dump.cut.map_or(dump.bytes.len(), |(end, _)| end).min(dump.stalls.unwrap_or(usize::MAX));
        if *at >= end {
            return match (dump.stalls, dump.cut) {
                (Some(_), _) => Poll::Pending,
                (None, Some((_, true))) => Poll::Ready(Err(std::io::Error::other("cut"))),
                _ => Poll::Ready(Ok(())),
            };
        }
        let count = (end - *at).min(into.remaining()).min(8192);
        into.put_slice(&dump.bytes[*at..*at + count]);
        *at += count;
        Poll::Ready(Ok(()))
    }
}

impl DataSource for Dump {
    fn open(&self) -> BoxFuture<'_, Result<DataStream, String>> {
        async {
            match &self.refused {
                Some(why) => Err(why.clone()),
                None => Ok(Box::pin(Reading(self.clone(), 0)) as DataStream),
            }
        }
        .boxed()
    }
    fn share(&self) -> Arc<dyn DataSource> {
        Arc::new(self.clone())
    }
}

/// Dumps, and gives the dump with what a backup would record of it.
pub async fn dump(platform: &dyn Platform) -> (Dump, CapturedData) {
    let mut bytes = Vec::new();
    let facts = platform.dump(&mut bytes).await.expect("a dump");
    let data = CapturedData {
        location: String::new(),
        size_bytes: i64::try_from(bytes.len()).unwrap(),
        sha256: format!("{:x}", <sha2::Sha256 as sha2::Digest>::digest(&bytes)),
        format: format!("age+{}", facts.format),
        server_version: facts.server_version,
        schema_version: facts.schema_version,
        roles: facts.roles,
        extensions: facts.extensions,
        integrity: facts.integrity,
    };
    (Dump { bytes: Arc::new(bytes), ..Dump::default() }, data)
}

pub fn restore_of(data: &CapturedData) -> Change {
    Change::RestoreData { backup: PinnedRef { name: "b".into(), uid: "backup-uid".into() }, data: data.clone() }
}

pub async fn send(
    platform: &dyn Platform,
    attempt: &str,
    class: EffectClass,
    change: &Change,
    source: Option<&Dump>,
) -> Result<SendOutcome, SendError> {
    let intent = Intent {
        id: attempt.into(),
        epoch: 1,
        class,
        params_digest: String::new(),
        baseline_digest: String::new(),
        deadline_seconds: 20,
        written: None,
    };
    let data = source.map(|source| source as &dyn DataSource);
    let values = BTreeMap::new();
    let context = ChangeContext { values: &values, output: None, data };
    platform.apply(crate::scene::commit_intent(intent).await, change, context).await
}

/// Restores, and looks until it is no longer under way.
pub async fn restore(platform: &dyn Platform, attempt: &str, data: &CapturedData, source: &Dump) -> Progress {
    let change = restore_of(data);
    let sent = send(platform, attempt, EffectClass::Destructive, &change, Some(source)).await.expect("taken");
    assert_eq!(sent.output.as_deref(), Some(attempt));
    ended(platform, attempt, &change).await
}

pub async fn ended(platform: &dyn Platform, attempt: &str, change: &Change) -> Progress {
    let ends = Instant::now() + Duration::from_secs(60);
    loop {
        let progress = crate::scene::inspect(platform, change, Some(attempt)).await;
        if !matches!(progress, Progress::InProgress { .. }) {
            return progress;
        }
        assert!(Instant::now() < ends, "never ends: {progress:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
