//! Feature flags behind an HTTP API: which flags, and the requests that read and set them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Feature flags behind an HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeatureFlagsSpec {
    /// Names of the flags, as the service calls them, 1 to 100. Only these are read, recorded and set.
    #[schemars(
        length(min = 1, max = 100),
        inner(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub flags: Vec<String>,
    /// How the service is spoken to.
    pub http: FlagsHttp,
}

/// The requests that read and set flags.
///
/// With `url` alone: `GET {url}/flags/{flag}` answers `{"enabled": true, "percentage": 50}` (`percentage` is left out for a flag that has
/// none), and `PATCH` of the same address with either field sets it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.read) == has(self.setEnabled)")
        .message("declare read and setEnabled together, or neither of them: url alone stands for GET and PATCH of {url}/flags/{flag}"),
    validation = Rule::new("!has(self.setPercentage) || (has(self.read) && has(self.read.percentage))")
        .message("setPercentage needs read.percentage: what is set must be read back")
)]
pub struct FlagsHttp {
    /// Base address, `http://` or `https://`, without user, query and fragment. Private and loopback addresses only where the operator was
    /// started with `--allow-cidr` for them.
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^https?://[A-Za-z0-9._~:\[\]-]+(/[A-Za-z0-9._~-]+)*/?$"))]
    pub url: String,
    /// How one flag is read, by `GET`. Absent: `{path: "/flags/{flag}", enabled: body.enabled, percentage: "has(body.percentage) ?
    /// body.percentage : null"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<FlagRead>,
    /// How a flag is switched on and off. Absent: `PATCH /flags/{flag}` with `{"enabled": "{value}"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_enabled: Option<SetEnabled>,
    /// How the percentage of a flag is set. Absent: `PATCH /flags/{flag}` with `{"percentage": "{value}"}` where `read` is absent too;
    /// otherwise percentages cannot be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_percentage: Option<SetPercentage>,
    /// How the token of `credentialsRef` is sent. Absent: `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialHeader>,
}

/// How one flag is read.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.path.contains('{flag}')").message("path of a request must name the flag: write {flag} where its name goes"))]
pub struct FlagRead {
    /// Path after `url`, with `{flag}` where the name goes. Written unescaped.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^(/[^/?#\s%]+)+$"))]
    pub path: String,
    /// CEL over the JSON answer, called `body`, that gives true where the flag is on: `body.enabled`.
    #[schemars(length(min = 1, max = 512))]
    pub enabled: String,
    /// CEL that gives the percentage as a whole number from 0 to 100, or null for a flag that has none. Absent: no flag has a percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub percentage: Option<String>,
}

/// How a flag is switched. Sent twice it must leave the same state: never declare a request that toggles.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.path.contains('{flag}')").message("path of a request must name the flag: write {flag} where its name goes"),
    validation = Rule::new("self.path.contains('{value}') || (has(self.body) && self.body.contains('\"{value}\"'))")
        .message("a request that sets something must carry it: write {value} in double quotes in body, or {value} in path")
)]
pub struct SetEnabled {
    /// HTTP method.
    pub method: SetMethod,
    /// Path after `url`, with `{flag}` where the name goes; `{value}` in it becomes `whenOn` or `whenOff`. Written unescaped.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^(/[^/?#\s%]+)+$"))]
    pub path: String,
    /// Body, as JSON text. The string `"{value}"` becomes `true` or `false`, `{flag}` in any string the name of the flag. Absent: no body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub body: Option<String>,
    /// What `{value}` in `path` becomes to switch the flag on. Default `on`.
    #[serde(default = "on")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub when_on: String,
    /// What `{value}` in `path` becomes to switch the flag off. Default `off`.
    #[serde(default = "off")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub when_off: String,
}

fn on() -> String {
    "on".into()
}

fn off() -> String {
    "off".into()
}

/// How a percentage is set. Sent twice it must leave the same state.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.path.contains('{flag}')").message("path of a request must name the flag: write {flag} where its name goes"),
    validation = Rule::new("self.path.contains('{value}') || (has(self.body) && self.body.contains('\"{value}\"'))")
        .message("a request that sets something must carry it: write {value} in double quotes in body, or {value} in path")
)]
pub struct SetPercentage {
    /// HTTP method.
    pub method: SetMethod,
    /// Path after `url`, with `{flag}` where the name goes; `{value}` in it becomes the percentage. Written unescaped.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^(/[^/?#\s%]+)+$"))]
    pub path: String,
    /// Body, as JSON text. The string `"{value}"` becomes the percentage, a number; `{flag}` in any string the name of the flag. Absent: no
    /// body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub body: Option<String>,
}

/// Method of a request that sets something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum SetMethod {
    /// Often used for an action, such as switching a flag on.
    Post,
    /// Replaces what is at the address.
    Put,
    /// Changes a part of what is at the address.
    Patch,
}

/// How a token is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialHeader {
    /// Name of the header. Default `Authorization`.
    #[serde(default = "authorization")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9-]+$"))]
    pub header: String,
    /// Word in front of the token. Default `Bearer`; `""` for none.
    #[serde(default = "bearer")]
    #[schemars(length(max = 32), regex(pattern = r"^[A-Za-z0-9-]*$"))]
    pub scheme: String,
}

fn authorization() -> String {
    "Authorization".into()
}

fn bearer() -> String {
    "Bearer".into()
}

impl Default for CredentialHeader {
    fn default() -> Self {
        Self { header: authorization(), scheme: bearer() }
    }
}

/// Path of a flag in the simple contract.
const SIMPLE_PATH: &str = "/flags/{flag}";

impl FlagsHttp {
    /// How one flag is read.
    pub fn reading(&self) -> FlagRead {
        self.read.clone().unwrap_or_else(|| FlagRead {
            path: SIMPLE_PATH.into(),
            enabled: "body.enabled".into(),
            percentage: Some("has(body.percentage) ? body.percentage : null".into()),
        })
    }

    /// How a flag is switched.
    pub fn switching(&self) -> SetEnabled {
        self.set_enabled.clone().unwrap_or_else(|| SetEnabled {
            method: SetMethod::Patch,
            path: SIMPLE_PATH.into(),
            body: Some(r#"{"enabled": "{value}"}"#.into()),
            when_on: on(),
            when_off: off(),
        })
    }

    /// How a percentage is set. `None`: it cannot be.
    pub fn setting_percentage(&self) -> Option<SetPercentage> {
        let simple = || SetPercentage {
            method: SetMethod::Patch,
            path: SIMPLE_PATH.into(),
            body: Some(r#"{"percentage": "{value}"}"#.into()),
        };
        self.set_percentage.clone().or_else(|| self.read.is_none().then(simple))
    }

    /// What is wrong with the declared requests that a schema cannot say, as field and words.
    ///
    /// # Errors
    /// A body is no JSON.
    pub fn check(&self) -> Result<(), String> {
        let enabled = self.set_enabled.as_ref().and_then(|set| set.body.as_ref()).map(|body| ("setEnabled", body));
        let percentage =
            self.set_percentage.as_ref().and_then(|set| set.body.as_ref()).map(|body| ("setPercentage", body));
        for (field, body) in enabled.into_iter().chain(percentage) {
            if serde_json::from_str::<serde_json::Value>(body).is_err() {
                return Err(format!(
                    "featureFlags.http.{field}.body is no JSON: write it as JSON text, such as '{{\"enabled\": \"{{value}}\"}}'"
                ));
            }
        }
        Ok(())
    }
}
