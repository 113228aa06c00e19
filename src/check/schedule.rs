//! When checks run: each in a task of its own, apart from every reconcile.
//!
//! Nothing is written from here. A controller is woken when a check says something else than before, and reads what was said last.

use super::Finding;
use crate::api::{HttpCheck, Verdict};
use crate::clock;
use crate::decide::facts::Sample;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use k8s_openapi::jiff::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Longest time until a check runs for the first time: a restart must not leave a policy blind for a whole interval.
const LONGEST_START: Duration = Duration::from_secs(10);
/// How long after twice its timeout (the Secret, then the request) a check is given up: it holds its own deadlines, so this is a bug of ours.
const GRACE: Duration = Duration::from_secs(5);

/// A policy, as the schedule knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyKey {
    /// Its uid: a later policy of the same name is another one.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One check and when it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckPlan {
    /// Name, unique in the policy.
    pub name: String,
    /// Time from one start to the next.
    pub interval: Duration,
    /// Longest time for one try.
    pub timeout: Duration,
    /// What is looked at.
    pub http: HttpCheck,
}

/// Carries out a check.
pub trait Probe: Send + Sync + 'static {
    /// One try. It ends within the plan's timeout.
    fn probe<'a>(&'a self, policy: &'a PolicyKey, plan: &'a CheckPlan) -> BoxFuture<'a, Finding>;
}

/// The schedule of all checks of all policies.
///
/// # Guarantees
/// - A check that hangs delays no other. A check never runs twice at once, and of all ticks that it missed one is made up for.
/// - Checks that stay as they are keep running through [`Scheduler::sync`].
///
/// # Assumptions
/// It is used on the leader alone; the leader's process ends when it is the leader no more.
pub struct Scheduler {
    probe: Arc<dyn Probe>,
    policies: Mutex<HashMap<PolicyKey, HashMap<String, Running>>>,
    wake: UnboundedSender<PolicyKey>,
}

struct Running {
    plan: CheckPlan,
    latest: Arc<Mutex<Option<Sample>>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scheduler {
    /// An empty schedule, and the stream of policies of which a check has just changed its mind.
    pub fn new(probe: Arc<dyn Probe>) -> (Self, impl Stream<Item = PolicyKey> + Send + use<>) {
        let (wake, woken): (_, UnboundedReceiver<PolicyKey>) = unbounded();
        (Self { probe, policies: Mutex::default(), wake }, woken)
    }

    /// These are the checks of a policy: new ones start, changed ones start anew, others end.
    pub fn sync(&self, policy: &PolicyKey, plans: Vec<CheckPlan>) {
        let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let running = policies.entry(policy.clone()).or_default();
        running.retain(|name, check| plans.iter().any(|plan| plan.name == *name && *plan == check.plan));
        for plan in plans {
            if !running.contains_key(&plan.name) {
                running.insert(plan.name.clone(), self.start(policy, plan));
            }
        }
    }

    /// The checks of this policy end.
    pub fn remove(&self, policy: &PolicyKey) {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner).remove(policy);
    }

    /// The checks of every other policy end: a policy that is deleted is not reconciled any more.
    pub fn keep_only(&self, uids: &HashSet<String>) {
        let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        policies.retain(|policy, _| uids.contains(&policy.uid));
    }

    /// What the checks of this policy said last, by name. Absent: not yet run since they started here.
    pub fn latest(&self, policy: &PolicyKey) -> BTreeMap<String, Sample> {
        let policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let checks = policies.get(policy).into_iter().flatten();
        let said = |check: &Running| check.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        checks.filter_map(|(name, check)| Some((name.clone(), said(check)?))).collect()
    }

    /// How many checks run.
    pub fn running(&self) -> usize {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner).values().map(HashMap::len).sum()
    }

    fn start(&self, policy: &PolicyKey, plan: CheckPlan) -> Running {
        let latest = Arc::new(Mutex::new(None));
        let repeat = Repeat {
            probe: self.probe.clone(),
            policy: policy.clone(),
            plan: plan.clone(),
            latest: latest.clone(),
            wake: self.wake.clone(),
        };
        Running { plan, latest, task: tokio::spawn(repeat.run()) }
    }
}

/// One check, again and again.
struct Repeat {
    probe: Arc<dyn Probe>,
    policy: PolicyKey,
    plan: CheckPlan,
    latest: Arc<Mutex<Option<Sample>>>,
    wake: UnboundedSender<PolicyKey>,
}

impl Repeat {
    async fn run(self) {
        let first = first_start(&self.policy.uid, &self.plan.name, self.plan.interval.min(LONGEST_START));
        sleep(first).await;
        let mut ticks = interval(self.plan.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let try_ = AssertUnwindSafe(self.probe.probe(&self.policy, &self.plan)).catch_unwind();
            let finding = match tokio::time::timeout(self.plan.timeout * 2 + GRACE, try_).await {
                Ok(Ok(finding)) => finding,
                Ok(Err(_panic)) => Finding::error("the check broke: the operator's log has the place"),
                Err(_) => Finding::error("the check did not end"),
            };
            if self.record(finding) {
                let _ = self.wake.unbounded_send(self.policy.clone()); // fails only when nobody listens any more
            }
        }
    }

    /// Keeps what was found. `true`: it is something else than before. Of errors the words count too: they say what to mend.
    fn record(&self, finding: Finding) -> bool {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let next = follow(latest.as_ref(), finding, clock::now());
        let changed = latest.as_ref().is_none_or(|before| {
            before.verdict != next.verdict || (next.verdict == Verdict::Error && before.message != next.message)
        });
        *latest = Some(next);
        changed
    }
}

/// The sample after this one.
fn follow(before: Option<&Sample>, finding: Finding, now: Timestamp) -> Sample {
    let same = before.filter(|sample| sample.verdict == finding.verdict);
    let last = |verdict: Verdict, old: Option<Timestamp>| if finding.verdict == verdict { Some(now) } else { old };
    Sample {
        since: same.map_or(now, |sample| sample.since),
        last_pass: last(Verdict::Pass, before.and_then(|sample| sample.last_pass)),
        last_breach: last(Verdict::Breach, before.and_then(|sample| sample.last_breach)),
        verdict: finding.verdict,
        message: finding.message,
        at: now,
    }
}

/// A delay below `within` that is the same for the same check, so that restarts and many policies do not start in step.
fn first_start(uid: &str, check: &str, within: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (uid, check).hash(&mut hasher);
    let permille = u32::try_from(hasher.finish() % 1000).unwrap_or(0);
    within * permille / 1000
}
