//! One run: boots the operator, reconciles what is due, boots it again after a crash, until nothing is left to do.

use crate::api_server::Key;
use crate::fault::{Cut, Kind};
use crate::oracles::{self, End, at_end};
use crate::plans::Row;
use crate::platforms::FakeConnector;
use crate::script::{self, Play, request};
use crate::stage;
use crate::stores::InMemory;
use crate::world::{Op, Shared, State, Things, Violation, What, World};
use clap::Parser;
use futures::FutureExt;
use savepoint::api::{DeploymentBackup, RollbackRequest};
use savepoint::config::Config;
use savepoint::controller::{Context, Failure, Leadership, Outcome, backup, rollback};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// An age identity of the tests.
const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
/// How long the operator is away after a crash.
const RESTART: Duration = Duration::from_secs(10);
/// Longest time in which nothing changes, but for a run that waits for a person: the wait for a keyless call that left no trace.
const QUIET: Duration = Duration::from_secs(150);
/// Time until those act who wait until nothing happens.
const A_WHILE: Duration = Duration::from_secs(20);
/// How many reconciles the other process does before a stopped one goes on.
const PAUSE: usize = 6;
/// More reconciles than any run needs.
const MOST_RECONCILES: usize = 2_000;
/// Longest time between two looks at an object.
const RESYNC: Duration = Duration::from_secs(600);

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    pub end: End,
    pub ops: Vec<What>,
    /// Two steps were under way at the same time.
    pub overlapped: bool,
    pub violations: Vec<Violation>,
    pub trace: u64,
}

/// Everything that runs share on one thread.
pub struct Lab {
    world: Shared,
    client: kube::Client,
    config: Config,
    identity: SecretString,
}

/// A plan, made ready to be run.
pub struct Prepared {
    pub row: Row,
    things: Things,
}

impl Lab {
    /// Must be made on the runtime that it is used on.
    pub fn new() -> Self {
        let world = World::shared();
        let client = crate::api_service::client(&world);
        let config = Config::parse_from(["savepoint", "--poll-interval", "10s", "--replica", "harness"]);
        Self { world, client, config, identity: SecretString::from(IDENTITY.to_owned()) }
    }

    /// Brings the world to where somebody asks to go back.
    pub async fn prepare(&self, row: &Row) -> Prepared {
        self.world.begin(&Things::default(), Play::default(), &[]);
        stage::before(&mut self.world.state(), row);
        Run::new(self).until_settled().await;
        stage::incident(&mut self.world.state(), row);
        if !row.first.is_empty() {
            self.world.state().play.confirms = true;
            stage::ask_first(&mut self.world.state(), row);
            Run::new(self).until_settled().await;
        }
        let mut state = self.world.state();
        stage::ask(&mut state, row);
        let things = std::mem::take(&mut state.things);
        Prepared { row: row.clone(), things }
    }

    /// One run with these cuts.
    pub async fn run(&self, plan: &Prepared, cuts: &[Cut], clean: Option<&End>, loud: bool) -> Report {
        let row = &plan.row;
        let troubled = !row.trouble.is_empty();
        let play = Play {
            confirms: true,
            releases: row.releases,
            lines: row.lines.to_vec(),
            lines_at_first: row.lines.len(),
            falls: row.strategy == "Gradual",
            troubled,
            ..Play::default()
        };
        self.world.begin(&plan.things, play, cuts);
        self.world.state().loud = loud;
        Run::new(self).until_settled().await;
        let mut state = self.world.state();
        if crate::logs::leaked() {
            state.violate("I23 no secret anywhere", "a canary stands in a line of the log");
        }
        let end = at_end(&mut state, row, clean);
        let overlapped = state.memory.overlapped;
        let ops = state.ops.iter().map(|op| op.what).collect();
        Report { end, ops, overlapped, violations: std::mem::take(&mut state.violations), trace: state.trace_hash() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.world.state()
    }
}

/// When an object is looked at again, and what the last looks came to.
#[derive(Clone)]
struct Due {
    at: Instant,
    streak: u32,
    settled: bool,
    /// Reconciles in a row that came at once and wrote nothing.
    idle: u32,
    last: Option<Instant>,
}

/// A reconcile under way.
type Work = Pin<Box<dyn Future<Output = Result<Outcome, Failure>>>>;

/// A process that was stopped in the middle of a reconcile.
struct Frozen {
    work: Work,
    /// Reconciles of the other one until it goes on.
    left: usize,
}

/// How a reconcile ended.
enum Ended {
    Done(Result<Outcome, Failure>),
    Crashed,
    Paused(Kind),
}

/// One run under way.
struct Run<'a> {
    lab: &'a Lab,
    context: Arc<Context>,
    epoch: i64,
    frozen: Option<Frozen>,
    due: BTreeMap<Key, Due>,
}

impl<'a> Run<'a> {
    fn new(lab: &'a Lab) -> Self {
        let mut run = Self { lab, context: boot(lab, 0), epoch: 0, frozen: None, due: BTreeMap::new() };
        run.relist();
        run
    }

    fn reboot(&mut self) {
        self.epoch += 1;
        self.context = boot(self.lab, self.epoch);
        self.lab.state().crashed = false;
        self.lab.state().note("the operator starts again");
        self.due.clear();
        self.relist();
    }

    /// What the first list of a watch brings: everything is looked at.
    fn relist(&mut self) {
        let mut state = self.lab.state();
        state.woken.clear();
        let now = savepoint::clock::runtime();
        for resource in ["deploymentbackups", "rollbackrequests"] {
            for (key, _) in state.things.api.of_resource(resource) {
                self.due.insert(key.clone(), Due { at: now, streak: 0, settled: false, idle: 0, last: None });
            }
        }
    }

    /// What watches bring: whatever was written is looked at again, and a safety backup wakes the request that made it.
    fn wake(&mut self) {
        let mut state = self.lab.state();
        let at = savepoint::clock::runtime() + Duration::from_millis(10);
        for key in std::mem::take(&mut state.woken) {
            if !matches!(key.resource.as_str(), "rollbackrequests" | "deploymentbackups") {
                continue;
            }
            let keys = if key.resource == "deploymentbackups" { vec![key, request()] } else { vec![key] };
            for key in keys {
                if state.things.api.get(&key).is_none() {
                    self.due.remove(&key);
                    continue;
                }
                let due = self.due.entry(key).or_insert(Due { at, streak: 0, settled: false, idle: 0, last: None });
                due.at = due.at.min(at);
                due.settled = false;
                due.idle = 0;
            }
        }
    }

    async fn until_settled(mut self) {
        for _ in 0..MOST_RECONCILES {
            self.wake();
            let next =
                self.due.iter().filter(|(_, due)| !due.settled).min_by_key(|(key, due)| (due.at, (*key).clone()));
            let next = next.map(|(key, due)| (key.clone(), due.at));
            if !self.pass_time(next.as_ref().map(|(_, at)| *at)).await {
                if self.frozen.is_none() {
                    return;
                }
                self.thaw().await;
                continue;
            }
            let Some((key, at)) = next else { continue };
            self.wake();
            if self.due.get(&key).is_none_or(|due| due.at > savepoint::clock::runtime().max(at)) {
                continue;
            }
            self.one(&key).await;
        }
        self.lab.state().violate("I21 every run ends", format!("more than {MOST_RECONCILES} reconciles"));
    }

    /// One reconcile, and what follows where the process did not survive it.
    async fn one(&mut self, key: &Key) {
        let writes = self.lab.state().things.api.version();
        self.lab.state().reconcile += 1;
        let began = savepoint::clock::runtime();
        let mut work = self.work(key);
        match until_crash(&self.lab.world, &mut work).await {
            Ended::Done(result) => {
                oracles::at_reconcile(&mut self.lab.state(), began);
                let wrote = self.lab.state().things.api.version() != writes;
                self.schedule(key, result, wrote);
            }
            Ended::Crashed => {
                tokio::time::advance(RESTART).await;
                self.reboot();
            }
            Ended::Paused(kind) => {
                let left = if kind == Kind::Paused { PAUSE } else { usize::MAX };
                self.frozen = Some(Frozen { work, left });
                tokio::time::advance(self.lab.config.lease_duration).await;
                self.reboot();
            }
        }
        let resumes = self.frozen.as_mut().is_some_and(|frozen| {
            frozen.left -= 1;
            frozen.left == 0
        });
        if resumes {
            self.thaw().await;
        }
    }

    /// The stopped process goes on where it was, and ends as soon as it sees that it lost the lease.
    async fn thaw(&mut self) {
        let Some(Frozen { mut work, .. }) = self.frozen.take() else { return };
        self.lab.state().note("the stopped process goes on");
        self.lab.state().resumed = true;
        match until_crash(&self.lab.world, &mut work).await {
            Ended::Crashed => self.lab.state().crashed = false,
            Ended::Done(_) | Ended::Paused(_) => {}
        }
    }

    /// Goes on to when something is due, letting late calls land and quiet people act. `false`: nothing is left to do.
    async fn pass_time(&mut self, next: Option<Instant>) -> bool {
        let (late, quiet_at) = {
            let state = self.lab.state();
            (state.next_late(), state.last_change + A_WHILE)
        };
        let now = savepoint::clock::runtime();
        let patience = self.patience();
        let until = self.lab.state().last_change + patience;
        let has_quiet = self.lab.state().play.lines.iter().any(|(when, _)| *when == script::When::Quiet);
        if has_quiet && next.is_none_or(|next| next > quiet_at) {
            advance_to(quiet_at).await;
            script::after_quiet(&mut self.lab.state());
            return true;
        }
        match (next, late) {
            (None, None) => return false,
            (next, Some(late)) if next.is_none_or(|next| late < next) => {
                advance_to(late).await;
                self.lab.state().land();
                return true;
            }
            (Some(next), _) if next > now.max(until) => return false,
            (Some(next), _) => advance_to(next).await,
            (None, Some(_)) => {}
        }
        self.lab.state().land();
        true
    }

    /// A deletion that waits for a platform goes on for ten minutes; a person is waited for a little.
    fn patience(&self) -> Duration {
        let state = self.lab.state();
        let Some(stored) = state.things.api.get(&request()) else { return QUIET };
        let deleting = !stored.value["metadata"]["deletionTimestamp"].is_null();
        let asked = !stored.value["status"]["question"].is_null();
        match (deleting, asked) {
            (true, _) => Duration::from_secs(700),
            (false, true) => Duration::from_secs(40),
            (false, false) => QUIET,
        }
    }

    /// A reconcile of this object, beginning with what the cache shows of it.
    fn work(&self, key: &Key) -> Work {
        self.context.leader.renew_now();
        let (world, context, key) = (self.lab.world.clone(), self.context.clone(), key.clone());
        let op = Op { what: What::Seen, text: format!("see {}", key.name) };
        let work = async move {
            let (wanted, kind) = (key.clone(), key.resource);
            let seen = world.cut(op, move |state| {
                let stored = state.things.api.get(&wanted)?;
                Some(stored.previous.clone().filter(|_| state.stale).unwrap_or_else(|| stored.bytes.clone()))
            });
            let Some(bytes) = seen.await.ok().flatten() else { return Ok(Outcome::AwaitChange) };
            match kind.as_str() {
                "rollbackrequests" => rollback::reconcile(parsed::<RollbackRequest>(&bytes), context).await,
                _ => backup::reconcile(parsed::<DeploymentBackup>(&bytes), context).await,
            }
        };
        let work = AssertUnwindSafe(work).catch_unwind();
        Box::pin(work.map(|ended| ended.unwrap_or_else(|_| Err(Failure::Bug("it panicked".into())))))
    }

    /// As `controller::run` does: back-off after a failure, otherwise as the reconcile says.
    fn schedule(&mut self, key: &Key, result: Result<Outcome, Failure>, wrote: bool) {
        let now = savepoint::clock::runtime();
        let mut state = self.lab.state();
        let ended = key.resource == "deploymentbackups" && backup_ended(&state, key);
        let Some(due) = self.due.get_mut(key) else { return };
        let at_once = due.last.is_some_and(|last| now - last < Duration::from_secs(1));
        due.idle = if at_once && !wrote && result.is_ok() { due.idle + 1 } else { 0 };
        if due.idle > 3 {
            state.violate(
                "I16 no hot loop",
                format!("{} was looked at again and again, and nothing was written", key.name),
            );
        }
        due.last = Some(now);
        if state.loud {
            println!("                 {result:?}");
        }
        due.settled = false;
        let wait = match result {
            Ok(outcome) => {
                due.streak = 0;
                due.settled = outcome == Outcome::AwaitChange || ended;
                match outcome {
                    Outcome::After(wait) => wait.clamp(Duration::from_millis(200), RESYNC),
                    Outcome::AwaitChange => RESYNC,
                }
            }
            Err(failure) => {
                if let Failure::Bug(words) = &failure {
                    state.violate("no internal error", words.clone());
                }
                due.streak += 1;
                match failure {
                    Failure::Conflict if due.streak < 20 => Duration::from_millis(100),
                    _ => (Duration::from_secs(1) * 2u32.saturating_pow(due.streak.min(9) - 1)).min(RESYNC),
                }
            }
        };
        due.at = now + wait;
    }
}

fn boot(lab: &Lab, epoch: i64) -> Arc<Context> {
    let leader = Arc::new(Leadership::of_epoch(&lab.config, epoch));
    let connector = Arc::new(FakeConnector(lab.world.clone()));
    let identity = Some(lab.identity.clone());
    let mut context = Context::new(lab.client.clone(), lab.config.clone(), connector, leader, identity);
    let world = lab.world.clone();
    context.stores =
        Arc::new(move |_, namespace| Ok(Box::new(InMemory { world: world.clone(), namespace: namespace.to_owned() })));
    Arc::new(context)
}

fn backup_ended(state: &State, key: &Key) -> bool {
    let Some(stored) = state.things.api.get(key) else { return true };
    let conditions = stored.value["status"]["conditions"].as_array();
    let ended = |condition: &serde_json::Value| condition["type"] == "Succeeded" && condition["status"] != "Unknown";
    stored.value["metadata"]["deletionTimestamp"].is_null() && conditions.into_iter().flatten().any(ended)
}

fn parsed<K: DeserializeOwned>(bytes: &[u8]) -> Arc<K> {
    Arc::new(serde_json::from_slice(bytes).unwrap())
}

async fn advance_to(at: Instant) {
    let now = savepoint::clock::runtime();
    if at > now {
        tokio::time::advance(at - now).await;
    }
}

/// Polls `work` until it ends, or until its process crashes or is stopped.
async fn until_crash(world: &Shared, work: &mut Work) -> Ended {
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Ended::Done(done));
        }
        let mut state = world.state();
        match state.paused.take() {
            _ if state.crashed => Poll::Ready(Ended::Crashed),
            Some(kind) => Poll::Ready(Ended::Paused(kind)),
            None => Poll::Pending,
        }
    })
    .await
}
