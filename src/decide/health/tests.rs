mod words;

use super::*;
use crate::decide::conditions::Statement;
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A policy of one check each 10 s and one rule, changed at these pointers.
fn policy(changes: Value) -> HealthPolicy {
    let mut spec = json!({
        "targetRef": {"name": "shop"},
        "checks": [{"name": "api", "interval": "10s", "http": {"url": "https://example.com/"}}],
        "rules": [{"name": "down", "severity": "Critical", "failing": {"check": "api"}, "for": "60s", "recoverFor": "30s", "cooldown": "10m",
            "action": {"rollback": {"strategy": "Code"}}}],
    });
    for (pointer, value) in changes.as_object().into_iter().flatten() {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    let mut policy = HealthPolicy::new("pam", serde_json::from_value(spec).unwrap());
    (policy.metadata.uid, policy.metadata.namespace) = (Some("policy-uid".into()), Some("shop".into()));
    policy
}

fn target(deploy: &str) -> DeploymentTarget {
    let spec = json!({"components": [{"name": "backend", "role": "Backend", "render": {"serviceId": "srv-1"}}]});
    let mut target = DeploymentTarget::new("shop", serde_json::from_value(spec).unwrap());
    target.metadata.uid = Some("target-uid".into());
    let component = json!({"name": "backend", "platform": "render", "reachable": true, "current": {"id": deploy}});
    target.status = Some(serde_json::from_value(json!({"components": [component]})).unwrap());
    target
}

/// A policy and what it has lived through.
struct Life {
    policy: HealthPolicy,
    target: DeploymentTarget,
    sample: Option<Sample>,
    rolled_back: BTreeSet<String>,
    acts: Vec<Act>,
    said: Vec<Statement>,
    look: Option<Timestamp>,
}

impl Life {
    fn new(changes: Value) -> Self {
        let (policy, target) = (policy(changes), target("dep-1"));
        Self { policy, target, sample: None, rolled_back: BTreeSet::new(), acts: vec![], said: vec![], look: None }
    }

    /// The check says this now, and a reconcile looks at it.
    fn sees(&mut self, second: i64, verdict: Verdict) {
        let before = self.sample.take();
        let last = |wanted, old: Option<Timestamp>| if verdict == wanted { Some(at(second)) } else { old };
        let same = before.as_ref().filter(|sample| sample.verdict == verdict);
        self.sample = Some(Sample {
            verdict,
            message: match verdict {
                Verdict::Error => "the host's name has no address".into(),
                _ => format!("HTTP {}", 500 + second % 7),
            },
            at: at(second),
            since: same.map_or(at(second), |sample| sample.since),
            last_pass: last(Verdict::Pass, before.as_ref().and_then(|sample| sample.last_pass)),
            last_breach: last(Verdict::Breach, before.as_ref().and_then(|sample| sample.last_breach)),
        });
        self.looks(second);
    }

    /// A reconcile without anything new.
    fn looks(&mut self, second: i64) {
        let samples = self.sample.clone().into_iter().map(|sample| ("api".to_owned(), sample)).collect();
        let (release, hold) = (release(&self.target), hold(&self.target));
        let facts = Facts { samples, release, hold, rolled_back: self.rolled_back.clone() };
        let decision = decide(&self.policy, &self.target, &facts, at(second));
        let requests = decision.rules.iter().any(|step| matches!(step.act, Act::Request(_)));
        assert_eq!(decision.requests(), requests);
        self.said = statements(&self.policy, &facts, &decision, at(second));
        let mut status = self.policy.status.clone().unwrap_or_default();
        status.checks = decision.checks;
        status.rules = decision.rules.iter().map(|step| step.status.clone()).collect();
        for statement in self.said.clone() {
            crate::decide::conditions::set(&mut status.conditions, statement, 1, at(second));
        }
        self.acts = decision.rules.into_iter().map(|step| step.act).filter(|act| *act != Act::Nothing).collect();
        self.look = decision.look_again;
        // As it comes back from the API server.
        self.policy.status = serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap();
    }

    /// The operator starts anew: samples are lost.
    fn restarts(&mut self, second: i64) {
        self.sample = None;
        self.looks(second);
    }

    fn rule(&self) -> RuleStatus {
        self.policy.status.clone().unwrap().rules[0].clone()
    }

    fn since(&self) -> Option<i64> {
        self.rule().since.map(|since| since.0.as_second())
    }

    fn says(&self, type_: ConditionType) -> (String, String) {
        let status = self.policy.status.clone().unwrap();
        let found = condition(&status.conditions, type_).unwrap();
        (found.status.clone(), found.reason.clone())
    }

    fn requested(&self) -> Option<&RollbackRequest> {
        self.acts.iter().find_map(|act| match act {
            Act::Request(request) => Some(&**request),
            _ => None,
        })
    }

    fn told(&self) -> Option<&str> {
        self.acts.iter().find_map(|act| match act {
            Act::Tell(words) => Some(words.as_str()),
            _ => None,
        })
    }

    /// Fails from 100 on until the rule is due.
    fn until_due(changes: Value) -> Self {
        let mut life = Self::new(changes);
        for second in (100..=160).step_by(10) {
            assert!(life.acts.is_empty(), "at {second}");
            life.sees(second, Verdict::Breach);
        }
        life
    }
}

fn yes(reason: Reason) -> (String, String) {
    ("True".into(), reason.as_str().into())
}

fn no(reason: Reason) -> (String, String) {
    ("False".into(), reason.as_str().into())
}

fn unknown(reason: Reason) -> (String, String) {
    ("Unknown".into(), reason.as_str().into())
}

use Verdict::{Breach, Error, Pass};

#[test]
fn fires_when_the_breach_has_held_and_a_sample_says_so() {
    let mut life = Life::new(json!({}));
    life.sees(100, Breach);
    assert_eq!((life.since(), life.look), (Some(100), Some(at(160))));
    assert_eq!(life.says(ConditionType::Healthy), no(Reason::ChecksFailing));
    life.sees(155, Breach);
    // Due by the clock, but the last sample is older than that: wait for the next.
    life.looks(160);
    assert!(life.acts.is_empty() && !life.rule().firing);
    assert_eq!(life.look, Some(at(165)));
    life.sees(165, Breach);
    let request = life.requested().unwrap().clone();
    assert!(life.rule().firing);
    assert_eq!(life.rule().last_request, request.metadata.name);
    assert_eq!(life.says(ConditionType::Healthy), no(Reason::RuleFiring));
    assert_eq!(life.says(ConditionType::Armed), no(Reason::Disarmed));
    life.sees(175, Breach);
    assert!(life.acts.is_empty(), "it fires once");
}

#[test]
fn the_request_says_who_why_and_until_when() {
    let life = Life::until_due(json!({}));
    let request = life.requested().unwrap();
    let expected = request_name("target-uid", &release(&life.target).unwrap());
    assert_eq!(request.metadata.name.as_deref(), Some(expected.as_str()));
    assert!(expected.len() >= "auto-".len() + 12);
    assert_eq!(request.metadata.labels.as_ref().unwrap()[MADE_BY_LABEL], "policy-uid");
    assert_eq!(request.metadata.namespace.as_deref(), Some("shop"));
    let spec = &request.spec;
    assert!(
        spec.reason.starts_with("HealthPolicy pam, rule down: check api has failed for 60s (HTTP 5"),
        "{}",
        spec.reason
    );
    assert_eq!(spec.initiated_by.as_deref(), Some("HealthPolicy/pam"));
    assert_eq!(spec.expires_at.as_ref().unwrap().0, at(160 + 3600));
    assert!(spec.to.as_ref().unwrap().previous.is_some());
    let life = Life::until_due(
        json!({"/rules/0/action": {"rollback": {"strategy": "Full", "to": {"backupRef": {"name": "friday"}}, "components": ["backend"], "deadline": "6h"}}}),
    );
    let spec = &life.requested().unwrap().spec;
    assert_eq!((spec.strategy, spec.components.clone()), (Strategy::Full, Some(vec!["backend".to_owned()])));
    assert_eq!(spec.to.as_ref().unwrap().backup_ref.as_ref().unwrap().name, "friday");
    assert_eq!(spec.deadline, Some("6h".into()), "who is asked at night may answer in the morning");
    assert_eq!(spec.expires_at.as_ref().unwrap().0, at(160 + 6 * 3600), "and that answer counts");
}

#[test]
fn the_request_goes_where_the_action_says() {
    let places = [
        json!({"lastHealthy": {}}),
        json!({"deploys": {"backend": "dep-1"}}),
        json!({"time": "2026-11-20T14:00:00Z"}),
        json!({"undoOf": {"name": "other"}}),
    ];
    for to in places {
        let action = json!({"rollback": {"strategy": "Auto", "issue": "Outage", "to": to}});
        let life = Life::until_due(json!({"/rules/0/action": action}));
        let spec = &life.requested().unwrap().spec;
        assert_eq!((spec.issue, serde_json::to_value(&spec.to).unwrap()), (Some(Issue::Outage), to));
    }
    let flags = Life::until_due(json!({"/rules/0/action": {"rollback": {"strategy": "FeatureFlags"}}}));
    assert_eq!(flags.requested().unwrap().spec.to, None, "every flag off needs no place to go back to");
}

#[test]
fn a_pass_in_between_begins_anew_even_where_no_reconcile_saw_it() {
    let mut life = Life::new(json!({}));
    life.sees(100, Breach);
    life.sees(110, Pass);
    assert_eq!(life.since(), None);
    life.sees(120, Breach);
    assert_eq!(life.since(), Some(120));
    // A pass at 130 and a breach at 140, of which only the latter is read.
    let sample = life.sample.as_mut().unwrap();
    (sample.at, sample.since, sample.last_pass) = (at(140), at(140), Some(at(130)));
    life.looks(140);
    assert_eq!(life.since(), Some(140));
    life.sees(190, Breach);
    assert!(life.acts.is_empty());
    life.sees(200, Breach);
    assert!(life.requested().is_some());
}

#[test]
fn a_restart_keeps_the_begin_and_fires_only_on_a_fresh_breach() {
    let mut life = Life::new(json!({}));
    life.sees(100, Breach);
    life.restarts(155);
    assert_eq!((life.since(), life.says(ConditionType::Healthy)), (Some(100), unknown(Reason::Pending)));
    life.restarts(400);
    assert!(life.acts.is_empty() && life.since() == Some(100) && !life.rule().firing);
    let mut passes = Life { sample: None, ..Life::new(json!({})) };
    passes.policy = life.policy.clone();
    passes.sees(401, Pass);
    assert_eq!((passes.since(), passes.acts.len()), (None, 0));
    life.sees(401, Breach);
    assert_eq!(life.since(), Some(100));
    assert!(life.requested().is_some());
    // The rule has fired: a restart does not make it fire again.
    life.restarts(402);
    life.sees(403, Breach);
    assert!(life.acts.is_empty() && life.rule().firing);
}

#[test]
fn errors_neither_count_nor_reset() {
    let mut life = Life::new(json!({}));
    life.sees(90, Pass);
    life.sees(100, Breach);
    life.sees(140, Error);
    life.sees(260, Error);
    assert_eq!((life.since(), life.acts.len()), (Some(100), 0));
    // 120 s of errors: the breach has held for 40 s, not for 160.
    life.sees(260, Breach);
    assert_eq!((life.since(), life.acts.len()), (Some(220), 0));
    life.sees(279, Breach);
    assert!(life.acts.is_empty());
    life.sees(280, Breach);
    assert!(life.requested().is_some());
}

#[test]
fn errors_make_health_unknown_after_three_intervals() {
    let mut life = Life::new(json!({}));
    life.sees(90, Pass);
    life.sees(100, Error);
    assert_eq!((life.says(ConditionType::Healthy), life.look), (yes(Reason::ChecksPassing), Some(at(130))));
    life.sees(129, Error);
    assert_eq!(life.says(ConditionType::Healthy), yes(Reason::ChecksPassing));
    life.looks(130);
    assert_eq!((life.says(ConditionType::Healthy), life.look), (unknown(Reason::CheckErrors), None));
    assert!(life.acts.is_empty() && !life.rule().firing);
    life.sees(140, Pass);
    assert_eq!(life.says(ConditionType::Healthy), yes(Reason::ChecksPassing));
    // After a restart an error is no reason to call it healthy.
    life.restarts(150);
    life.sees(151, Error);
    assert_eq!(life.says(ConditionType::Healthy), unknown(Reason::NoData));
}

#[test]
fn no_data_says_what_an_error_means() {
    for (no_data, fires, healthy) in [("Breach", true, "False"), ("Ok", false, "True"), ("Unknown", false, "Unknown")] {
        let mut life = Life::new(json!({"/checks/0/noData": no_data}));
        let mut fired = false;
        for second in (100..=200).step_by(10) {
            life.sees(second, Error);
            fired |= life.requested().is_some();
        }
        assert_eq!((fired, life.says(ConditionType::Healthy).0.as_str()), (fires, healthy), "{no_data}");
    }
}

#[test]
fn is_armed_again_only_after_recovery_has_held() {
    let mut life = Life::until_due(json!({"/rules/0/action": {"alert": {}}}));
    assert!(life.told().unwrap().contains("rule down"));
    life.sees(200, Pass);
    assert_eq!(life.rule().recovering_since.unwrap().0, at(200));
    assert_eq!(
        (life.says(ConditionType::Healthy), life.says(ConditionType::Armed)),
        (yes(Reason::ChecksPassing), no(Reason::Disarmed))
    );
    assert_eq!(life.look, Some(at(230)));
    life.sees(220, Breach);
    assert!(life.rule().firing && life.rule().recovering_since.is_none() && life.acts.is_empty());
    assert_eq!(life.since(), Some(220));
    life.sees(300, Breach);
    assert!(life.acts.is_empty(), "it has not recovered, so nothing begins");
    life.sees(310, Pass);
    life.sees(339, Pass);
    assert!(life.rule().firing);
    life.sees(340, Pass);
    assert!(!life.rule().firing);
    assert_eq!(life.says(ConditionType::Armed), yes(Reason::AsExpected));
    // An alert is given for each transition, also of the same release.
    life.sees(400, Breach);
    life.sees(460, Breach);
    assert!(life.told().is_some());
}

#[test]
fn one_rollback_per_release_and_none_within_the_cooldown() {
    let mut life = Life::until_due(json!({}));
    let first = life.requested().unwrap().metadata.name.clone();
    life.sees(200, Pass);
    life.sees(230, Pass);
    assert_eq!(life.says(ConditionType::Armed), no(Reason::CoolingDown));
    assert_eq!(life.look, Some(at(760)));
    // The same release again, even after the cooldown.
    let mut same = Life { policy: life.policy.clone(), ..Life::new(json!({})) };
    same.sees(900, Breach);
    same.sees(960, Breach);
    assert!(same.rule().firing && same.requested().is_none());
    assert!(same.told().unwrap().contains("already"), "{:?}", same.acts);
    // Another release within the cooldown: it waits, and then it acts.
    life.target = target("dep-2");
    life.sees(300, Breach);
    life.sees(360, Breach);
    assert!(life.acts.is_empty() && !life.rule().firing);
    assert_eq!((life.says(ConditionType::Armed), life.look), (no(Reason::CoolingDown), Some(at(760))));
    life.sees(759, Breach);
    assert!(life.acts.is_empty());
    life.sees(760, Breach);
    assert_ne!(life.requested().unwrap().metadata.name, first);
}

#[test]
fn shadow_measures_and_never_acts() {
    for action in [json!({"alert": {}}), json!({"rollback": {"strategy": "Code"}})] {
        let life = Life::until_due(json!({"/mode": "Shadow", "/rules/0/action": action}));
        assert!(life.rule().firing && life.rule().last_fired.is_some() && life.acts.is_empty());
        assert_eq!((life.rule().last_request, life.rule().last_fired_release), (None, None));
        assert_eq!(life.says(ConditionType::Armed), no(Reason::ShadowMode));
    }
}

#[test]
fn what_stands_in_the_way_of_a_rollback_is_told_in_its_place() {
    let freeze = json!({"since": "2026-01-01T00:00:00Z", "holders": [], "settings": []});
    let frozen = json!({"type": "Frozen", "status": "True", "reason": "FrozenByRollback", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    for (change, words) in [
        (json!({"freeze": freeze}), "holds the deploys"),
        (json!({"conditions": [frozen]}), "holds the deploys"),
        (json!({"activeOperation": {"name": "friday", "uid": "u"}}), "friday is under way"),
    ] {
        let mut life = Life::new(json!({}));
        let mut status = serde_json::to_value(life.target.status.clone().unwrap()).unwrap();
        status.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        life.target.status = Some(serde_json::from_value(status).unwrap());
        life.sees(100, Breach);
        assert!(life.says(ConditionType::Armed).0 == "False", "{words}");
        life.sees(160, Breach);
        assert!(life.requested().is_none() && life.rule().firing, "{words}");
        assert!(life.told().unwrap().contains(words), "{:?}", life.acts);
        // What goes later does not make the rule fire: that is no transition.
        life.target = target("dep-1");
        life.sees(170, Breach);
        assert!(life.acts.is_empty(), "{words}");
    }
}

#[test]
fn a_rollback_is_never_rolled_back() {
    let step = json!({"key": "01-backend-code", "component": "backend", "platform": "render", "resource": "srv-1", "action": "a", "class": "Keyless",
        "from": "", "to": "", "destructive": false, "undo": "", "change": {"rollBackDeploy": {"deploy": "dep-0"}}});
    let plan = json!({"version": 1, "digest": "d", "to": "", "destructive": false, "steps": [step]});
    let record = json!({"key": "01-backend-code", "state": "Verified", "attempt": 1, "output": "dep-9", "started": "2026-01-01T00:00:00Z"});
    let mut request = RollbackRequest::new(
        "back",
        serde_json::from_value(json!({"targetRef": {"name": "shop"}, "reason": "r", "strategy": "Code"})).unwrap(),
    );
    let status =
        |uid: &str, records: Value| json!({"target": {"name": "shop", "uid": uid}, "plan": plan, "steps": records});
    for (uid, records, live, made) in [
        ("target-uid", json!([record]), "dep-9", true),
        ("target-uid", json!([record]), "dep-0", true),
        ("target-uid", json!([record]), "dep-1", false),
        ("target-uid", json!([]), "dep-0", false),
        ("another-uid", json!([record]), "dep-9", false),
    ] {
        request.status = Some(serde_json::from_value(status(uid, records)).unwrap());
        let found = rolled_back(&target(live), std::slice::from_ref(&request));
        assert_eq!(found.contains("backend"), made, "{uid} {live}");
    }
    for (components, acts) in [(json!(null), false), (json!(["backend"]), false), (json!(["frontend"]), true)] {
        let mut life =
            Life::new(json!({"/rules/0/action": {"rollback": {"strategy": "Code", "components": components}}}));
        life.rolled_back = BTreeSet::from(["backend".to_owned()]);
        life.sees(100, Breach);
        life.sees(160, Breach);
        assert_eq!(life.requested().is_some(), acts);
    }
}

#[test]
fn a_branch_that_a_rollback_moved_is_its_own_as_well() {
    let change =
        json!({"moveBranch": {"branch": "main", "before": "c3", "after": "c2", "force": true, "keepUnder": "refs/x"}});
    let step = json!({"key": "01-source-branch", "component": "backend", "platform": "github", "resource": "r", "action": "a",
        "class": "CompareAndSet", "from": "", "to": "", "destructive": true, "undo": "", "change": change});
    let record =
        json!({"key": "01-source-branch", "state": "Verified", "attempt": 1, "started": "2026-01-01T00:00:00Z"});
    let spec = json!({"targetRef": {"name": "shop"}, "reason": "r", "strategy": "Code"});
    let mut request = RollbackRequest::new("back", serde_json::from_value(spec).unwrap());
    let plan = json!({"version": 1, "digest": "d", "to": "", "destructive": true, "steps": [step]});
    let status = json!({"target": {"name": "shop", "uid": "target-uid"}, "plan": plan, "steps": [record]});
    request.status = Some(serde_json::from_value(status).unwrap());
    let all = [request];
    assert!(rolled_back(&target("c2"), &all).contains("backend"));
    assert!(rolled_back(&target("c3"), &all).is_empty());
}

#[test]
fn a_release_that_is_not_known_is_waited_for() {
    let mut life = Life::new(json!({}));
    let mut status = life.target.status.clone().unwrap();
    (status.components[0].reachable, status.components[0].current) = (false, None);
    life.target.status = Some(status);
    life.sees(100, Breach);
    life.sees(160, Breach);
    assert!(life.acts.is_empty() && !life.rule().firing && life.since() == Some(100));
    assert_eq!((life.says(ConditionType::Armed), life.look), (no(Reason::TargetNotReady), Some(at(170))));
    life.target = target("dep-1");
    life.sees(171, Breach);
    assert!(life.requested().is_some());
}

#[test]
fn a_release_is_what_is_live_in_any_order() {
    let two = |first: (&str, &str), second: (&str, &str)| {
        let mut target = target("x");
        let component = |(name, id): (&str, &str)| json!({"name": name, "platform": "render", "reachable": true, "current": {"id": id}});
        let spec = |(name, _): (&str, &str)| json!({"name": name, "role": "Backend", "render": {"serviceId": "s"}});
        target.spec.components = serde_json::from_value(json!([spec(first), spec(second)])).unwrap();
        target.status =
            Some(serde_json::from_value(json!({"components": [component(second), component(first)]})).unwrap());
        release(&target).unwrap()
    };
    let one = two(("a", "1"), ("b", "2"));
    assert_eq!(one, two(("b", "2"), ("a", "1")));
    for other in [
        two(("a", "2"), ("b", "1")),
        two(("a", "1"), ("b", "3")),
        two(("a1", ""), ("b", "2")),
        two(("a", "1b"), ("b", "2")),
    ] {
        assert_ne!(one, other);
    }
    assert_ne!(request_name("u1", &one), request_name("u2", &one));
    assert!(release(&DeploymentTarget { status: None, ..target("x") }).is_err());
}

#[test]
fn nothing_changes_from_try_to_try_while_nothing_happens() {
    for verdict in [Pass, Breach, Error] {
        let mut life = Life::new(json!({}));
        life.sees(100, verdict);
        life.sees(240, verdict);
        life.sees(250, verdict);
        let settled = life.policy.status.clone();
        for second in [251, 300, 1_000] {
            life.sees(second, verdict);
            assert_eq!(life.policy.status, settled, "{verdict:?} at {second}");
        }
        let words = life.said.iter().map(|said| said.message.len()).max().unwrap();
        assert!(words <= MESSAGE_LIMIT, "{:?}", life.said);
    }
}
