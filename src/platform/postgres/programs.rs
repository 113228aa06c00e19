//! The client programs of PostgreSQL: which of them fits, and how they are started. No secret is ever an argument.

use super::PostgresOptions;
use super::address::{Address, Host, Route};
use super::connection::error;
use crate::platform::{ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Where distributions put them: Debian, Red Hat, Alpine, and what is on the path.
const FOLDERS: &[(&str, &str)] = &[
    ("/usr/lib/postgresql", "bin"),
    ("/usr", "bin"),
    ("/usr/libexec", ""),
    ("/usr/bin", "."),
    ("/usr/local/bin", "."),
];
/// Where distributions keep the root certificates.
const ROOTS: &[&str] = &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The programs of one major version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Programs {
    folder: PathBuf,
    pub major: u32,
    /// File of root certificates that was named.
    roots: Option<PathBuf>,
}

impl Programs {
    /// Those of the smallest major version that is not older than `server`: a newer one may write what an older server does not know.
    pub async fn find(options: &PostgresOptions, server: u32, operation: &'static str) -> Result<Self> {
        let places = options.client_folders.clone().unwrap_or_else(usual_folders);
        let mut found = Vec::new();
        for folder in places {
            if let Some(major) = major_of(&folder).await {
                found.push(Self { folder, major, roots: options.root_certificates.clone() });
            }
        }
        found.sort_by_key(|programs| programs.major);
        let newest = found.last().map(|programs| programs.major);
        found.into_iter().find(|programs| programs.major >= server).ok_or_else(|| {
            let have = newest.map_or_else(|| "none is installed".to_owned(), |major| format!("the newest here is {major}"));
            let words = format!(
                "the server is PostgreSQL {server} and needs pg_dump, pg_restore and psql of {server} or newer; {have}: install \
                 postgresql-client-{server} beside the operator"
            );
            error(operation, ErrorKind::NotAllowed, words)
        })
    }

    /// One program, with the way to the server in its environment and nothing else of ours.
    pub fn command(&self, program: &str, address: &Address, route: &Route, name: &str) -> Result<Command> {
        let mut command = self.bare(program);
        command
            .env("PGUSER", &address.user)
            .env("PGDATABASE", &address.database)
            .env("PGPORT", address.port.to_string());
        command.env("PGPASSWORD", address.secret()).env("PGAPPNAME", name).env("PGCONNECT_TIMEOUT", "10");
        command.env("PGOPTIONS", address.options.as_deref().unwrap_or_default());
        match (&address.host, route) {
            (Host::Socket(folder), _) => {
                command.env("PGHOST", folder);
            }
            (Host::Name(name), Route::Tls(at) | Route::Plain(at)) => {
                command.env("PGHOST", name).env("PGHOSTADDR", at.ip().to_string());
            }
            (Host::Name(_), Route::Socket(_)) => {}
        }
        match route {
            Route::Tls(_) => {
                let roots = roots(self.roots.clone()).ok_or_else(|| {
                    error(
                        "connect",
                        ErrorKind::NotAllowed,
                        "there is no file of root certificates: install ca-certificates",
                    )
                })?;
                command
                    .env("PGSSLMODE", "verify-full")
                    .env("PGSSLROOTCERT", roots)
                    .env("PGSSLMINPROTOCOLVERSION", "TLSv1.2");
            }
            Route::Plain(_) | Route::Socket(_) => {
                command.env("PGSSLMODE", "disable");
            }
        }
        Ok(command)
    }

    /// One program that speaks to no server.
    pub fn bare(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.env_clear().env("LC_ALL", "C").env("PGCLIENTENCODING", "UTF8").env("PGPASSFILE", "/dev/null");
        command.env("PATH", "/usr/bin:/bin").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// The file of root certificates: the one that was named, else that of the distribution.
fn roots(named: Option<PathBuf>) -> Option<PathBuf> {
    let usual = || ROOTS.iter().map(PathBuf::from).find(|path| path.exists());
    named.or_else(usual)
}

/// Folders in which `pg_dump` lies.
fn usual_folders() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (base, inner) in FOLDERS {
        if *inner == "." {
            found.push(PathBuf::from(base));
            continue;
        }
        let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
        let named = entries.filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            *base == "/usr/lib/postgresql" || name.starts_with("pgsql-") || name.starts_with("postgresql")
        });
        found.extend(named.map(|entry| entry.path().join(inner)));
    }
    found.retain(|folder| ["pg_dump", "pg_restore", "psql"].iter().all(|program| folder.join(program).is_file()));
    found
}

/// `pg_dump (PostgreSQL) 15.18 (Debian …)` → 15.
async fn major_of(folder: &Path) -> Option<u32> {
    let mut command = Command::new(folder.join("pg_dump"));
    command.arg("--version").env_clear().stdin(Stdio::null()).kill_on_drop(true);
    let answer = command.output().await.ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    text.split_whitespace().nth(2)?.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_trust_whom_our_own_connections_trust() {
        let own = PathBuf::from("/etc/own/ca.pem");
        assert_eq!(roots(Some(own.clone())), Some(own));
        assert!(roots(None).is_none_or(|path| ROOTS.iter().any(|usual| path == Path::new(usual))));
    }
}
