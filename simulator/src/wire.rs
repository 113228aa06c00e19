//! One request as a platform sees it, and one answer as a platform gives it.
use std::collections::BTreeMap;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The platforms played here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    Render,
    Netlify,
    Github,
    #[serde(rename = "featureFlags")]
    FeatureFlags,
    Hooks,
}

impl Platform {
    pub const ALL: [Platform; 5] =
        [Platform::Render, Platform::Netlify, Platform::Github, Platform::FeatureFlags, Platform::Hooks];

    pub fn name(self) -> &'static str {
        match self {
            Platform::Render => "render",
            Platform::Netlify => "netlify",
            Platform::Github => "github",
            Platform::FeatureFlags => "featureFlags",
            Platform::Hooks => "hooks",
        }
    }

    /// The part of the path before the vendor's own path begins.
    pub fn prefix(self) -> &'static str {
        match self {
            Platform::Render => "/render/v1",
            Platform::Netlify => "/netlify/api/v1",
            Platform::Github => "/github",
            Platform::FeatureFlags => "/feature-flags",
            Platform::Hooks => "/hooks",
        }
    }
}

/// How a fault bends the treatment of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Twist {
    /// Answer as if it had happened, and change nothing.
    pub dry: bool,
    /// Lists leave out deploys created after this moment.
    pub hide_after: Option<Timestamp>,
    /// Answer the first page again, whatever page was asked for.
    pub repeat_page: bool,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub id: String,
    pub platform: Platform,
    pub method: String,
    /// The raw path after the platform's prefix; begins with a slash.
    pub path: String,
    pub query: Vec<(String, String)>,
    /// Header names are in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub now: Timestamp,
    pub twist: Twist,
}

impl Call {
    pub fn query_one(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a list parameter, repeated or separated by commas.
    pub fn query_all(&self, name: &str) -> Vec<&str> {
        let values = self.query.iter().filter(|(key, _)| key == name);
        values.flat_map(|(_, value)| value.split(',')).filter(|value| !value.is_empty()).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    }

    /// The path in decoded parts.
    pub fn segments(&self) -> Vec<String> {
        let parts = self.path.split('/').filter(|part| !part.is_empty());
        parts.map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect()
    }

    /// Reads the body as `T`; the error is a sentence about what is wrong.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, BodyFault> {
        let value: Value = serde_json::from_slice(&self.body).map_err(|fault| BodyFault::NotJson(fault.to_string()))?;
        serde_json::from_value(value).map_err(|fault| BodyFault::WrongShape(fault.to_string()))
    }

    /// Like [`Call::json`], with an empty body standing for `{}`.
    pub fn json_or_empty<T: DeserializeOwned + Default>(&self) -> Result<T, BodyFault> {
        if self.body.is_empty() { Ok(T::default()) } else { self.json() }
    }

    pub fn says_json(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.contains("json"))
    }
}

/// Why a body was refused.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("{0}")]
    WrongShape(String),
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn empty(status: u16) -> Self {
        Answer { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::typed(status, "application/json; charset=utf-8", body.to_string())
    }

    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::typed(status, "text/plain; charset=utf-8", body.into())
    }

    pub fn typed(status: u16, kind: &str, body: String) -> Self {
        Answer { status, headers: vec![("content-type".into(), kind.into())], body: body.into_bytes() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }
}

/// What an effect is called and how it is told to a person; numbered and dated by the ledger.
#[derive(Clone, Debug)]
pub struct Note {
    pub action: &'static str,
    pub resource: String,
    pub detail: String,
}

impl Note {
    pub fn new(action: &'static str, resource: &str, detail: impl Into<String>) -> Self {
        Note { action, resource: resource.to_string(), detail: detail.into() }
    }
}

/// The present moment, no finer than the vendors tell it.
pub fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_else(|_| Timestamp::now())
}

/// The result of a step of routing: both sides are answers, `Err` ends early.
pub type Routed = Result<Answer, Answer>;
