//! EFFECT. The way out to addresses that a user chose: where it may lead, and connections that can lead nowhere else.
//!
//! Checks, feature flags and hooks go through here. The policy (`address`) is pure; this file looks names up and pins what it found.

pub mod address;

#[cfg(test)]
mod tests;

use address::AddressPolicy;
use futures::future::BoxFuture;
pub use reqwest::header::HeaderMap;
use reqwest::header::{HeaderName, HeaderValue};
use rustls_platform_verifier::ConfigVerifierExt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use url::{Host, Url};

/// Headers that belong to the connection or to us; a Secret must not set them.
const OUR_HEADERS: [&str; 9] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Begin of the message where an address is refused.
pub const ADDRESS_NOT_ALLOWED: &str = "the address is not allowed";

/// Looks up the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Why nothing was sent. No address, no name and no text of anybody else is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// The address is of a kind that may not be connected to.
    #[error("{ADDRESS_NOT_ALLOWED}: {0}; the operator's flag --allow-cidr can allow its network")]
    Address(&'static str),
    /// Nobody knows where it would lead, or no client can be made.
    #[error("{0}")]
    NoWay(&'static str),
}

/// How long finding the way may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest time for the lookup of the name.
    pub lookup: Duration,
    /// Longest time until the connection stands. `None`: the caller's own deadline alone.
    pub connect: Option<Duration>,
}

/// Makes clients that can connect to one address and to nothing else; one per process.
///
/// # Guarantees
/// - A name is looked up once; if any of its addresses is not allowed no connection is made, and otherwise only those very addresses are
///   connected to.
/// - No redirect is followed, no proxy of the environment is used, nothing is sent twice, TLS is verified.
pub struct Egress {
    addresses: AddressPolicy,
    lookup: Lookup,
    /// Made with the first `https://` address. `None` inside: there are no usable root certificates.
    tls: OnceLock<Option<rustls::ClientConfig>>,
}

impl Egress {
    /// A way out that looks names up as the operating system does.
    pub fn new(addresses: AddressPolicy) -> Self {
        Self::with_lookup(
            addresses,
            Arc::new(|name| {
                Box::pin(async move {
                    let found = tokio::net::lookup_host((name, 0)).await?;
                    Ok(found.map(|address| address.ip()).collect())
                })
            }),
        )
    }

    /// A way out with a lookup of its own.
    pub fn with_lookup(addresses: AddressPolicy, lookup: Lookup) -> Self {
        // Fails only where a provider was chosen before, and then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { addresses, lookup, tls: OnceLock::new() }
    }

    fn tls(&self) -> Result<rustls::ClientConfig, Blocked> {
        let made = self.tls.get_or_init(|| {
            let tls = rustls::ClientConfig::with_platform_verifier();
            if let Err(error) = &tls {
                tracing::warn!(%error, "no root certificates: https addresses cannot be reached");
            }
            tls.ok()
        });
        made.clone().ok_or(Blocked::NoWay("the operator has no root certificates"))
    }

    /// A client that can connect to the addresses of this url and to nothing else.
    ///
    /// # Errors
    /// [`Blocked`]: nothing was sent.
    pub async fn client(&self, url: &Url, patience: Patience) -> Result<reqwest::Client, Blocked> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("savepoint/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(NoLookup));
        let builder = match patience.connect {
            None => builder,
            Some(longest) => builder.connect_timeout(longest),
        };
        let builder = match self.resolve(url, patience.lookup).await? {
            None => builder,
            Some((name, addresses)) => builder.resolve_to_addrs(&name, &addresses),
        };
        let builder = match url.scheme() {
            "https" => builder.tls_backend_preconfigured(self.tls()?),
            // Plain http: any store will do, none is asked.
            _ => builder.tls_certs_only([]),
        };
        builder.build().map_err(|_| Blocked::NoWay("no HTTP client could be made"))
    }

    /// Whether the answer came from an address that is allowed: the last look, at what was really connected to.
    ///
    /// # Errors
    /// [`Blocked`]. The request was sent.
    pub fn check_peer(&self, response: &reqwest::Response) -> Result<(), Blocked> {
        let peer = response.remote_addr().ok_or(Blocked::NoWay("the connected address is not known"))?;
        self.addresses.check_ip(peer.ip()).map_err(Blocked::Address)
    }

    /// The addresses of a name, all of them allowed. `None`: the url holds an address itself, and it is allowed.
    async fn resolve(&self, url: &Url, deadline: Duration) -> Result<Option<(String, Vec<SocketAddr>)>, Blocked> {
        let literal = |ip: IpAddr| self.addresses.check_ip(ip).map(|()| None).map_err(Blocked::Address);
        let name = match url.host() {
            None => return Err(Blocked::NoWay("the url has no host")),
            // A client does not look up an address, so that no resolver could stop it: it is looked at here.
            Some(Host::Ipv4(ip)) => return literal(ip.into()),
            Some(Host::Ipv6(ip)) => return literal(ip.into()),
            Some(Host::Domain(name)) => name.to_owned(),
        };
        // The deadline is a part of the timeout, so that a lookup that hangs is told from a server that does.
        let found = match tokio::time::timeout(deadline, (self.lookup)(name.clone())).await {
            Ok(Ok(found)) if !found.is_empty() => found,
            Ok(_) => return Err(Blocked::NoWay("the host's name has no address")),
            Err(_) => return Err(Blocked::NoWay("the host's name was not answered")),
        };
        self.addresses.check_name(&name, &found).map_err(Blocked::Address)?;
        // Port 0: the url's own.
        Ok(Some((name, found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())))
    }
}

/// Never finds anything: names are pinned before, and one that is not must not be looked up behind our back.
struct NoLookup;

impl reqwest::dns::Resolve for NoLookup {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async { Err("a name that was not pinned".into()) })
    }
}

/// The header of one key of a Secret.
///
/// # Errors
/// What is wrong with the key, without its value.
pub fn header(key: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::from_bytes(key.as_bytes()).map_err(|_| format!("key {key} is no header name"))?;
    if OUR_HEADERS.contains(&name.as_str()) {
        return Err(format!("key {key} is a header of the connection and cannot be set"));
    }
    let mut value = HeaderValue::from_bytes(value.trim_ascii())
        .map_err(|_| format!("the value of key {key} cannot be sent as a header"))?;
    value.set_sensitive(true);
    Ok((name, value))
}
