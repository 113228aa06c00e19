use crate::api::{HttpCheck, Verdict};
use crate::check::Finding;
use crate::check::schedule::{CheckPlan, PolicyKey, Probe, Scheduler};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Does what the name of the check says: `hang…`, `slow…` (45 s, the first time), `panic…`, `turn…` (fails from its third try on).
#[derive(Default)]
struct Script {
    starts: Mutex<BTreeMap<String, Vec<Instant>>>,
    under_way: Mutex<HashSet<String>>,
}

impl Script {
    fn starts(&self, name: &str) -> Vec<Instant> {
        self.starts.lock().unwrap().get(name).cloned().unwrap_or_default()
    }
}

impl Probe for Script {
    fn probe<'a>(&'a self, _: &'a PolicyKey, plan: &'a CheckPlan) -> BoxFuture<'a, Finding> {
        let name = plan.name.as_str();
        Box::pin(async move {
            let tries = {
                let mut starts = self.starts.lock().unwrap();
                let starts = starts.entry(name.to_owned()).or_default();
                starts.push(Instant::now());
                starts.len()
            };
            assert!(self.under_way.lock().unwrap().insert(name.to_owned()), "{name} runs twice at once");
            match name {
                name if name.starts_with("hang") => std::future::pending().await,
                name if name.starts_with("slow") && tries == 1 => sleep(Duration::from_secs(45)).await,
                name if name.starts_with("panic") => panic!("on purpose"),
                _ => sleep(Duration::from_millis(100)).await,
            }
            self.under_way.lock().unwrap().remove(name);
            match name.starts_with("turn") && tries >= 3 {
                true => Finding::breach("HTTP 503"),
                false => Finding::pass("HTTP 200"),
            }
        })
    }
}

fn policy(uid: &str) -> PolicyKey {
    PolicyKey { uid: uid.into(), namespace: "shop".into(), name: format!("policy-{uid}") }
}

fn plan(name: &str, interval: u64, timeout: u64) -> CheckPlan {
    let http: HttpCheck = serde_json::from_value(serde_json::json!({"url": "https://example.com/"})).unwrap();
    CheckPlan { name: name.into(), interval: SECOND * interval as u32, timeout: SECOND * timeout as u32, http }
}

#[tokio::test(start_paused = true)]
async fn thirty_checks_that_hang_delay_none_of_the_others() {
    let script = Arc::new(Script::default());
    let (scheduler, _woken) = Scheduler::new(script.clone());
    let names: Vec<String> =
        (0..200).map(|n| if n % 7 == 0 || n == 1 { format!("hang-{n}") } else { format!("good-{n}") }).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("hang")).count(), 30);
    for (n, chunk) in names.chunks(25).enumerate() {
        scheduler.sync(&policy(&n.to_string()), chunk.iter().map(|name| plan(name, 5, 3600)).collect());
    }
    assert_eq!(scheduler.running(), 200);
    let begin = Instant::now();
    sleep(SECOND * 601).await;
    let mut firsts = HashSet::new();
    for name in names.iter().filter(|name| name.starts_with("good")) {
        let starts = script.starts(name);
        assert!(starts[0] - begin <= SECOND * 5, "{name} began late");
        assert!(starts.len() >= 119, "{name}: {} starts", starts.len());
        for pair in starts.windows(2) {
            assert!((pair[1] - pair[0]).abs_diff(SECOND * 5) < SECOND / 100, "{name} lost its rhythm");
        }
        firsts.insert(starts[0]);
    }
    assert!(firsts.len() > 100, "the starts are not spread: {}", firsts.len());
}

#[tokio::test(start_paused = true)]
async fn a_slow_check_never_overlaps_itself_and_missed_ticks_collapse() {
    let script = Arc::new(Script::default());
    let (scheduler, _woken) = Scheduler::new(script.clone());
    scheduler.sync(&policy("a"), vec![plan("slow", 10, 60)]);
    sleep(SECOND * 100).await;
    let starts = script.starts("slow");
    // On a grid of 10 s: one for the four ticks that were missed, at once, and then the grid again.
    for (start, wanted) in starts.iter().zip([0, 45, 50, 60, 70]) {
        let after = *start - starts[0];
        assert!(after.abs_diff(SECOND * wanted) < SECOND / 100, "{wanted}: {after:?}");
    }
    assert!(starts.len() >= 5);
}

#[tokio::test(start_paused = true)]
async fn wakes_on_a_change_of_verdict_and_not_for_every_try() {
    let script = Arc::new(Script::default());
    let (scheduler, mut woken) = Scheduler::new(script.clone());
    let key = policy("a");
    scheduler.sync(&key, vec![plan("turn", 5, 3)]);
    assert!(scheduler.latest(&key).is_empty());
    sleep(SECOND * 120).await;
    assert!(script.starts("turn").len() > 20);
    let mut wakes = 0;
    while woken.next().now_or_never().flatten().is_some() {
        wakes += 1;
    }
    assert_eq!(wakes, 2, "the first sample and the breach");
    let sample = scheduler.latest(&key).remove("turn").unwrap();
    assert_eq!((sample.verdict, sample.message.as_str()), (Verdict::Breach, "HTTP 503"));
    assert!(sample.last_pass.is_some());
}

#[tokio::test(start_paused = true)]
async fn checks_end_when_they_or_their_policy_go_and_stay_when_nothing_changes() {
    let script = Arc::new(Script::default());
    let (scheduler, _woken) = Scheduler::new(script.clone());
    let (a, b) = (policy("a"), policy("b"));
    scheduler.sync(&a, vec![plan("kept", 60, 3), plan("dropped", 5, 3), plan("changed", 60, 3)]);
    scheduler.sync(&b, vec![plan("other", 5, 3)]);
    sleep(SECOND * 11).await;
    scheduler.sync(&a, vec![plan("kept", 60, 3), plan("changed", 61, 3)]);
    assert!(scheduler.latest(&a).contains_key("kept"), "a check that stays keeps what it said");
    assert!(!scheduler.latest(&a).contains_key("changed"), "a check that changed has said nothing yet");
    scheduler.keep_only(&HashSet::from(["a".to_owned()]));
    let before = (script.starts("dropped").len(), script.starts("other").len());
    sleep(SECOND * 40).await;
    assert_eq!((script.starts("dropped").len(), script.starts("other").len()), before);
    assert_eq!(script.starts("kept").len(), 1);
    scheduler.remove(&a);
    assert_eq!(scheduler.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_says_so_and_goes_on() {
    let script = Arc::new(Script::default());
    let (scheduler, _woken) = Scheduler::new(script.clone());
    let key = policy("a");
    scheduler.sync(&key, vec![plan("panic", 5, 3)]);
    sleep(SECOND * 7).await;
    assert_eq!(scheduler.latest(&key)["panic"].verdict, Verdict::Error);
    script.under_way.lock().unwrap().clear();
    sleep(SECOND * 6).await;
    assert!(script.starts("panic").len() >= 2);
}
