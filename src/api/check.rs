//! What a health policy looks at.

use super::*;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One check: an interval, a timeout and one thing to look at.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.http), has(self.compare), has(self.cors), has(self.websocket), has(self.tls), has(self.auth), has(self.prometheus), has(self.sql), has(self.logs), has(self.deploy), has(self.environment)].filter(present, present).size() == 1")
    .message("a check looks at exactly one thing: http, compare, cors, websocket, tls, auth, prometheus, sql, logs, deploy or environment"))]
pub struct CheckSpec {
    /// Name of the check, unique in the policy: a DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Time from one start to the next, at least `1s`.
    #[x_kube(validation = Rule::new("!self.matches('^(0+(d|h|m|s))+$')").message("interval must be at least 1s"))]
    pub interval: DurationText,
    /// Longest time for one try. Default `5s`.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = Rule::new("!self.matches('^(0+(d|h|m|s))+$')").message("timeout must be at least 1s"))]
    pub timeout: DurationText,
    /// What it means when the check could not be carried out. `Unknown` (default): nothing is concluded. `Breach`: as if it failed. `Ok`: as if it passed.
    #[serde(default)]
    pub no_data: NoData,
    /// An HTTP request and what its answer must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// Two addresses that must answer alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Reserved>,
    /// An origin that preflight must allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Reserved>,
    /// A WebSocket upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<Reserved>,
    /// Days until a certificate expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Reserved>,
    /// An address with and without a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Reserved>,
    /// A Prometheus query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Reserved>,
    /// A read-only SQL query that gives one number or boolean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<Reserved>,
    /// Patterns that must not appear in the platform's logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Reserved>,
    /// The platform says that the component is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<Reserved>,
    /// Variables that must be present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Reserved>,
}

fn default_timeout() -> DurationText {
    "5s".into()
}

/// What it means when a check could not be carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NoData {
    /// As if it failed.
    Breach,
    /// As if it passed.
    Ok,
    /// Nothing is concluded.
    #[default]
    Unknown,
}

/// An HTTP request and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpCheck {
    /// Address. Private and loopback addresses only where the operator was started with `--allow-cidr` for them.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^@\s]+$"))]
    pub url: String,
    /// `GET` (default) or `HEAD`.
    #[serde(default)]
    pub method: HttpMethod,
    /// Status codes that pass. Default `[200]`.
    #[serde(default = "default_status")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 100, max = 599)))]
    pub expect_status: Vec<i32>,
    /// Headers that must be there with exactly this value, at most 16. Names in any case. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub expect_headers: Option<std::collections::BTreeMap<String, String>>,
    /// CEL over the JSON body, called `body`; it must give true: `body.status == 'ok'`. Absent: the body is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub expect_json: Option<String>,
    /// Longest time until the whole answer is there. Absent: the timeout alone counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_latency: Option<DurationText>,
    /// Secret whose keys are sent as headers. The Secret carries `savepoint.dev/use: http` and names its hosts in
    /// `savepoint.dev/allowed-hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_from: Option<LocalRef>,
}

fn default_status() -> Vec<i32> {
    vec![200]
}

/// Method of a check: those that change nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpMethod {
    /// Read.
    #[default]
    #[serde(rename = "GET")]
    Get,
    /// Read without a body.
    #[serde(rename = "HEAD")]
    Head,
}
