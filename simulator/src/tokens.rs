//! Who may call, and how often.
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::locked;
use crate::settings::Settings;
use crate::wire::{Answer, Call, Platform};

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    Read,
    Write,
    Admin,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenGrant {
    pub platform: Platform,
    pub token: String,
    #[serde(default = "anything")]
    pub permission: Permission,
    #[serde(default = "somebody")]
    pub login: String,
    #[serde(default = "some_address")]
    pub email: String,
}

fn anything() -> Permission {
    Permission::Admin
}

fn somebody() -> String {
    "operator".into()
}

fn some_address() -> String {
    "operator@example.com".into()
}

/// What is left of the caller's allowance after this call.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    pub limit: u64,
    pub used: u64,
    pub reset: Timestamp,
}

impl Allowance {
    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    pub fn exceeded(&self) -> bool {
        self.used > self.limit
    }

    pub fn seconds_left(&self, now: Timestamp) -> i64 {
        self.reset.as_second().saturating_sub(now.as_second()).max(1)
    }
}

#[derive(Default)]
pub struct Tokens {
    grants: Mutex<BTreeMap<(Platform, String), TokenGrant>>,
    spent: Mutex<HashMap<(Platform, String), (Timestamp, u64)>>,
}

impl Tokens {
    pub fn register(&self, grant: TokenGrant) {
        locked(&self.grants).insert((grant.platform, grant.token.clone()), grant);
    }

    /// Takes a token away; false when there was none.
    pub fn revoke(&self, platform: Platform, token: &str) -> bool {
        locked(&self.grants).remove(&(platform, token.to_string())).is_some()
    }

    pub fn grant(&self, call: &Call) -> Option<TokenGrant> {
        self.grant_of(call.platform, call.bearer()?)
    }

    /// The same for a token that was sent in another manner.
    pub fn grant_of(&self, platform: Platform, token: &str) -> Option<TokenGrant> {
        locked(&self.grants).get(&(platform, token.to_string())).cloned()
    }

    /// Counts this call against its token's allowance.
    pub fn spend(&self, call: &Call, settings: &Settings) -> Allowance {
        let (limit, window) = settings.rate(call.platform);
        let key = (call.platform, call.bearer().unwrap_or_default().to_string());
        let mut spent = locked(&self.spent);
        let entry = spent.entry(key).or_insert((call.now, 0));
        let end = |start: Timestamp| start.saturating_add(window).unwrap_or(start);
        if end(entry.0) <= call.now {
            *entry = (call.now, 0);
        }
        entry.1 += 1;
        // Told in whole seconds, and never too early.
        let reset = Timestamp::from_second(end(entry.0).as_second() + 1).unwrap_or(call.now);
        Allowance { limit, used: entry.1, reset }
    }

    pub fn forget_spending(&self) {
        locked(&self.spent).clear();
    }
}

/// Adds the platform's own headers about the allowance.
pub fn allowance_headers(answer: Answer, call: &Call, allowance: &Allowance) -> Answer {
    let (limit, remaining, reset) = (allowance.limit, allowance.remaining(), allowance.reset.as_second());
    match call.platform {
        Platform::Render => answer
            .with("ratelimit-limit", limit)
            .with("ratelimit-remaining", remaining)
            .with("ratelimit-reset", allowance.seconds_left(call.now)),
        Platform::Netlify => answer
            .with("x-ratelimit-limit", limit)
            .with("x-ratelimit-remaining", remaining)
            .with("x-ratelimit-reset", reset),
        Platform::FeatureFlags | Platform::Hooks => answer,
        Platform::Github => answer
            .with("x-ratelimit-limit", limit)
            .with("x-ratelimit-remaining", remaining)
            .with("x-ratelimit-used", allowance.used.min(limit))
            .with("x-ratelimit-reset", reset)
            .with("x-ratelimit-resource", if call.path == "/graphql" { "graphql" } else { "core" }),
    }
}
