//! How long a platform asks to be left alone.
//!
//! Only the platform's own clock is used: an absolute time counts against the `Date` of the same answer, never against ours.

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName};
use std::time::Duration;

/// Longest wait that is believed.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Shortest wait: a zero would be a loop.
const SHORTEST: Duration = Duration::from_secs(1);
/// A greater number than this is a time since 1970, not a span. Render's text and its example differ.
const EPOCH_FROM: u64 = 1_000_000_000;

/// What `Retry-After` asks for: seconds or an HTTP date, between 1 s and 15 min.
///
/// Source: RFC 9110, section 10.2.3. A date that cannot be compared, because the answer has no `Date`, counts as no wish.
pub(super) fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = text_of(headers, "retry-after")?;
    match whole_seconds(text) {
        Some(seconds) => Some(believed(seconds)),
        None => until(headers, rfc2822(text)?),
    }
}

/// When the vendor's own headers promise a new allowance.
///
/// Source: `X-RateLimit-Reset` of Netlify and GitHub (seconds since 1970), `Ratelimit-Reset` of Render (documented as a time, shown as a
/// span: both are understood).
pub(super) fn reset(headers: &HeaderMap) -> Option<Duration> {
    let text = text_of(headers, "x-ratelimit-reset").or_else(|| text_of(headers, "ratelimit-reset"))?;
    match whole_seconds(text)? {
        span if span < EPOCH_FROM => Some(believed(span)),
        moment => until(headers, Timestamp::from_second(i64::try_from(moment).ok()?).ok()?),
    }
}

/// Calls left in the vendor's current window, where it says so.
pub(super) fn calls_left(headers: &HeaderMap) -> Option<u64> {
    let text = text_of(headers, "x-ratelimit-remaining").or_else(|| text_of(headers, "ratelimit-remaining"))?;
    text.parse().ok()
}

fn text_of<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(HeaderName::from_static(name))?.to_str().ok().map(str::trim)
}

/// Seconds, rounded up; a number too great for us is the greatest.
fn whole_seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let up = u64::from(fraction.bytes().any(|byte| byte != b'0'));
    Some(whole.parse().unwrap_or(u64::MAX).saturating_add(up))
}

fn rfc2822(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn until(headers: &HeaderMap, moment: Timestamp) -> Option<Duration> {
    let now = rfc2822(text_of(headers, "date")?)?;
    let seconds = moment.as_second().saturating_sub(now.as_second());
    Some(believed(u64::try_from(seconds).unwrap_or(0)))
}

fn believed(seconds: u64) -> Duration {
    Duration::from_secs(seconds).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn seconds(pairs: &[(&'static str, &str)]) -> Option<u64> {
        let headers = headers(pairs);
        asked(&headers).or_else(|| reset(&headers)).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_in_every_form() {
        let date = ("date", "Sat, 13 Jul 2024 15:09:00 GMT");
        assert_eq!(seconds(&[("retry-after", "7")]), Some(7));
        assert_eq!(seconds(&[("retry-after", "0.2")]), Some(1));
        assert_eq!(seconds(&[("retry-after", "0")]), Some(1));
        assert_eq!(seconds(&[("retry-after", "999999999999999999999999")]), Some(900));
        assert_eq!(seconds(&[("retry-after", "Sat, 13 Jul 2024 15:09:59 GMT"), date]), Some(59));
        assert_eq!(seconds(&[("retry-after", "Sat, 13 Jul 2024 15:08:00 GMT"), date]), Some(1));
        assert_eq!(seconds(&[("retry-after", "Fri, 13 Jul 2035 15:08:00 GMT"), date]), Some(900));
        assert_eq!(seconds(&[("retry-after", "Sat, 13 Jul 2024 15:09:59 GMT")]), None);
        assert_eq!(seconds(&[("retry-after", "soon")]), None);
        assert_eq!(seconds(&[("retry-after", "-5")]), None);
        assert_eq!(seconds(&[]), None);
    }

    #[test]
    fn the_vendors_own_headers_as_span_and_as_time() {
        let date = ("date", "Sat, 13 Jul 2024 15:09:00 GMT");
        assert_eq!(seconds(&[("ratelimit-reset", "45")]), Some(45));
        assert_eq!(seconds(&[("x-ratelimit-reset", "1720883370"), date]), Some(30));
        assert_eq!(seconds(&[("x-ratelimit-reset", "1720883370")]), None);
        assert_eq!(calls_left(&headers(&[("ratelimit-remaining", "3")])), Some(3));
    }
}
