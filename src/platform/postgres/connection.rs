//! One session with a server: the stream, its encryption, and what its errors mean.

use super::address::{Address, Route};
use crate::api::PlatformName;
use crate::platform::{Error, ErrorKind, Result, redact};
use ipnet::IpNet;
use rustls_platform_verifier::ConfigVerifierExt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, NoTls, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, SimpleQueryMessage};

/// Longest time until a server is connected to.
const CONNECT: Duration = Duration::from_secs(10);
/// How our own sessions are called, or begin to be called. Sessions of this name are never ended by us.
pub(super) const OWN_NAME: &str = "savepoint";

/// An error of this platform.
pub(super) fn error(operation: &'static str, kind: ErrorKind, message: impl AsRef<str>) -> Error {
    Error::new(PlatformName::Postgres, operation, kind, message)
}

/// A session. It ends when this is dropped.
pub(super) struct Link {
    pub client: Client,
    /// The way that was taken: children take the same.
    pub route: Route,
    secret: String,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    /// Connects, and makes the session one that may write whatever the database's default is.
    pub async fn open(address: &Address, allowed: &[IpNet], operation: &'static str) -> Result<Self> {
        let routes = address.routes(allowed).await.map_err(|(passes, words)| {
            error(operation, if passes { ErrorKind::Unavailable } else { ErrorKind::NotAllowed }, words)
        })?;
        let mut last = error(operation, ErrorKind::Unavailable, "the server cannot be reached");
        for route in routes {
            let attempt = tokio::time::timeout(CONNECT, Self::open_by(address, route, operation)).await;
            match attempt {
                Ok(Ok(link)) => {
                    link.run(operation, "SET default_transaction_read_only = off; SET statement_timeout = '30s'")
                        .await?;
                    return Ok(link);
                }
                Ok(Err(met)) => last = met,
                Err(_) => last = error(operation, ErrorKind::Unavailable, "the server did not answer in time"),
            }
            // Another address of the same server would say the same.
            if !last.is_temporary() {
                break;
            }
        }
        Err(last)
    }

    async fn open_by(address: &Address, route: Route, operation: &'static str) -> Result<Self> {
        let unreachable = |_| error(operation, ErrorKind::Unavailable, "the server cannot be reached");
        let mut config = Config::new();
        config.user(&address.user).dbname(&address.database).application_name(OWN_NAME);
        if !address.secret().is_empty() {
            config.password(address.secret());
        }
        if let Some(options) = &address.options {
            config.options(options.as_str());
        }
        let said = |met: tokio_postgres::Error| said(operation, address.secret(), &met);
        let tls = matches!(route, Route::Tls(_));
        config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
        let (client, driver) = match &route {
            Route::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(said)?;
                (client, tokio::spawn(async { drop(connection.await) }))
            }
            Route::Plain(at) => {
                let stream = TcpStream::connect(at).await.map_err(unreachable)?;
                let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(said)?;
                (client, tokio::spawn(async { drop(connection.await) }))
            }
            Route::Tls(at) => {
                let tls = Tls::to(address.server_name(), operation)?;
                let stream = TcpStream::connect(at).await.map_err(unreachable)?;
                let (client, connection) = config.connect_raw(stream, tls).await.map_err(said)?;
                (client, tokio::spawn(async { drop(connection.await) }))
            }
        };
        Ok(Self { client, route, secret: address.secret().to_owned(), driver })
    }

    /// Runs statements that are our own. Nothing of a spec is ever part of them.
    pub async fn run(&self, operation: &'static str, statements: &str) -> Result<()> {
        self.client.batch_execute(statements).await.map_err(|met| said(operation, &self.secret, &met))
    }

    /// The rows of one statement of our own, as text.
    pub async fn rows(&self, operation: &'static str, statement: &str) -> Result<Vec<Vec<Option<String>>>> {
        let answer = self.client.simple_query(statement).await.map_err(|met| said(operation, &self.secret, &met))?;
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// The first column of every row.
    pub async fn column(&self, operation: &'static str, statement: &str) -> Result<Vec<String>> {
        let rows = self.rows(operation, statement).await?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    /// The one value that a query of a spec gives, as text.
    ///
    /// It is prepared by itself first: the server takes one statement there and no more, so that nothing of it can end the read-only
    /// transaction that it runs in.
    pub async fn one_value(&self, operation: &'static str, query: &str) -> Result<String, String> {
        let query = query.trim().trim_end_matches(';');
        let plain = |met: tokio_postgres::Error| said(operation, &self.secret, &met).message;
        let prepared = self.client.prepare(query).await.map_err(plain)?;
        if prepared.columns().len() != 1 {
            return Err(format!("it gives {} columns: it must give one", prepared.columns().len()));
        }
        let text =
            format!("SELECT savepoint_value::text FROM (\n{query}\n) AS savepoint_query(savepoint_value) LIMIT 2");
        let rows = self.client.query(&text, &[]).await.map_err(plain)?;
        match rows.as_slice() {
            [row] => Ok(row.try_get::<_, Option<String>>(0).map_err(plain)?.unwrap_or_else(|| "NULL".into())),
            [] => Err("it gives no row: it must give one".into()),
            _ => Err("it gives more than one row: it must give one".into()),
        }
    }
}

/// What an error of the server or of the connection means. Values of rows are never repeated.
fn said(operation: &'static str, secret: &str, met: &tokio_postgres::Error) -> Error {
    let Some(told) = met.as_db_error() else {
        // The source of a failed handshake is worth a word, and it is rustls' own.
        let tls = std::error::Error::source(met).and_then(|source| source.downcast_ref::<std::io::Error>());
        let source = std::error::Error::source(met).map(ToString::to_string).unwrap_or_default();
        let words = match tls.and_then(|error| error.get_ref()).and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            Some(rustls::Error::InvalidCertificate(why)) => {
                let words = format!("the server's certificate is not accepted ({why:?}): it is always verified");
                return error(operation, ErrorKind::NotAllowed, words);
            }
            Some(_) => "the encrypted connection could not be made",
            None if source.contains("does not support TLS") => {
                let words = "the server does not speak TLS: switch it on there, or allow its network with --allow-cidr and sslmode=disable";
                return error(operation, ErrorKind::NotAllowed, words);
            }
            None if source.contains("password missing") => {
                return error(
                    operation,
                    ErrorKind::CredentialsRejected,
                    "the server asks for a password, and there is none",
                );
            }
            None => "the connection broke off",
        };
        return error(operation, ErrorKind::Unavailable, words);
    };
    let code = told.code().code();
    let message = redact::vendor_text(&without_values(code, told.message()), secret);
    error(operation, kind_of(code), message)
}

/// What kind of error a code of the server is.
pub(super) fn kind_of(code: &str) -> ErrorKind {
    match code {
        "28000" | "28P01" => ErrorKind::CredentialsRejected,
        "3D000" => ErrorKind::NotFound,
        "42501" => ErrorKind::PermissionDenied,
        "40001" | "40P01" | "55P03" => ErrorKind::Unavailable,
        _ if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => ErrorKind::Unavailable,
        _ => ErrorKind::Refused,
    }
}

/// What a message says, whatever language the server speaks. One about data quotes it, in quotes of its language: only its code is said.
pub(super) fn without_values(code: &str, message: &str) -> String {
    let words = match code {
        DEADLOCK => "deadlock detected",
        "22001" => "a text is too long",
        "22003" => "a number is out of range",
        "22012" => "a division by zero",
        "23502" => "a value is missing where one must be",
        "23503" => "a row refers to one that is not there",
        "23505" => "two rows have the same key",
        "23514" => "a row does not pass a check",
        _ if code.starts_with("22") => "a value is none that its type or a function takes",
        _ if code.starts_with("23") => "a row does not keep a constraint",
        _ => return message.to_owned(),
    };
    format!("{words} (SQLSTATE {code})")
}

/// The code of an error of whom the server chose as the victim of a deadlock.
const DEADLOCK: &str = "40P01";

/// Encryption with verification of the server's certificate against the roots of the system. There is no other.
struct Tls {
    connector: tokio_rustls::TlsConnector,
    name: rustls::pki_types::ServerName<'static>,
}

impl Tls {
    fn to(name: &str, operation: &'static str) -> Result<Self> {
        let unusable = |words: &str| error(operation, ErrorKind::NotAllowed, words);
        let config = rustls::ClientConfig::with_platform_verifier();
        let config = config.map_err(|_| unusable("there are no root certificates to verify the server with"))?;
        let name = rustls::pki_types::ServerName::try_from(name.to_owned());
        let name = name.map_err(|_| unusable("the server's name is none that a certificate can hold"))?;
        Ok(Self { connector: Arc::new(config).into(), name })
    }
}

struct Encrypted(tokio_rustls::client::TlsStream<TcpStream>);

impl TlsConnect<TcpStream> for Tls {
    type Stream = Encrypted;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Encrypted>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move { Ok(Encrypted(self.connector.connect(self.name, stream).await?)) })
    }
}

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_about_data_does_not_repeat_it_in_any_language() {
        for message in
            [r#"invalid input syntax for type integer: "4711 secret""#, "ungültige Eingabesyntax: »4711 secret«"]
        {
            let said = without_values("22P02", message);
            assert_eq!(said, "a value is none that its type or a function takes (SQLSTATE 22P02)");
        }
        assert_eq!(without_values("42704", r#"role "app" does not exist"#), r#"role "app" does not exist"#);
        assert_eq!(without_values("23505", "x"), "two rows have the same key (SQLSTATE 23505)");
    }
}
