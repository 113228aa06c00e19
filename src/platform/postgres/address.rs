//! From a connection string to an address: what it may say, and whether the way there is encrypted. Pure but for the lookup.
//!
//! No error here repeats a part of the string: any part of it may be the password.

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use url::Url;

/// How a connection string must look.
const FORM: &str = "write postgresql://user:password@host:5432/database";
/// Parameters of other clients that change nothing for us.
const PASSED_OVER: &[&str] = &[
    "application_name",
    "channel_binding",
    "connect_timeout",
    "connection_limit",
    "pgbouncer",
    "pool_timeout",
    "schema",
    "sslrootcert",
    "target_session_attrs",
];

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// Folder of a unix socket.
    Socket(PathBuf),
    /// Name or address.
    Name(String),
}

/// What `sslmode` asks for. There is no way to ask for encryption without verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Nothing, `allow` or `prefer`: plain on this machine alone.
    Nothing,
    /// `require`, `verify-ca`, `verify-full`.
    Tls,
    /// `disable`.
    Plain,
}

/// A connection string, taken apart. No Debug: it holds the password.
#[derive(Clone)]
pub(super) struct Address {
    pub host: Host,
    pub port: u16,
    pub user: String,
    pub password: SecretString,
    pub database: String,
    pub options: Option<String>,
    asked: Asked,
}

/// The very way that is taken: the address is looked up once, for us and for every child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Socket(PathBuf),
    Plain(SocketAddr),
    Tls(SocketAddr),
}

impl Address {
    /// Takes a connection string apart.
    ///
    /// # Errors
    /// Words that say what to change.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text.trim()).map_err(|_| format!("the connection string cannot be read: {FORM}"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(format!("the connection string is no address of PostgreSQL: {FORM}"));
        }
        let decoded =
            |text: &str| decode(text).ok_or_else(|| format!("the connection string is badly escaped: {FORM}"));
        let mut host = decoded(url.host_str().unwrap_or_default())?.trim_matches(['[', ']']).to_owned();
        let mut user = decoded(url.username())?;
        let mut password = decoded(url.password().unwrap_or_default())?;
        let mut database = decoded(url.path().trim_start_matches('/'))?;
        let (mut port, mut options, mut asked) = (url.port(), None, Asked::Nothing);
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "host" => host = value.into_owned(),
                "port" => port = Some(value.parse().map_err(|_| "port in the connection string is no port")?),
                "user" => user = value.into_owned(),
                "password" => password = value.into_owned(),
                "dbname" => database = value.into_owned(),
                "options" => options = Some(value.into_owned()),
                "sslmode" => asked = asked_by(&value)?,
                name if PASSED_OVER.contains(&name) => {}
                _ => return Err(format!("the connection string has a parameter that is not known: {FORM}")),
            }
        }
        if host.contains(',') {
            return Err("the connection string names several hosts: name the one that takes writes".into());
        }
        if host.is_empty()
            || user.is_empty()
            || database.is_empty()
            || [&host, &user, &database].iter().any(|text| text.contains('\0'))
        {
            return Err(format!("the connection string lacks its host, user or database: {FORM}"));
        }
        let host = if host.starts_with('/') { Host::Socket(host.into()) } else { Host::Name(host) };
        Ok(Self { host, port: port.unwrap_or(5432), user, password: password.into(), database, options, asked })
    }

    /// Every way to the server, in the order in which they are tried.
    ///
    /// # Errors
    /// Words that say what to change; `true` beside them: it may pass by itself.
    pub async fn routes(&self, allowed: &[IpNet]) -> Result<Vec<Route>, (bool, String)> {
        let name = match &self.host {
            Host::Socket(folder) => return Ok(vec![Route::Socket(folder.join(format!(".s.PGSQL.{}", self.port)))]),
            Host::Name(name) => name.as_str(),
        };
        let found = tokio::net::lookup_host((name, self.port)).await;
        let found: Vec<SocketAddr> =
            found.map_err(|_| (true, "the name of the server was not found".to_owned()))?.collect();
        if found.is_empty() {
            return Err((true, "the name of the server has no address".into()));
        }
        self.ways(&found, allowed).map_err(|words| (false, words))
    }

    /// Plain only where the string asks for it or the server is on this machine, and only where every address allows it: which of them
    /// is connected to is chance.
    fn ways(&self, found: &[SocketAddr], allowed: &[IpNet]) -> Result<Vec<Route>, String> {
        let local = found.iter().all(|at| at.ip().to_canonical().is_loopback());
        let near = found.iter().all(|at| may_be_plain(at.ip(), allowed));
        match self.asked {
            Asked::Plain if !near => {
                Err("sslmode=disable is not allowed for this address: use sslmode=verify-full, or start the \
                                          operator with --allow-cidr for the network that the server is in"
                    .into())
            }
            Asked::Plain => Ok(found.iter().copied().map(Route::Plain).collect()),
            Asked::Nothing if local => Ok(found.iter().copied().map(Route::Plain).collect()),
            Asked::Nothing | Asked::Tls => Ok(found.iter().copied().map(Route::Tls).collect()),
        }
    }

    /// The password, wherever a text of somebody else must be searched for it.
    pub fn secret(&self) -> &str {
        self.password.expose_secret()
    }

    /// What the certificate of the server must be made out to.
    pub fn server_name(&self) -> &str {
        match &self.host {
            Host::Name(name) => name,
            Host::Socket(_) => "localhost",
        }
    }
}

fn may_be_plain(ip: IpAddr, allowed: &[IpNet]) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || allowed.iter().any(|network| network.contains(&ip))
}

fn asked_by(mode: &str) -> Result<Asked, String> {
    match mode {
        "disable" => Ok(Asked::Plain),
        "allow" | "prefer" => Ok(Asked::Nothing),
        "require" | "verify-ca" | "verify-full" => Ok(Asked::Tls),
        _ => Err("sslmode in the connection string is none: use verify-full".into()),
    }
}

/// Percent-escapes. `None`: they are broken, or it is no text.
fn decode(text: &str) -> Option<String> {
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(byte) = bytes.get(at) {
        if *byte == b'%' {
            let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            decoded.push(*byte);
            at += 1;
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address {
        Address::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn a_connection_string_is_taken_apart() {
        let address = parsed("postgresql://app:p%40ss%2Fw%25@db.example.com/shop?sslmode=require&application_name=x");
        assert_eq!((address.user.as_str(), address.secret(), address.database.as_str()), ("app", "p@ss/w%", "shop"));
        assert_eq!((address.host, address.port), (Host::Name("db.example.com".into()), 5432));
        let address = parsed("postgres:///shop?host=/run/postgresql&user=app&port=5433");
        assert_eq!((address.host, address.port), (Host::Socket("/run/postgresql".into()), 5433));
        assert_eq!(parsed("postgres://u@[::1]:7/d").host, Host::Name("::1".into()));
    }

    #[test]
    fn what_is_wrong_is_said_without_any_part_of_the_string() {
        for text in [
            "hunter2",
            "http://u:hunter2@h/d",
            "postgres://u:hunter2@h",
            "postgres://:hunter2@h/d",
            "postgres://u:hunter2%zz@h/d",
            "postgres://u:hunter2@h1,h2/d",
            "postgres://u@h/d?hunter2=1",
            "postgres://u@h/d?sslmode=hunter2",
            "postgres://u@h/d?port=hunter2",
        ] {
            let why = Address::parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn plain_goes_nowhere_but_to_this_machine_and_to_allowed_networks() {
        let allowed = ["10.1.0.0/16".parse().unwrap()];
        let ways = |query: &str, ips: &[&str]| {
            let found: Vec<SocketAddr> = ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 5432)).collect();
            parsed(&format!("postgres://u@h/d{query}")).ways(&found, &allowed)
        };
        let plain =
            |query: &str, ips: &[&str]| ways(query, ips).unwrap().iter().all(|way| matches!(way, Route::Plain(_)));
        assert!(plain("", &["127.0.0.1", "::1"]) && plain("?sslmode=disable", &["10.1.2.3"]));
        for query in ["", "?sslmode=allow", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-full"] {
            assert!(!plain(query, &["10.1.2.3"]), "{query}");
            assert!(!plain(query, &["192.0.2.1"]), "{query}");
            assert!(!plain(query, &["127.0.0.1", "192.0.2.1"]), "{query}");
        }
        assert!(!plain("?sslmode=require", &["127.0.0.1"]));
        for ips in [&["192.0.2.1"][..], &["10.2.0.1"], &["127.0.0.1", "192.0.2.1"], &["::ffff:192.0.2.1"]] {
            assert!(ways("?sslmode=disable", ips).unwrap_err().contains("--allow-cidr"), "{ips:?}");
        }
    }
}
