//! Requests that an API server has answered, from its own metrics.

use crate::support::world::World;
use std::collections::BTreeMap;
use std::fmt;

/// Requests by verb and resource, of everybody but watchers.
#[derive(Default)]
pub struct Requests(BTreeMap<String, u64>);

/// What the operator uses. Only the bench's one confirmation is in it beside.
const OURS: [&str; 6] = ["rollbackrequests", "deploymentbackups", "deploymenttargets", "secrets", "leases", "events"];

impl Requests {
    pub async fn of(world: &World) -> Self {
        let metrics = world.kubectl().run(&["get", "--raw", "/metrics"]).await.unwrap();
        let mut counts = BTreeMap::new();
        for line in metrics.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
            let Some((labels, count)) = line.rsplit_once("} ") else { continue };
            let label = |name: &str| {
                let found = labels.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
                found.and_then(|rest| rest.split('"').next()).unwrap_or_default()
            };
            let (resource, verb) = (label("resource"), label("verb"));
            if OURS.contains(&resource) && verb != "WATCH" {
                let count: f64 = count.parse().unwrap_or_default();
                *counts.entry(format!("{verb} {resource}")).or_default() += count as u64;
            }
        }
        Self(counts)
    }

    pub fn since(self, before: &Self) -> Self {
        let since = self.0.into_iter().map(|(key, count)| {
            let old = before.0.get(&key).copied().unwrap_or_default();
            (key, count.saturating_sub(old))
        });
        Self(since.filter(|(_, count)| *count > 0).collect())
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.values().sum::<u64>())?;
        let words: Vec<String> = self.0.iter().map(|(key, count)| format!("{count} {key}")).collect();
        write!(f, " ({})", words.join(", "))
    }
}
