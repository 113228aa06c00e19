//! The health policies that a verification names: whether they can be asked, and when they have looked again.

use super::{stable_for, verification_limit};
use crate::api::*;
use std::time::Duration;

/// Within how long a policy has looked at everything once more.
pub fn looks_again_within(policy: &HealthPolicy) -> Duration {
    let parsed = |text: &DurationText| text.parse().unwrap_or_default();
    let checks = policy.spec.checks.iter();
    checks.map(|check| parsed(&check.interval).saturating_add(parsed(&check.timeout))).max().unwrap_or_default()
}

/// Why a verification of this target could never go by this policy, and what to change. `None`: it can be asked.
pub fn unfit(name: &str, found: Option<&HealthPolicy>, target: &str, verification: &Verification) -> Option<String> {
    let change = "correct verification.healthPolicyRefs of the request, or of the target, then make a new request";
    let Some(policy) = found else {
        return Some(format!("HealthPolicy {name} does not exist in this namespace: {change}"));
    };
    let about = &policy.spec.target_ref.name;
    if about != target {
        return Some(format!("HealthPolicy {name} is about DeploymentTarget {about}, not {target}: {change}"));
    }
    let (limit, again, stable) =
        (verification_limit(verification), looks_again_within(policy), stable_for(verification));
    (again.saturating_add(stable) > limit).then(|| {
        format!(
            "HealthPolicy {name} looks again only within {} s, then everything must hold for {} s, and verification gives up after {} s: make a new request with a longer verification.timeout",
            again.as_secs(),
            stable.as_secs(),
            limit.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy() -> HealthPolicy {
        let check = |name: &str, interval: &str, timeout: &str| json!({"name": name, "interval": interval, "timeout": timeout, "http": {"url": "https://shop"}});
        let checks = [check("often", "10s", "2m"), check("seldom", "5m", "7s")];
        let spec = json!({"targetRef": {"name": "shop"}, "checks": checks, "rules": []});
        HealthPolicy::new("pam", serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_policy_has_looked_again_when_its_slowest_check_has() {
        assert_eq!(looks_again_within(&policy()), Duration::from_secs(307));
    }

    #[test]
    fn a_policy_that_can_never_be_gone_by_is_refused() {
        let of = |timeout: Option<&str>| Verification { timeout: timeout.map(Into::into), ..Verification::default() };
        let stable = |timeout: &str| Verification { stable_for: Some("1h".into()), ..of(Some(timeout)) };
        assert_eq!(unfit("pam", Some(&policy()), "shop", &stable("3907s")), None);
        assert!(unfit("pam", Some(&policy()), "shop", &stable("3906s")).unwrap().contains("hold for 3600 s"));
        let seldom = Verification { timeout: None, ..stable("1h") };
        assert_eq!(unfit("pam", Some(&policy()), "shop", &seldom), None, "without a limit of its own it has two hours");
        let (some, none) = (policy(), None);
        for (found, target, timeout, said) in [
            (Some(&some), "shop", None, None),
            (Some(&some), "shop", Some("307s"), None),
            (Some(&some), "shop", Some("306s"), Some("gives up after 306 s")),
            (Some(&some), "other", None, Some("is about DeploymentTarget shop")),
            (none, "shop", None, Some("does not exist")),
        ] {
            let why = unfit("pam", found, target, &of(timeout));
            let right = match (why.as_deref(), said) {
                (Some(why), Some(said)) => why.contains(said),
                (why, said) => why == said,
            };
            assert!(right, "{why:?}");
        }
    }
}
