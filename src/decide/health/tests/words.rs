//! What is said of a policy, word for word where it matters.

use super::*;

/// Two checks, and a rule for each.
fn two() -> Value {
    let check = |name: &str| json!({"name": name, "interval": "10s", "http": {"url": "https://example.com/"}});
    let rule = |name: &str, check: &str, more: Value| {
        let mut rule =
            json!({"name": name, "severity": "Critical", "failing": {"check": check}, "action": {"alert": {}}});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    json!({
        "/checks": [check("web"), check("api")],
        "/rules": [rule("slow", "web", json!({})), rule("down", "api", json!({"for": "60s", "recoverFor": "30s"}))],
    })
}

fn message(life: &Life, type_: ConditionType) -> String {
    let status = life.policy.status.clone().unwrap();
    condition(&status.conditions, type_).unwrap().message.clone()
}

#[test]
fn the_rules_of_the_failing_check_are_told_and_no_others() {
    let mut life = Life::new(two());
    life.sees(100, Breach);
    let healthy = message(&life, ConditionType::Healthy);
    let begin = "check api fails since 1970-01-01T00:01:40Z: HTTP 502; rule down ";
    assert_eq!(healthy, format!("{begin}fires after 60s"));
    life.sees(160, Breach);
    assert_eq!(message(&life, ConditionType::Healthy), format!("{begin}fired after 60s"));
    let armed = message(&life, ConditionType::Armed);
    assert_eq!(armed, "rule down has fired; it is armed again when check api has passed for 30s");
}

#[test]
fn the_words_of_a_check_change_with_its_verdict_and_those_of_an_error_always() {
    let sample = |verdict, message: &str| Sample {
        verdict,
        message: message.into(),
        at: at(20),
        since: at(20),
        last_pass: None,
        last_breach: None,
    };
    let before = check_status("api", None, Some(&sample(Verdict::Breach, "HTTP 500"))).unwrap();
    let said = |verdict, message: &str| check_status("api", Some(&before), Some(&sample(verdict, message))).unwrap();
    assert_eq!((before.message.as_str(), said(Verdict::Breach, "HTTP 502").message.as_str()), ("HTTP 500", "HTTP 500"));
    assert_eq!(said(Verdict::Error, "no address").message, "no address");
    let error = said(Verdict::Error, "no address");
    let again = check_status("api", Some(&error), Some(&sample(Verdict::Error, "refused"))).unwrap();
    assert_eq!((again.message.as_str(), again.since), ("refused", error.since));
}

#[test]
fn a_policy_that_somebody_suspended_is_not_stalled() {
    let said = |reason, type_| {
        let all = refused(reason, "words");
        all.into_iter().find(|statement: &Statement| statement.type_ == type_).unwrap().status
    };
    assert_eq!(said(Reason::Suspended, ConditionType::Ready), Tri::Unknown);
    assert_eq!(said(Reason::Suspended, ConditionType::Stalled), Tri::False);
    assert_eq!(said(Reason::InvalidSpec, ConditionType::Ready), Tri::False);
    assert_eq!(said(Reason::InvalidSpec, ConditionType::Stalled), Tri::True);
    assert_eq!(said(Reason::InvalidSpec, ConditionType::Armed), Tri::False);
}
