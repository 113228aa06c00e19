//! A real PostgreSQL server of our own: made in a folder of the test, on a loopback port, and gone with its owner.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The password of every role. It must never be seen in any text.
pub const PASSWORD: &str = "Canary7pass-s3cr3t";

/// A running server.
pub struct Server {
    child: Child,
    port: u16,
}

/// Folder of the newest server that is installed.
fn programs() -> PathBuf {
    const MISSING: &str = "PostgreSQL is not installed: sudo apt-get install postgresql";
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect(MISSING);
    let major = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()).unwrap_or(0);
    let installed = versions.flatten().map(|entry| entry.path()).filter(|path| path.join("bin/initdb").is_file());
    installed.max_by_key(|path| major(path)).expect(MISSING).join("bin")
}

/// A command that ends with the thread that starts it, as an ordinary user: the server refuses to be run by root.
fn ordinary(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if Command::new("id").arg("-u").output().expect("id").stdout == b"0\n" {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "INT", "--"]).arg(program);
    command
}

impl Server {
    /// Makes and starts one in `folder`/postgres. Call it on a thread that lives as long as the server shall.
    pub fn start(folder: &Path) -> Self {
        let folder = folder.join("postgres");
        std::fs::create_dir_all(&folder).unwrap();
        let (data, password) = (folder.join("data"), folder.join("password"));
        std::fs::File::create(&password).unwrap().write_all(PASSWORD.as_bytes()).unwrap();
        if ordinary(Path::new("true")).get_args().any(|argument| argument == "--reuid=nobody") {
            let owned = Command::new("chown").args(["-R", "nobody:nogroup"]).arg(&folder).status().unwrap();
            assert!(owned.success());
            let_through(&folder);
        }
        let mut initdb = ordinary(&programs().join("initdb"));
        initdb.arg("-D").arg(&data).arg("--pwfile").arg(&password).current_dir("/");
        initdb.args(["-U", "admin", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        let made = initdb.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut server = ordinary(&programs().join("postgres"));
        server.arg("-D").arg(&data).arg("-p").arg(port.to_string()).current_dir("/");
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "unix_socket_directories="]);
        let child = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let started = Self { child, port };
        let ends = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < ends, "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        started
    }

    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgresql://{role}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// A session, as the server lets this role in at this moment.
    pub async fn connect(&self, role: &str, database: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let ends = Instant::now() + Duration::from_secs(30);
        loop {
            match tokio_postgres::connect(&self.url(role, database), tokio_postgres::NoTls).await {
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
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// The server's user may pass through the folders above its own, and see no more of them.
fn let_through(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(std::env::temp_dir())) {
        let Ok(found) = std::fs::metadata(above) else { continue };
        let mode = found.permissions().mode();
        if mode & 0o001 == 0 {
            std::fs::set_permissions(above, std::fs::Permissions::from_mode(mode | 0o011)).unwrap();
        }
    }
}

/// A database of a shop: its owner, whom backups and restores use, and the application's role.
pub struct Database<'a> {
    server: &'a Server,
    pub name: String,
}

impl<'a> Database<'a> {
    /// Makes it, well.
    pub async fn create(server: &'a Server, name: &str) -> Self {
        let admin = server.connect("admin", "postgres").await.unwrap();
        for statement in [
            format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"),
            format!("CREATE ROLE {name}_app LOGIN PASSWORD '{PASSWORD}'"),
            format!("GRANT {name}_app TO {name}"), // so that the owner may end the application's sessions
            format!("CREATE DATABASE {name} OWNER {name}"),
        ] {
            admin.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let database = Self { server, name: name.into() };
        database.make_well().await;
        database
    }

    /// Three orders at migration 7, whatever was there.
    pub async fn make_well(&self) {
        let name = &self.name;
        self.run(&format!(
            "DROP TABLE IF EXISTS orders, schema_migrations, visits, wrong;
             CREATE TABLE orders (id int PRIMARY KEY, total int NOT NULL);
             CREATE TABLE schema_migrations (version text PRIMARY KEY);
             CREATE TABLE visits (at timestamptz DEFAULT now());
             INSERT INTO schema_migrations VALUES ('7');
             INSERT INTO orders VALUES (1, 10), (2, 20), (3, 30);
             GRANT SELECT, INSERT ON orders, visits TO {name}_app;"
        ))
        .await;
    }

    /// The connection that the Secret holds.
    pub fn url(&self) -> String {
        self.server.url(&self.name, &self.name)
    }

    /// As the owner; whatever the database's defaults are, it may write.
    pub async fn run(&self, statements: &str) {
        let client = self.server.connect(&self.name, &self.name).await.unwrap();
        let statements = format!("SET default_transaction_read_only = off; {statements}");
        // The operator may be reading: whoever loses a deadlock begins again.
        let deadlock = |error: &tokio_postgres::Error| error.code().is_some_and(|code| code.code() == "40P01");
        loop {
            match client.batch_execute(&statements).await {
                Ok(()) => return,
                Err(error) if deadlock(&error) => {}
                Err(error) => panic!("{statements}: {error:?}"),
            }
        }
    }

    /// One value, as text.
    pub async fn value(&self, query: &str) -> String {
        let client = self.server.connect(&self.name, &self.name).await.unwrap();
        let rows = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let row = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.and_then(|row| row.get(0)).unwrap_or("NULL").to_owned()
    }

    /// A wrong migration: a column is gone, rows are lost and wrong, a table is new.
    pub async fn migrate_wrongly(&self) {
        self.run(
            "ALTER TABLE orders DROP COLUMN total; DELETE FROM orders WHERE id = 2; INSERT INTO orders VALUES (99);
             CREATE TABLE wrong (x int); INSERT INTO schema_migrations VALUES ('8');",
        )
        .await;
    }

    /// Tables, rows and migration, as one line.
    pub async fn contents(&self) -> String {
        let tables = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'";
        let rows = "SELECT string_agg(o::text, ' ' ORDER BY o.id) FROM orders o";
        let version = "SELECT max(version) FROM schema_migrations";
        format!("{}; {}; {}", self.value(tables).await, self.value(rows).await, self.value(version).await)
    }

    /// The application writes, as it does all day. Says why it could not.
    pub async fn application_writes(&self) -> Result<(), String> {
        let said = |error: tokio_postgres::Error| {
            error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())
        };
        let client = self.server.connect(&format!("{}_app", self.name), &self.name).await.map_err(said)?;
        client.batch_execute("INSERT INTO visits DEFAULT VALUES").await.map_err(said)
    }
}

/// What [`Database::contents`] says of a database that is well.
pub const GOOD: &str = "orders schema_migrations visits; (1,10) (2,20) (3,30); 7";
/// What it says after the wrong migration.
pub const WRONG: &str = "orders schema_migrations visits wrong; (1) (3) (99); 8";
