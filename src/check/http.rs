//! One HTTP request and what its answer must be.

use super::{Finding, expression};
use crate::api::{HttpCheck, HttpMethod};
use crate::clock::monotonic;
use crate::egress::address::AddressPolicy;
use crate::egress::{Blocked, Egress, HeaderMap, Lookup, Patience};
use reqwest::header::{HeaderName, LOCATION};
use reqwest::{Method, StatusCode};
use std::time::Duration;
use url::Url;

/// Most bytes of a body, counted after decompression.
const LARGEST_BODY: usize = 64 * 1024;
/// Most redirects that are followed.
const MOST_REDIRECTS: usize = 3;
/// Carries out `http` checks; one per process.
///
/// # Guarantees
/// - A name is looked up once per hop; if any of its addresses is not allowed, no connection is made, and otherwise only those very
///   addresses are connected to. The address of the peer is held against the policy once more.
/// - No proxy of the environment is used, TLS is verified, at most 3 redirects are followed, and no header of a Secret goes to another
///   scheme, host or port than the check names.
/// - At most 64 KiB of a body are read, and only where `expectJson` asks for it. Everything together ends within the timeout.
pub struct HttpProber {
    egress: Egress,
}

/// The answer of one hop, before its body.
type Hop = Result<reqwest::Response, Finding>;

impl HttpProber {
    /// A prober that looks names up as the operating system does.
    pub fn new(addresses: AddressPolicy) -> Self {
        Self { egress: Egress::new(addresses) }
    }

    /// A prober with a lookup of its own.
    pub fn with_lookup(addresses: AddressPolicy, lookup: Lookup) -> Self {
        Self { egress: Egress::with_lookup(addresses, lookup) }
    }

    /// One try. `headers` go to the address of the check alone.
    pub async fn probe(&self, check: &HttpCheck, headers: &HeaderMap, timeout: Duration) -> Finding {
        let whole = async { self.visit(check, headers, timeout / 2).await.unwrap_or_else(|finding| finding) };
        match tokio::time::timeout(timeout, whole).await {
            Ok(finding) => finding,
            Err(_) => Finding::breach(format!("no complete answer within {}s", timeout.as_secs())),
        }
    }

    async fn visit(&self, check: &HttpCheck, headers: &HeaderMap, lookup: Duration) -> Result<Finding, Finding> {
        let began = monotonic();
        let response = self.follow(check, headers, lookup).await?;
        let status = response.status();
        if !check.expect_status.contains(&i32::from(status.as_u16())) {
            return Err(Finding::breach(format!("HTTP {}", status.as_u16())));
        }
        expect_headers(check, response.headers())?;
        let body = match &check.expect_json {
            None => None,
            Some(source) => Some((source, read(response).await?)),
        };
        if let Some(limit) = check.max_latency.as_ref().and_then(|text| text.parse().ok())
            && began.elapsed() > limit
        {
            return Err(Finding::breach(format!("slower than {}s", limit.as_secs())));
        }
        if let Some((source, body)) = body {
            let Ok(json) = serde_json::from_slice(&body) else {
                return Err(Finding::breach("the body is not JSON"));
            };
            let found = expression::evaluate(source, json).await;
            if found.verdict != crate::api::Verdict::Pass {
                return Err(found);
            }
        }
        Ok(Finding::pass(format!("HTTP {}", status.as_u16())))
    }

    /// Follows redirects by hand, so that every hop is held against everything that the first one is.
    async fn follow(&self, check: &HttpCheck, headers: &HeaderMap, lookup: Duration) -> Hop {
        let origin = Url::parse(&check.url).map_err(|_| Finding::error("the url cannot be read"))?;
        let mut url = origin.clone();
        let mut headers = headers.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.hop(check.method, &url, headers.clone(), lookup).await?;
            let expected = check.expect_status.contains(&i32::from(response.status().as_u16()));
            let Some(next) = (!expected).then(|| redirect(&url, &response)).transpose()?.flatten() else {
                return Ok(response);
            };
            if next.origin() != url.origin() {
                headers.clear(); // for good: they do not come back with a redirect home
            }
            url = next;
        }
        Err(Finding::breach(format!("more than {MOST_REDIRECTS} redirects")))
    }

    async fn hop(&self, method: HttpMethod, url: &Url, headers: HeaderMap, lookup: Duration) -> Hop {
        let patience = Patience { lookup, connect: None };
        let client = self.egress.client(url, patience).await.map_err(blocked)?;
        let method = match method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Head => Method::HEAD,
        };
        let sent = client.request(method, url.clone()).headers(headers).send().await;
        let response = sent.map_err(|fault| said(&fault))?;
        self.egress.check_peer(&response).map_err(blocked)?;
        Ok(response)
    }
}

fn blocked(why: Blocked) -> Finding {
    Finding::error(why.to_string())
}

/// Where an answer sends us. `None`: nowhere.
fn redirect(from: &Url, response: &reqwest::Response) -> Result<Option<Url>, Finding> {
    use StatusCode as S;
    let moved = [S::MOVED_PERMANENTLY, S::FOUND, S::SEE_OTHER, S::TEMPORARY_REDIRECT, S::PERMANENT_REDIRECT];
    let Some(location) = response.headers().get(LOCATION).filter(|_| moved.contains(&response.status())) else {
        return Ok(None);
    };
    let joined = location.to_str().ok().and_then(|text| from.join(text).ok());
    let to = joined.ok_or_else(|| Finding::breach("a redirect to something that is no address"))?;
    match (from.scheme(), to.scheme()) {
        ("https", "http") => Err(Finding::breach("a redirect from https to http")),
        (_, "http" | "https") if !to.username().is_empty() || to.password().is_some() => {
            Err(Finding::breach("a redirect with credentials in its address"))
        }
        (_, "http" | "https") => Ok(Some(to)),
        _ => Err(Finding::breach("a redirect to something other than http")),
    }
}

fn expect_headers(check: &HttpCheck, headers: &HeaderMap) -> Result<(), Finding> {
    for (name, wanted) in check.expect_headers.iter().flatten() {
        let mut found = headers.get_all(name.as_str()).iter().peekable();
        if found.peek().is_none() {
            return Err(Finding::breach(format!("header {name} is missing")));
        }
        if !found.any(|value| value.as_bytes() == wanted.as_bytes()) {
            return Err(Finding::breach(format!("header {name} has another value")));
        }
    }
    Ok(())
}

async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, Finding> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Finding::breach("the answer broke off"))? {
        if body.len() + chunk.len() > LARGEST_BODY {
            return Err(Finding::breach(format!("the body is larger than {} KiB", LARGEST_BODY / 1024)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What a fault of the connection means. Its own text holds the address, so none of it is told.
fn said(fault: &reqwest::Error) -> Finding {
    use std::io::ErrorKind;
    let causes = || std::iter::successors(std::error::Error::source(fault), |error| error.source());
    if let Some(tls) = causes().find_map(tls_fault) {
        return match tls {
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
                Finding::error("the issuer of the certificate is not known here")
            }
            rustls::Error::InvalidCertificate(_) => Finding::breach("the certificate is not valid"),
            _ => Finding::breach("no TLS connection could be made"),
        };
    }
    let kind = causes().find_map(|error| error.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    match kind {
        Some(ErrorKind::ConnectionRefused) => Finding::breach("the connection was refused"),
        Some(ErrorKind::NetworkUnreachable) => Finding::error("there is no way into the network of the address"),
        _ if fault.is_connect() => Finding::breach("no connection could be made"),
        _ => Finding::breach("the answer broke off"),
    }
}

/// An I/O error hides what it wraps from `source`, and may wrap another one.
fn tls_fault<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let wrapped = || error.downcast_ref::<std::io::Error>()?.get_ref();
    error.downcast_ref().or_else(|| tls_fault(wrapped()?))
}

/// What is wrong with a check, as field and words. It blocks shortly where there is an expression to compile.
pub fn validate(check: &HttpCheck) -> Result<(), (&'static str, String)> {
    let url = Url::parse(&check.url).map_err(|error| ("http.url", error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(("http.url", "it must be http(s)://, without a user".into()));
    }
    for name in check.expect_headers.iter().flatten().map(|(name, _)| name) {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| ("http.expectHeaders", format!("{name:?} is no header")))?;
    }
    if let Some(source) = &check.expect_json {
        if check.method == HttpMethod::Head {
            return Err(("http.expectJson", "an answer to HEAD has no body: use GET".into()));
        }
        expression::compile(source).map_err(|why| ("http.expectJson", why))?;
    }
    Ok(())
}
