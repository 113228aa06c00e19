//! GraphQL: where it stands, and how it says that there were too many calls.

use serde_json::Value;
use std::time::Duration;
use url::Url;

/// Wait after GraphQL's own refusal for too many calls, where no header names one.
pub(super) const GRAPHQL_WAIT: Duration = Duration::from_secs(60);

/// GitHub: `/graphql` beside the REST API; on an Enterprise Server `/api/graphql` in place of `/api/v3` ("GraphQL endpoint").
pub(super) fn graphql_address(base: &Url) -> Url {
    let mut url = base.clone();
    let path = base.path().trim_end_matches('/');
    let path =
        path.strip_suffix("/api/v3").map_or_else(|| format!("{path}/graphql"), |front| format!("{front}/api/graphql"));
    url.set_path(&path);
    url
}

/// Whether this answer, though its status is 200, refuses for too many calls.
pub(super) fn is_graphql_limit(body: &Value) -> bool {
    let errors = body.get("errors").and_then(Value::as_array);
    errors.is_some_and(|errors| errors.iter().any(|error| error.get("type").is_some_and(|kind| kind == "RATE_LIMITED")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphql_stands_where_each_edition_has_it() {
        let address = |base: &str| graphql_address(&base.parse().unwrap()).to_string();
        assert_eq!(address("https://api.github.com"), "https://api.github.com/graphql");
        assert_eq!(address("https://ghe.example/api/v3/"), "https://ghe.example/api/graphql");
        assert_eq!(address("http://127.0.0.1:9/github"), "http://127.0.0.1:9/github/graphql");
    }
}
