//! One answer over HTTP: read with a cap, and turned into an error in one place.

use super::retry_after;
use super::{Error, ErrorKind, redact};
use crate::api::PlatformName;
use crate::egress::Blocked;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LINK};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// Most bytes of a body, counted after decompression: a small answer must not become a large one here.
const LARGEST_BODY: usize = 8 * 1024 * 1024;
/// Wait after GitHub's refusal of too many calls in a short time, where it names none ("Rate limits for the REST API").
const SECONDARY_LIMIT_WAIT: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// No connection came about: nothing was sent.
    NotConnected,
    /// The deadline passed.
    Deadline,
    /// The connection broke before the answer was complete.
    Cut,
    /// The answer is larger than is ever needed.
    TooLarge,
    /// The address may not be connected to, or nobody knows where it is: nothing was sent.
    Blocked(Blocked),
    /// Somebody answered from an address that may not be connected to.
    Stranger(Blocked),
}

impl Broken {
    pub fn of(fault: &reqwest::Error) -> Self {
        match (fault.is_connect(), fault.is_timeout()) {
            (true, _) => Self::NotConnected,
            (false, true) => Self::Deadline,
            (false, false) => Self::Cut,
        }
    }

    pub fn said(self) -> (ErrorKind, String) {
        let (kind, said) = match self {
            Self::NotConnected => (ErrorKind::Unavailable, "no connection could be made"),
            Self::Deadline => (ErrorKind::Unavailable, "no complete answer within the deadline"),
            Self::Cut => (ErrorKind::Unavailable, "the connection broke before the answer was complete"),
            Self::TooLarge => (ErrorKind::UnexpectedAnswer, "the answer is larger than 8 MiB"),
            Self::Blocked(Blocked::NoWay(said)) | Self::Stranger(Blocked::NoWay(said)) => {
                (ErrorKind::Unavailable, said)
            }
            Self::Blocked(why) | Self::Stranger(why) => return (ErrorKind::NotAllowed, why.to_string()),
        };
        (kind, said.to_owned())
    }

    /// Whether nothing can have arrived.
    pub const fn is_unsent(self) -> bool {
        matches!(self, Self::NotConnected | Self::Blocked(_))
    }
}

/// A complete answer, whatever its status.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    /// The answer without its body, for one whose status alone says it: whatever follows may be slow, cut or endless.
    pub fn head(response: &reqwest::Response) -> Self {
        Self { status: response.status(), headers: response.headers().clone(), body: Vec::new() }
    }

    /// Reads the body to its end.
    pub async fn read(mut response: reqwest::Response) -> Result<Self, Broken> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(part)) if body.len() + part.len() > LARGEST_BODY => return Err(Broken::TooLarge),
                Ok(Some(part)) => body.extend_from_slice(&part),
                Ok(None) => return Ok(Self { status, headers, body }),
                // What a refusal means stands in its status; its text is a courtesy.
                Err(_) if !status.is_success() => return Ok(Self { status, headers, body: Vec::new() }),
                Err(fault) => return Err(Broken::of(&fault)),
            }
        }
    }

    /// The body as `T`, to its end. The error names no value: the decoder's own words would.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, &'static str> {
        if self.body.is_empty() {
            return Err("answered nothing where a body is described");
        }
        self.refuse_html()?;
        if !self.content_type().contains("json") {
            return Err("answered something other than JSON");
        }
        serde_json::from_slice(&self.body).map_err(|fault| match fault.classify() {
            serde_json::error::Category::Data => "answered a field that is missing or of another type than described",
            serde_json::error::Category::Eof => "answered JSON that ends too early",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "answered broken JSON",
        })
    }

    /// A page where an API should be: somebody in between answered.
    pub fn refuse_html(&self) -> Result<(), &'static str> {
        if self.content_type().contains("html") { Err("answered HTML instead of JSON") } else { Ok(()) }
    }

    fn content_type(&self) -> &str {
        self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
    }

    /// The body where there is one. Vendors answer some changes with nothing.
    pub fn decode_if_any(&self) -> Result<Option<Value>, &'static str> {
        if self.body.is_empty() { Ok(None) } else { self.decode().map(Some) }
    }

    /// Address of the next page, from the `Link` header (RFC 8288), as the platform wrote it.
    pub fn next_page(&self) -> Option<String> {
        let headers = self.headers.get_all(LINK).iter().filter_map(|header| header.to_str().ok());
        headers.flat_map(link_targets).find(|(_, relation)| relation == "next").map(|(target, _)| target)
    }

    /// The vendor's own words, and nothing where the body may repeat values.
    fn vendor_text(&self, secret: &str) -> String {
        let Ok(body) = serde_json::from_slice::<Value>(&self.body) else { return String::new() };
        let said = ["message", "msg"].into_iter().find_map(|name| body.get(name)?.as_str());
        redact::vendor_text(said.unwrap_or_default(), secret)
    }

    /// How long to wait, where this refusal is one for too many calls.
    ///
    /// Source: GitHub, "Rate limits for the REST API" and "Troubleshooting": both limits come as 403 or 429.
    pub fn too_many_calls(&self, platform: PlatformName) -> Option<Duration> {
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            return Some(Duration::ZERO);
        }
        if platform != PlatformName::Github || self.status != StatusCode::FORBIDDEN {
            return None;
        }
        if retry_after::asked(&self.headers).is_some() || retry_after::calls_left(&self.headers) == Some(0) {
            return Some(Duration::ZERO);
        }
        let text = String::from_utf8_lossy(&self.body).to_lowercase();
        let named = ["secondary rate limit", "secondary-rate-limits", "abuse-rate-limits"];
        named.iter().any(|words| text.contains(words)).then_some(SECONDARY_LIMIT_WAIT)
    }

    /// What a status that is no success means.
    pub fn refusal(&self, platform: PlatformName, operation: &'static str, voice: Voice<'_>) -> Error {
        let vendor = match voice {
            Voice::Quoted { secret } => self.vendor_text(secret),
            Voice::Silent => String::new(),
        };
        let (kind, said) = self.meaning(platform);
        let code = self.status.as_u16();
        let needs = self.needed_rights();
        let message = match (vendor.is_empty(), needs) {
            (_, Some(needs)) => format!("{said} ({code}); it needs {needs}"),
            (true, None) => format!("{said} ({code})"),
            (false, None) => format!("{said} ({code}): {vendor}"),
        };
        Error::new(platform, operation, kind, message).after(retry_after::asked(&self.headers))
    }

    fn meaning(&self, platform: PlatformName) -> (ErrorKind, &'static str) {
        let github = platform == PlatformName::Github;
        match self.status.as_u16() {
            401 => (ErrorKind::CredentialsRejected, REJECTED),
            403 => (ErrorKind::PermissionDenied, "the credential may not do this"),
            404 if github => (ErrorKind::NotFound, "not found, or the token may not see it"),
            404 => (ErrorKind::NotFound, "not found"),
            410 => (ErrorKind::NotFound, "gone"),
            429 => (ErrorKind::RateLimited, "too many calls"),
            301 | 302 | 307 | 308 if github => (ErrorKind::Refused, "was renamed or moved: fix the spec"),
            300..=399 => (ErrorKind::Refused, "answered a redirect, which is never followed"),
            408 | 500..=599 => (ErrorKind::Unavailable, "the platform failed"),
            400..=499 => (ErrorKind::Refused, "refused"),
            _ => (ErrorKind::UnexpectedAnswer, "answered a status that is not described"),
        }
    }

    /// Rights that GitHub says would have sufficed.
    fn needed_rights(&self) -> Option<String> {
        if self.status != StatusCode::FORBIDDEN {
            return None;
        }
        let rights = self.headers.get("x-accepted-github-permissions")?.to_str().ok()?;
        Some(redact::vendor_text(rights, ""))
    }
}

/// What a rejected credential is called, by the platform and by us on later calls: the same words, or status would change with each try.
pub(super) const REJECTED: &str = "the credential was rejected";

/// Whether a vendor's words may be repeated.
#[derive(Clone, Copy)]
pub(super) enum Voice<'a> {
    /// They may, without this secret.
    Quoted { secret: &'a str },
    /// They may not: the call carries values, and a refusal may repeat them.
    Silent,
}

/// Whether this status says for certain that the call had no effect.
///
/// A redirect that keeps the method says "not here"; the refusals say "not so". A 408, a 5xx or anything unheard-of says nothing: Render is
/// known to answer 500 after the effect.
pub(super) fn is_certain_refusal(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        301 | 307 | 308 | 400 | 401 | 402 | 403 | 404 | 405 | 406 | 409 | 410 | 413 | 415 | 422 | 429 | 451
    )
}

/// `<address>; rel="next", <address>; rel="last"` as pairs of address and relation.
fn link_targets(header: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in header.split('<').skip(1) {
        let Some((target, parameters)) = part.split_once('>') else { continue };
        let relations = parameters.split(';').filter_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("rel").then(|| value.trim().trim_end_matches(',').trim().trim_matches('"'))
        });
        // One header parameter may list several relations.
        found.extend(
            relations.flat_map(str::split_whitespace).map(|relation| (target.to_string(), relation.to_lowercase())),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (reqwest::header::HeaderName::from_static(name), value.parse().unwrap()));
        Answer { status: StatusCode::from_u16(status).unwrap(), headers: headers.collect(), body: body.into() }
    }

    #[test]
    fn the_next_page_among_several_relations() {
        let header = r#"<https://x/?page=1>; rel="first prev", <https://x/?page=3&a=b,c>; rel="next", <https://x/?page=9>; rel=last"#;
        assert_eq!(answer(200, &[("link", header)], "").next_page().as_deref(), Some("https://x/?page=3&a=b,c"));
        assert_eq!(answer(200, &[("link", r#"<https://x>; rel="last""#)], "").next_page(), None);
    }

    #[test]
    fn a_decoding_error_names_no_value() {
        let odd = answer(200, &[("content-type", "application/json")], r#"{"value":"hunter2"}"#);
        assert_eq!(
            odd.decode::<u64>().unwrap_err(),
            "answered a field that is missing or of another type than described"
        );
        let cut = answer(200, &[("content-type", "application/json")], r#"[{"value":"hun"#);
        assert_eq!(cut.decode::<Value>().unwrap_err(), "answered JSON that ends too early");
        let more = answer(200, &[("content-type", "application/json")], "[] []");
        assert!(more.decode::<Value>().is_err());
        let page = answer(200, &[("content-type", "text/html")], "<p>");
        assert_eq!(page.decode::<Value>().unwrap_err(), "answered HTML instead of JSON");
        assert!(answer(204, &[], "").decode::<Value>().is_err());
    }

    #[test]
    fn a_403_of_github_is_a_limit_only_with_a_sign_of_one() {
        let limit = |headers: &[(&'static str, &str)], body| {
            answer(403, headers, body).too_many_calls(PlatformName::Github).map(|wait| wait.as_secs())
        };
        assert_eq!(limit(&[("retry-after", "3")], "{}"), Some(0));
        assert_eq!(limit(&[("x-ratelimit-remaining", "0")], "{}"), Some(0));
        assert_eq!(limit(&[], r#"{"message":"You have exceeded a secondary rate limit."}"#), Some(60));
        assert_eq!(limit(&[("x-ratelimit-remaining", "7")], r#"{"message":"Resource not accessible"}"#), None);
        assert_eq!(answer(403, &[("retry-after", "3")], "").too_many_calls(PlatformName::Render), None);
    }

    #[test]
    fn a_refusal_of_a_call_with_values_quotes_nothing() {
        let refused = answer(422, &[], r#"{"message":"value hunter2 is bad"}"#);
        let silent = refused.refusal(PlatformName::Render, "write variable", Voice::Silent);
        assert_eq!(silent.message, "refused (422)");
        let quoted = refused.refusal(PlatformName::Render, "roll back", Voice::Quoted { secret: "hunter2" });
        assert_eq!(quoted.message, "refused (422): value … is bad");
    }
}
